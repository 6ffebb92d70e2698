"""Financial statements against a company reckoned by hand (`small_company`), and each rule alone."""

import csv
from datetime import date
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest

from services.ledger.reports import balance_sheet, profit_and_loss
from services.ledger.reports.rates import PublishedRate, RateBook, RateMissing
from services.ledger.reports.sections import Period, fiscal_year_start
from services.ledger.reports.statement_csv import as_csv
from services.ledger.reports.translation import days_of
from tests.ledger.journal_in_memory import Journal
from tests.ledger.small_company import journal, rates
from tests.ledger.statement_parts import (
    END_2024,
    END_2025,
    Y2024,
    Y2025,
    figures,
    holds,
    layout_of,
    pnl,
    sheet,
    translated,
    translator,
)


def test_profit_and_loss_leaves_closing_entries_out() -> None:
    (part, dollars) = pnl(journal(), Y2024, Y2025)
    assert (part["currency"], dollars["currency"]) == ("EUR", "USD")
    assert figures(part) == {
        "income": ["100.00", "0.00"],
        "4000-SALES": ["100.00", "0.00"],
        "expense": ["40.00", "45.00"],
        "5000-RENT": ["40.00", "45.00"],
        "result": ["60.00", "-45.00"],
    }
    assert holds(part)
    assert holds(dollars)


def test_balance_sheet_of_each_currency_balances_by_itself() -> None:
    euros, dollars = sheet(journal(), END_2024, END_2025)
    assert figures(euros) == {
        "assets": ["960.00", "1167.00"],
        "1500-EQUIPMENT": ["300.00", "300.00"],
        "1000-BANK": ["660.00", "867.00"],
        "liabilities": ["0.00", "200.00"],
        "2000-LOAN": ["0.00", "200.00"],
        "equity": ["960.00", "1012.00"],
        "3000-CAPITAL": ["1000.00", "1000.00"],
        "3900-RETAINED": ["60.00", "60.00"],
        "FX-EQUIVALENT-USD": ["-100.00", "-48.00"],
        "current-earnings": ["0.00", "-45.00"],
        "earlier-earnings-not-closed": ["0.00", "0.00"],
        "total-equity": ["960.00", "967.00"],
        "total-liabilities-and-equity": ["960.00", "1167.00"],
        "total-assets": ["960.00", "1167.00"],
    }
    assert figures(dollars)["total-assets"] == ["110.00", "55.00"]
    assert figures(dollars)["FX-POSITION-USD"] == ["110.00", "55.00"]
    assert holds(euros)
    assert holds(dollars)


def test_earlier_years_that_nobody_closed_stand_on_their_own_line() -> None:
    books = journal()
    books.entries = [entry for entry in books.entries if entry.kind != "closing"]
    euros, _ = sheet(books, END_2024, END_2025)
    found = figures(euros)
    assert found["current-earnings"] == ["60.00", "-45.00"]
    assert found["earlier-earnings-not-closed"] == ["0.00", "60.00"]
    assert holds(euros)


def test_a_fiscal_year_that_begins_in_july() -> None:
    books = journal()
    books.entries = [entry for entry in books.entries if entry.kind != "closing"]
    found = figures(sheet(books, END_2024, begins="07-01")[0])
    assert (found["current-earnings"], found["earlier-earnings-not-closed"]) == (["-40.00"], ["100.00"])


def test_profit_and_loss_in_the_functional_currency() -> None:
    part = translated(profit_and_loss, journal(), "EUR", Y2024, Y2025)
    found = figures(part)
    assert found["posted-result"] == ["60.00", "-45.00"]
    assert found["exchange-difference-not-yet-posted"] == ["10.00", "-14.00"]
    assert found["exchange-difference-not-yet-posted/open-positions"] == ["10.00", "-14.00"]
    assert found["result"] == ["70.00", "-59.00"]
    assert holds(part)


def test_balance_sheet_in_the_functional_currency() -> None:
    part = translated(balance_sheet, journal(), "EUR", END_2024, END_2025)
    assert figures(part) == {
        "assets": ["1070.00", "1211.00"],
        "1500-EQUIPMENT": ["300.00", "300.00"],
        "1000-BANK": ["660.00", "867.00"],
        "1010-BANK-USD": ["110.00", "44.00"],
        "liabilities": ["0.00", "200.00"],
        "2000-LOAN": ["0.00", "200.00"],
        "equity": ["1060.00", "1060.00"],
        "3000-CAPITAL": ["1000.00", "1000.00"],
        "3900-RETAINED": ["60.00", "60.00"],
        "current-earnings": ["0.00", "-45.00"],
        "earlier-earnings-not-closed": ["0.00", "0.00"],
        "exchange-difference-not-yet-posted": ["10.00", "-4.00"],
        "exchange-difference-not-yet-posted/open-positions": ["10.00", "-4.00"],
        "exchange-difference-not-yet-posted/items-at-other-rates": ["0.00", "0.00"],
        "exchange-difference-not-yet-posted/rounding": ["0.00", "0.00"],
        "total-equity": ["1070.00", "1011.00"],
        "total-liabilities-and-equity": ["1070.00", "1211.00"],
        "total-assets": ["1070.00", "1211.00"],
    }
    assert holds(part)


def test_a_translated_figure_says_rate_day_and_provider() -> None:
    part = translated(balance_sheet, journal(), "EUR", END_2025)
    rows = {row["account"]: row for group in part["sections"][0]["groups"] for row in group["rows"]}
    assert rows["1010-BANK-USD"]["parts"] == [
        [
            {
                "account": "1010-BANK-USD",
                "currency": "USD",
                "amount": "55.00",
                "day": "2025-12-31",
                "rates": [
                    {"base": "EUR", "counter": "USD", "rate": "1.25", "on": "2025-12-31", "provider": "ecb",
                     "inverse": True}
                ],
                "translated": "44.00",
            }
        ]
    ]  # fmt: skip
    assert rows["1000-BANK"]["parts"] == [[]], "what is in the currency already needs no rate"


def test_statements_in_a_presentation_currency() -> None:
    result = figures(translated(profit_and_loss, journal(), "USD", Y2024, Y2025))
    assert result["result"] == ["66.80", "-50.40"]
    assert "exchange-difference-not-yet-posted" not in result
    part = translated(balance_sheet, journal(), "USD", END_2024, END_2025)
    found = figures(part)
    assert found["assets"] == ["1070.00", "1513.75"]
    assert found["3000-CAPITAL"] == ["1050.00", "1050.00"]
    assert found["3900-RETAINED"] == ["66.80", "66.80"], "a closing entry moves the worth that was earned"
    assert found["current-earnings"] == ["0.00", "-50.40"]
    assert found["earlier-earnings-not-closed"] == ["0.00", "0.00"]
    assert found["translation-reserve"] == ["-46.80", "197.35"]
    assert holds(part)


@pytest.mark.parametrize(
    ("base", "counter", "on", "wanted"),
    [
        ("EUR", "USD", "2024-06-03", "1.10"),
        ("EUR", "USD", "2024-06-08", "1.10"),
        ("EUR", "USD", "2024-06-09", None),
        ("EUR", "USD", "2024-01-01", None),
        ("EUR", "CHF", "2024-06-03", None),
        ("EUR", "EUR", "1999-01-01", "1"),
    ],
)
def test_a_rate_is_the_last_one_of_five_days_or_missing(base: str, counter: str, on: str, wanted: str | None) -> None:
    book = RateBook(rates())
    if wanted is None:
        with pytest.raises(RateMissing) as missing:
            book.find(base, counter, date.fromisoformat(on))
        assert (missing.value.base, missing.value.counter, missing.value.on.isoformat()) == (base, counter, on)
    else:
        assert book.find(base, counter, date.fromisoformat(on)).ratio == Decimal(wanted)


def test_inverse_and_crossed_rates_are_exact() -> None:
    day = date(2024, 6, 3)
    book = RateBook(
        [PublishedRate("ecb", "EUR", "USD", day, Decimal(3), False),
         PublishedRate("ecb", "EUR", "JPY", day, Decimal(7), False)]
    )  # fmt: skip
    assert book.find("USD", "EUR", day).ratio * 3 == 1
    crossed = book.find("USD", "JPY", day)
    assert crossed.ratio * 3 == 7
    assert [(step["base"], step["counter"], step["inverse"]) for step in crossed.steps] == [
        ("EUR", "USD", True),
        ("EUR", "JPY", False),
    ]


def test_an_organization_s_own_rate_goes_before_everybody_s() -> None:
    day = date(2024, 6, 3)
    book = RateBook(
        [PublishedRate("a", "EUR", "USD", day, Decimal("1.1"), False),
         PublishedRate("b", "EUR", "USD", day, Decimal("1.2"), True),
         PublishedRate("b", "EUR", "USD", day, Decimal("1.3"), True)]
    )  # fmt: skip
    assert book.find("EUR", "USD", day).ratio == Decimal("1.2")


def test_a_missing_closing_rate_is_no_rate_of_one() -> None:
    books = journal()
    days = days_of(
        books.accounts.values(), books.daily(date(2026, 6, 1)), books.daily(date(2026, 6, 1), closings=False)
    )
    with pytest.raises(RateMissing, match="USD/EUR as of 2026-06-01"):
        balance_sheet.translated(layout_of(books), [Period("now", None, date(2026, 6, 1))], days, translator("EUR"))


def test_rows_of_zeros_headings_and_levels() -> None:
    books = Journal()
    books.open("1", "asset", None, heading=(20, "Second"))
    books.open("1.1", "asset", None, parent="1")
    books.open("1.1.1", "asset", parent="1.1")
    books.open("1.1.2", "asset", parent="1.1")
    books.open("2", "asset", heading=(10, "First"))
    books.open("3", "asset")
    books.open("4", "asset")
    books.open("9", "equity")
    books.post("2024-01-01", "1.1.1 +5", "1.1.2 -5")
    books.post("2024-01-01", "2 +1", "3 +2", "9 -3")

    def shown(**more: Any) -> list[tuple[str | None, list[tuple[str, int, str]]]]:
        (part,) = sheet(books, END_2024, **more)
        return [
            (
                group["heading"]["name"] if group["heading"] else None,
                [(row["account"], row["level"], row["amounts"][0]) for row in group["rows"]],
            )
            for group in part["sections"][0]["groups"]
        ]

    first, third = ("First", [("2", 1, "1.00")]), (None, [("3", 1, "2.00")])
    tree = [("1", 1, "0.00"), ("1.1", 2, "0.00"), ("1.1.1", 3, "5.00"), ("1.1.2", 3, "-5.00")]
    assert shown() == [first, ("Second", tree), third]
    assert shown(level=2) == [first, ("Second", tree[:2]), third]
    assert shown(level=1) == [first, ("Second", tree[:1]), third]
    assert shown(zero=True)[2] == (None, [("3", 1, "2.00"), ("4", 1, "0.00")])


def test_a_closing_entry_of_a_part_goes_at_its_day_s_rate() -> None:
    books = journal()
    books.post("2025-12-31", "5000-RENT -20", "3900-RETAINED +20", kind="closing")
    found = figures(translated(balance_sheet, books, "USD", END_2025))
    assert found["3900-RETAINED"] == ["41.80"], "66.80 less 20 at 1.25"
    assert found["current-earnings"] == ["-25.40"], "50.40 less 20 at 1.25"
    assert found["translation-reserve"] == ["197.35"]


def test_the_csv_tells_rows_rates_and_lines() -> None:
    books = journal()
    part = translated(balance_sheet, books, "USD", END_2024, END_2025)
    text = as_csv(
        {
            "report": "balance-sheet", "ledger": "main", "sequence": 9, "fiscal_year_start": "01-01", "level": None,
            "zero": False, "notes": [], "holds": True, "currencies": [part],
            "columns": [{"name": "current", "since": None, "through": "2024-12-31"},
                        {"name": "compare-1", "since": None, "through": "2025-12-31"}],
            "translation": {"to": "USD", "functional_currency": "EUR", "rules": "r", "rounding": "half-even",
                            "rate_age_days_max": 5, "rates_known_at": None, "rates_provider": None,
                            "average_rates": None},
        }
    ).decode()  # fmt: skip
    lines = text.split("\r\n")
    assert lines[0] == "kind,currency,section,heading_number,heading,account,name,level,current,compare-1"
    assert "row,USD,assets,10,Current assets,1000-BANK,1000-Bank,1,660.00,1083.75" in lines
    assert 'rate,USD,assets,,,1000-BANK,"EUR 867.00 of 2025-12-31 at EUR/USD 1.25 (ecb, 2025-12-31)",,,1083.75' in lines
    assert "line,USD,,,,,translation-reserve,,-46.80,197.35" in lines
    assert {len(row) for row in csv.reader(StringIO(text))} == {10}


def test_after_a_revaluation_nothing_is_left_and_the_result_is_the_same() -> None:
    books = journal()
    books.open("7000-FX-RESULT", "income")
    books.post("2025-12-31", "7000-FX-RESULT +4", "FX-EQUIVALENT-USD -4", kind="revaluation")
    part = translated(balance_sheet, books, "EUR", END_2025)
    assert figures(part)["exchange-difference-not-yet-posted"] == ["0.00"]
    assert figures(part)["total-equity"] == ["1011.00"]
    found = figures(translated(profit_and_loss, books, "EUR", Y2025))
    assert found["posted-result"] == ["-49.00"]
    assert found["exchange-difference-not-yet-posted"] == ["-10.00"], "what the year before left, now posted"
    assert found["result"] == ["-59.00"]


def test_a_thing_bought_in_another_currency_stays_at_its_day_s_rate() -> None:
    books = journal()
    books.open("1510-MACHINE-USD", "asset", "USD", monetary=False)
    books.open("1520-LAND-USD", "asset", "USD", translation="historical")
    books.post("2025-03-03", "1510-MACHINE-USD +10", "1010-BANK-USD -10")
    books.post("2025-05-02", "1520-LAND-USD +5.60", "1010-BANK-USD -5.60")
    found = figures(translated(balance_sheet, books, "EUR", END_2025))
    assert found["1510-MACHINE-USD"] == ["10.00"], "at 1.00, not at 1.25"
    assert found["1520-LAND-USD"] == ["5.00"], "at 1.12"
    left = "exchange-difference-not-yet-posted"
    assert (found[left], found[f"{left}/open-positions"]) == (["-1.48"], ["-4.00"])
    assert found[f"{left}/items-at-other-rates"] == ["2.52"], "10 - 8 and 5 - 4.48"
    assert figures(translated(balance_sheet, books, "USD", END_2025))["1510-MACHINE-USD"] == ["10.00"]


def test_an_account_closed_in_two_years_gives_up_each_year_s_worth() -> None:
    books = journal()
    books.post("2025-12-31", "5000-RENT -45", "3900-RETAINED +45", kind="closing")
    part = translated(balance_sheet, books, "USD", END_2024, END_2025)
    found = figures(part)
    assert found["3900-RETAINED"] == ["66.80", "16.40"], "less 45 at 1.12"
    assert found["current-earnings"] == found["earlier-earnings-not-closed"] == ["0.00", "0.00"]
    assert found["translation-reserve"] == ["-46.80", "197.35"]


@pytest.mark.parametrize(
    ("day", "begins", "start"),
    [
        ("2024-04-01", "04-01", "2024-04-01"),
        ("2024-03-31", "04-01", "2023-04-01"),
        ("2024-12-31", "01-01", "2024-01-01"),
        ("2024-01-01", "01-01", "2024-01-01"),
        ("2024-02-29", "02-28", "2024-02-28"),
    ],
)
def test_a_fiscal_year_begins_on_its_first_day(day: str, begins: str, start: str) -> None:
    assert fiscal_year_start(date.fromisoformat(day), begins) == date.fromisoformat(start)
