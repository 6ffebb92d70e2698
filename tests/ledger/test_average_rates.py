"""Income and expense at the average rate of a month, quarter or fiscal year: reckoned by hand, row by row."""

from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest

from services.ledger.reports import balance_sheet, profit_and_loss
from services.ledger.reports.rates import (
    AveragedPeriod,
    AverageOver,
    PublishedRate,
    RateBook,
    RateMissing,
    averaged_period,
)
from services.ledger.reports.sections import Period
from tests.ledger.journal_in_memory import Journal
from tests.ledger.statement_parts import figures, holds, translated, translator

JANUARY = AveragedPeriod("2026-01", date(2026, 1, 1), date(2026, 1, 31))
FEBRUARY = AveragedPeriod("2026-02", date(2026, 2, 1), date(2026, 2, 28))


def published(*rows: str) -> list[PublishedRate]:
    """Rates such as "ecb EUR/USD 2026-01-02 1.10"."""
    found = []
    for row in rows:
        provider, pair, on, rate = row.split()
        base, counter = pair.split("/")
        found.append(PublishedRate(provider, base, counter, date.fromisoformat(on), Decimal(rate), own=False))
    return found


RATES = published(
    "ecb EUR/USD 2026-01-02 1.10", "ecb EUR/USD 2026-01-20 1.20", "ecb EUR/USD 2026-01-31 1.30",
    "ecb EUR/USD 2026-02-03 1.40", "ecb EUR/USD 2026-02-28 1.50",
    "boj EUR/JPY 2026-01-20 150", "boj EUR/JPY 2026-01-30 200", "boj EUR/JPY 2026-01-31 156",
    "zkb USD/CHF 2026-01-05 0.5", "zkb USD/CHF 2026-01-06 1", "zkb USD/CHF 2026-01-07 1",
)  # fmt: skip


@pytest.mark.parametrize(
    ("over", "on", "begins", "name", "first", "last"),
    [
        ("month", "2026-02-28", "01-01", "2026-02", "2026-02-01", "2026-02-28"),
        ("month", "2026-02-28", "04-06", "2026-02", "2026-02-06", "2026-03-05"),
        ("month", "2026-02-05", "04-06", "2026-01", "2026-01-06", "2026-02-05"),
        ("quarter", "2026-03-31", "01-01", "2026-Q1", "2026-01-01", "2026-03-31"),
        ("quarter", "2026-03-31", "04-01", "2025-Q4", "2026-01-01", "2026-03-31"),
        ("quarter", "2026-04-01", "04-01", "2026-Q1", "2026-04-01", "2026-06-30"),
        ("quarter", "2026-12-31", "02-01", "2026-Q4", "2026-11-01", "2027-01-31"),
        ("year", "2026-12-31", "01-01", "2026", "2026-01-01", "2026-12-31"),
        ("year", "2026-03-31", "04-01", "2025", "2025-04-01", "2026-03-31"),
    ],
)
def test_a_period_is_the_ledger_s_own(
    over: AverageOver, on: str, begins: str, name: str, first: str, last: str
) -> None:
    found = averaged_period(over, date.fromisoformat(on), begins)
    assert (found.name, found.first.isoformat(), found.last.isoformat()) == (name, first, last)


@pytest.mark.parametrize(
    ("base", "counter", "period", "rate", "provider", "since", "on", "days"),
    [
        ("EUR", "USD", JANUARY, "1.2", "ecb", "2026-01-02", "2026-01-31", 3),
        ("EUR", "USD", FEBRUARY, "1.45", "ecb", "2026-02-03", "2026-02-28", 2),
        # Inverses are averaged, not the average inverted: (1/0.5 + 1 + 1) / 3, where 1 / (2.5/3) would be 1.2.
        ("CHF", "USD", JANUARY, "1.33333333333", "zkb", "2026-01-05", "2026-01-07", 3),
        # Crossed on the two days that have both halves: (150/1.20 + 156/1.30) / 2; the 30th has no dollar.
        ("USD", "JPY", JANUARY, "122.5", "boj, ecb", "2026-01-20", "2026-01-31", 2),
    ],
)
def test_an_average_is_the_mean_of_the_period_s_published_rates(
    base: str, counter: str, period: AveragedPeriod, rate: str, provider: str, since: str, on: str, days: int
) -> None:
    found = RateBook(RATES).average(base, counter, period)
    average = {"period": period.name, "since": since, "days": days}
    assert found.steps == (
        {"base": base, "counter": counter, "rate": rate, "on": on, "provider": provider, "inverse": False,
         "average": average},
    )  # fmt: skip
    assert found.ratio == Fraction(rate), "what is said is what is reckoned with"


@pytest.mark.parametrize(("base", "counter"), [("EUR", "CHF"), ("EUR", "GBP")])
def test_a_period_without_a_rate_has_no_average(base: str, counter: str) -> None:
    book = RateBook(RATES)
    with pytest.raises(RateMissing, match=f"no rate {base}/{counter} in 2026-02"):
        book.average(base, counter, FEBRUARY)
    assert book.average("GBP", "GBP", FEBRUARY).ratio == 1


def company() -> Journal:
    """1,000 of capital, 100 sold on the last day of January, 40 of rent in February; all in euros."""
    books = Journal()
    for code, type_ in (("BANK", "asset"), ("CAPITAL", "equity"), ("RETAINED", "equity"), ("SALES", "income"),
                        ("RENT", "expense")):  # fmt: skip
        books.open(code, type_)
    books.post("2026-01-02", "BANK +1000", "CAPITAL -1000")
    books.post("2026-01-31", "BANK +100", "SALES -100")
    books.post("2026-02-03", "BANK -40", "RENT +40")
    return books


BOTH = Period("both", date(2026, 1, 1), date(2026, 2, 28))
FIRST, SECOND = BOTH._replace(through=JANUARY.last), BOTH._replace(since=FEBRUARY.first)


@pytest.mark.parametrize(
    ("over", "sales", "rent", "result", "reserve"),
    [
        (None, "130.00", "56.00", "74.00", "416.00"),  # 100 at 1.30, 40 at 1.40
        ("month", "120.00", "58.00", "62.00", "428.00"),  # at 1.20, at 1.45
        ("quarter", "130.00", "52.00", "78.00", "412.00"),  # both at 1.30
        ("year", "130.00", "52.00", "78.00", "412.00"),
    ],
)
def test_results_at_averages_and_the_rest_in_the_reserve(
    over: AverageOver | None, sales: str, rent: str, result: str, reserve: str
) -> None:
    by = translator("USD", RATES, over)
    part = translated(profit_and_loss, company(), "USD", BOTH, by=by)
    found = figures(part)
    assert (found["SALES"], found["RENT"], found["result"]) == ([sales], [rent], [result])
    assert holds(part)
    sheet = translated(balance_sheet, company(), "USD", BOTH._replace(since=None), by=by)
    found = figures(sheet)
    assert (found["BANK"], found["CAPITAL"]) == (["1590.00"], ["1100.00"]), "at the closing rate, and at the entry's"
    assert (found["current-earnings"], found["translation-reserve"]) == ([result], [reserve])
    assert holds(sheet)


def test_two_ranges_add_up_to_both_and_a_range_within_a_month_has_all_of_its_average() -> None:
    by = translator("USD", RATES, "month")
    parts = translated(profit_and_loss, company(), "USD", FIRST, SECOND, BOTH, by=by)
    assert figures(parts)["result"] == ["120.00", "-58.00", "62.00"]
    within = Period("within", date(2026, 2, 1), date(2026, 2, 3))
    assert figures(translated(profit_and_loss, company(), "USD", within, by=by))["RENT"] == ["58.00"]


def test_a_closing_entry_moves_what_was_earned_at_averages() -> None:
    books = company()
    books.post("2026-02-28", "SALES +100", "RENT -40", "RETAINED -60", kind="closing")
    part = translated(balance_sheet, books, "USD", BOTH._replace(since=None), by=translator("USD", RATES, "month"))
    found = figures(part)
    assert (found["RETAINED"], found["current-earnings"]) == (["62.00"], ["0.00"])
    assert found["translation-reserve"] == ["428.00"]
    assert holds(part)
