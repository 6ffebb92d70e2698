"""The ageing of what is owed, on both bases, to the day; receipts and credit stay in columns of their own."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.invoicing.ageing import Aged, OnAccount, OpenRow, buckets, check_edges, column, labels, summed

AS_OF = date(2026, 11, 26)


def row(party: str, days: int, amount: int, currency: str = "EUR", issued_before: int = 14) -> OpenRow:
    due = AS_OF - timedelta(days=days)
    return OpenRow(party, currency, amount, due, due - timedelta(days=issued_before))


@pytest.mark.parametrize(
    ("days", "place"),
    [(-400, 0), (0, 0), (1, 1), (30, 1), (31, 2), (60, 2), (61, 3), (90, 3), (91, 4), (5_000, 4)],
)
def test_a_day_stands_in_its_column(days: int, place: int) -> None:
    assert column(days) == place
    (found,) = buckets(AS_OF, "due", [row("a", days, 7)])
    assert found.columns == [7 if at == place else 0 for at in range(5)]


def test_the_other_basis_counts_from_the_issue_date() -> None:
    (by_due,) = buckets(AS_OF, "due", [row("a", 20, 7)])
    (by_issue,) = buckets(AS_OF, "issue", [row("a", 20, 7)])
    assert (by_due.columns, by_issue.columns) == ([0, 7, 0, 0, 0], [0, 0, 7, 0, 0])


def test_rows_stand_by_party_and_currency_with_money_beside_them() -> None:
    found = buckets(
        AS_OF,
        "due",
        [row("b", 0, 10), row("a", 45, 5, "USD"), row("a", 100, 20), row("a", 100, 1)],
        on_account=[OnAccount("a", "EUR", unapplied=4), OnAccount("c", "EUR", credit=9)],
    )
    assert found == [
        Aged("a", "EUR", [0, 0, 0, 0, 21], unapplied=4),
        Aged("a", "USD", [0, 0, 5, 0, 0]),
        Aged("b", "EUR", [10, 0, 0, 0, 0]),
        Aged("c", "EUR", [0, 0, 0, 0, 0], credit=9),
    ]
    assert [(each.open, each.net) for each in found] == [(21, 17), (5, 5), (10, 10), (0, -9)]
    assert summed(found) == [
        Aged("", "EUR", [10, 0, 0, 0, 21], unapplied=4, credit=9),
        Aged("", "USD", [0, 0, 5, 0, 0]),
    ]


def test_edges_are_anybody_s_own() -> None:
    assert labels((7,)) == ["current", "1-7", "7+"]
    assert labels() == ["current", "1-30", "31-60", "61-90", "90+"]
    (found,) = buckets(AS_OF, "due", [row("a", 7, 1), row("a", 8, 2)], edges=(7,))
    assert found.columns == [0, 1, 2]


@pytest.mark.parametrize("edges", [(), (0,), (-1, 5), (30, 30), (60, 30), (3_661,), tuple(range(1, 14))])
def test_edges_that_do_not_follow_one_another_are_refused(edges: tuple[int, ...]) -> None:
    refused = check_edges(edges)
    assert refused is not None
    assert (refused.code, refused.errors[0].pointer) == ("ageing-edges-not-ascending", "/edges")


def test_edges_in_order_are_kept() -> None:
    assert check_edges((1, 2, 3_660)) is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(-50, 200), st.integers(1, 10**12))))
def test_no_amount_is_lost_or_doubled(drawn: list[tuple[str, int, int]]) -> None:
    rows = [row(party, days, amount) for party, days, amount in drawn]
    for basis in ("due", "issue"):
        found = buckets(AS_OF, basis, rows)  # type: ignore[arg-type]
        assert sum(each.open for each in found) == sum(amount for _, _, amount in drawn)
        assert sum(each.open for each in summed(found)) == sum(amount for _, _, amount in drawn)
