"""Cash flow of a company reckoned by hand (`small_company`): classes, spreading, pairs looked through, FX effect."""

from datetime import date
from decimal import Decimal

from services.ledger.reports import cash_flow
from services.ledger.reports.rates import PublishedRate
from services.ledger.reports.sections import Period
from tests.ledger.journal_in_memory import Journal
from tests.ledger.small_company import journal, rates
from tests.ledger.statement_parts import Y2024, Y2025, cash_columns, figures, holds, layout_of, translator


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
