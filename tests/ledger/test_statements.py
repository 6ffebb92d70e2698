"""Financial statements against a company reckoned by hand (`small_company`), and each rule alone."""

import csv
from datetime import date
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest

from libs.common.money import ISO_4217
from services.ledger.reports import balance_sheet, cash_flow, profit_and_loss
from services.ledger.reports.sections import CurrencyAnswer, Layout, Period, fiscal_year_start
from services.ledger.reports.statement_csv import as_csv
from services.ledger.reports.translation import PublishedRate, RateBook, RateMissing, Translator, days_of
from tests.ledger.journal_in_memory import Journal
from tests.ledger.small_company import journal, rates

EUR, USD = ISO_4217["EUR"], ISO_4217["USD"]
Y2024 = Period("y2024", date(2024, 1, 1), date(2024, 12, 31))
Y2025 = Period("y2025", date(2025, 1, 1), date(2025, 12, 31))
END_2024, END_2025 = Y2024._replace(since=None), Y2025._replace(since=None)


def layout_of(books: Journal, **more: Any) -> Layout:
    return Layout({account.no: account for account in books.accounts.values()}, **more)


def pnl(books: Journal, *periods: Period, only: str | None = None, **more: Any) -> list[CurrencyAnswer]:
    ranges = [profit_and_loss.Range(each, books.sums(each.since, each.through, closings=False)) for each in periods]
    return profit_and_loss.untranslated(layout_of(books, **more), ranges, only)


def sheet(books: Journal, *periods: Period, begins: str = "01-01", **more: Any) -> list[CurrencyAnswer]:
    columns = [
        balance_sheet.AsOf(
            each,
            books.sums(None, each.through),
            books.sums(None, date.fromordinal(fiscal_year_start(each.through, begins).toordinal() - 1)),
        )
        for each in periods
    ]
    return balance_sheet.untranslated(layout_of(books, **more), columns, None)


def cash_columns(books: Journal, *periods: Period) -> list[cash_flow.CashColumn]:
    by_no = {account.no: account for account in books.accounts.values()}
    columns = []
    for each in periods:
        assert each.since is not None
        flows = cash_flow.flows_of(books.cash_lines(each.since, each.through), by_no)
        before = date.fromordinal(each.since.toordinal() - 1)
        columns.append(cash_flow.CashColumn(each, flows, books.sums(None, before), books.sums(None, each.through)))
    return columns


def translator(to: str, published: list[PublishedRate] | None = None) -> Translator:
    return Translator(ISO_4217[to], EUR, "01-01", RateBook(rates() if published is None else published, ("EUR", "USD")))


def translated(report: Any, books: Journal, to: str, *periods: Period, **more: Any) -> CurrencyAnswer:
    last = max(each.through for each in periods)
    days = days_of(books.accounts.values(), books.daily(last), books.daily(last, closings=False))
    part: CurrencyAnswer = report.translated(layout_of(books, **more), periods, days, translator(to))
    return part


def figures(part: CurrencyAnswer) -> dict[str, list[str]]:
    """Every amount by the code of its account or the name of its section or line."""
    found = {}
    for section in part["sections"]:
        found[section["name"]] = section["totals"]
        for group in section["groups"]:
            found |= {row["account"]: row["amounts"] for row in group["rows"]}
    for line in part["lines"]:
        found[line["name"]] = line["amounts"]
        found |= {f"{line['name']}/{piece['name']}": piece["amounts"] for piece in line["made_of"]}
    return found


def holds(part: CurrencyAnswer) -> bool:
    assert part["tie_outs"]
    return all(tie_out["holds"] for tie_out in part["tie_outs"])


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


def test_cash_flow_says_where_cash_came_from() -> None:
    books = journal()
    euros, dollars = cash_flow.untranslated(layout_of(books), cash_columns(books, Y2024, Y2025), None)
    assert figures(euros) == {
        "operating": ["-40.00", "-45.00"],
        "5000-RENT": ["-40.00", "-45.00"],
        "investing": ["-300.00", "0.00"],
        "1500-EQUIPMENT": ["-300.00", "0.00"],
        "financing": ["1000.00", "200.00"],
        "3000-CAPITAL": ["1000.00", "0.00"],
        "2000-LOAN": ["0.00", "200.00"],
        "exchanged-between-currencies": ["0.00", "52.00"],
        "opening-cash": ["0.00", "660.00"],
        "net-flows": ["660.00", "207.00"],
        "fx-effect": ["0.00", "0.00"],
        "closing-cash": ["660.00", "867.00"],
    }
    found = figures(dollars)
    assert (found["1100-AR-USD"], found["exchanged-between-currencies"]) == (["110.00", "0.00"], ["0.00", "-55.00"])
    assert found["closing-cash"] == ["110.00", "55.00"]
    assert holds(euros)
    assert holds(dollars)
    rows = {
        row["account"]: row["classed_by"]
        for section in euros["sections"]
        for group in section["groups"]
        for row in group["rows"]
    }
    assert rows == {
        "5000-RENT": "type",
        "1500-EQUIPMENT": "account",
        "3000-CAPITAL": "type",
        "2000-LOAN": "account",
    }


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


def test_cash_flow_in_the_functional_currency() -> None:
    books = journal()
    part = cash_flow.translated(layout_of(books), cash_columns(books, Y2024, Y2025), translator("EUR"))
    found = figures(part)
    assert found["1100-AR-USD"] == ["100.00", "0.00"]
    assert found["exchanged-between-currencies"] == ["0.00", "-3.00"]
    assert found["opening-cash"] == ["0.00", "770.00"]
    assert found["net-flows"] == ["760.00", "152.00"]
    assert found["fx-effect"] == ["10.00", "-11.00"]
    assert found["closing-cash"] == ["770.00", "911.00"]
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


def test_a_payment_with_a_fee_is_spread_by_largest_remainder() -> None:
    books = Journal()
    books.open("BANK", "asset", cash=True)
    books.open("FEE", "expense")
    books.open("A", "asset")
    books.open("B", "liability", cash_flow_class="financing")
    books.open("C", "income")
    books.post("2024-01-01", "BANK +1.00", "FEE +0.50", "A -0.50", "B -0.50", "C -0.50")
    (part,) = cash_flow.untranslated(layout_of(books), cash_columns(books, Y2024), None)
    found = figures(part)
    assert (found["A"], found["B"], found["C"]) == (["0.34"], ["0.33"], ["0.33"])
    assert "FEE" not in found, "the fee is on the side of cash"
    assert holds(part)


def test_cash_to_cash_nets_out() -> None:
    books = Journal()
    books.open("BANK", "asset", cash=True)
    books.open("TILL", "asset", cash=True)
    books.open("C", "income")
    books.post("2024-01-01", "BANK +5.00", "TILL -5.00")
    books.post("2024-01-02", "BANK +7.00", "TILL -5.00", "C -2.00")
    (part,) = cash_flow.untranslated(layout_of(books), cash_columns(books, Y2024), None)
    found = figures(part)
    assert (found["C"], found["net-flows"], found["closing-cash"]) == (["2.00"], ["2.00"], ["2.00"])


def test_a_position_pair_is_looked_through() -> None:
    """A dollar invoice of 60 paid together with 40 of dollar cash into the euro account."""
    books = journal()
    books.post("2025-06-02", "1000-BANK +90", "FX-EQUIVALENT-USD -90", "FX-POSITION-USD +100",
               "1100-AR-USD -60", "1010-BANK-USD -40")  # fmt: skip
    day = date(2025, 6, 2)
    columns = cash_columns(books, Period("day", day, day))
    euros, dollars = (figures(part) for part in cash_flow.untranslated(layout_of(books), columns, None))
    assert (euros["1100-AR-USD"], euros["exchanged-between-currencies"]) == (["54.00"], ["36.00"])
    assert dollars["exchanged-between-currencies"] == ["-40.00"]


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
                            "rate_age_days_max": 5, "rates_known_at": None},
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


def _day_s_flows(books: Journal, on: str, *lines: str) -> dict[str, dict[str, list[str]]]:
    """By currency, the flows of one entry posted on a day of its own."""
    books.post(on, *lines)
    day = date.fromisoformat(on)
    parts = cash_flow.untranslated(layout_of(books), cash_columns(books, Period("day", day, day)), None)
    assert all(holds(part) for part in parts)
    return {part["currency"]: figures(part) for part in parts}


def test_a_fee_behind_a_pair_is_on_the_side_of_cash() -> None:
    books = journal()
    books.open("5100-FEE-USD", "expense", "USD")
    flows = _day_s_flows(books, "2025-06-02", "1000-BANK +90", "FX-EQUIVALENT-USD -90", "FX-POSITION-USD +100",
                         "1100-AR-USD -103", "5100-FEE-USD +3")  # fmt: skip
    assert flows["EUR"]["1100-AR-USD"] == ["90.00"]
    assert "5100-FEE-USD" not in flows["EUR"]


def test_cash_across_two_pairs_is_an_exchange() -> None:
    books = journal()
    books.open("1020-BANK-JPY", "asset", "JPY", cash=True)
    books.pair("JPY")
    flows = _day_s_flows(books, "2025-06-02", "1010-BANK-USD +55", "FX-POSITION-USD -55", "FX-EQUIVALENT-USD +50",
                         "FX-EQUIVALENT-JPY -50", "FX-POSITION-JPY +7000", "1020-BANK-JPY -7000")  # fmt: skip
    assert flows["USD"]["exchanged-between-currencies"] == ["55.00"]
    assert flows["JPY"]["exchanged-between-currencies"] == ["-7000"]


def test_lines_behind_two_pairs_weigh_what_the_pairs_say() -> None:
    books = journal()
    books.open("1120-AR-JPY", "asset", "JPY")
    books.pair("JPY")
    flows = _day_s_flows(books, "2025-06-02", "1000-BANK +150", "FX-EQUIVALENT-USD -100", "FX-EQUIVALENT-JPY -50",
                         "FX-POSITION-USD +110", "FX-POSITION-JPY +7000", "1100-AR-USD -110",
                         "1120-AR-JPY -7000")  # fmt: skip
    assert (flows["EUR"]["1100-AR-USD"], flows["EUR"]["1120-AR-JPY"]) == (["100.00"], ["50.00"])


def test_opening_cash_is_at_the_rate_of_the_day_before() -> None:
    books = journal()
    new_year = PublishedRate("ecb", "EUR", "USD", date(2025, 1, 1), Decimal(2), own=False)
    part = cash_flow.translated(layout_of(books), cash_columns(books, Y2025), translator("EUR", [*rates(), new_year]))
    assert figures(part)["opening-cash"] == ["770.00"]
    assert holds(part)


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
