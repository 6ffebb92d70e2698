"""The tie-out's rule, case by case and over drawn books."""

from hypothesis import given
from hypothesis import strategies as st

from services.invoicing.tie_out import BookSum, MappedAccount, MovementSum, Row, compare

AR, CLEARING = MappedAccount("1100-AR", "receivable"), MappedAccount("1050-CLEARING", "processor-clearing")


def told(rows: tuple[Row, ...]) -> list[tuple[str, str | None, str, int, int, int]]:
    return [("+".join(row.roles), row.party, row.currency, row.subledger, row.books, row.difference) for row in rows]


def test_it_ties_by_party_and_currency() -> None:
    movements = [
        MovementSum("receivable", "acme", "USD", 1_500_00),
        MovementSum("receivable", "acme", "USD", -500_00),
        MovementSum("receivable", "acme", "EUR", 7_00),
        MovementSum("receivable", "bolt", "USD", 9_00),
    ]
    books = [
        BookSum("1100-AR", "acme", "USD", 1_000_00),
        BookSum("1100-AR", "acme", "EUR", 7_00),
        BookSum("1100-AR", "bolt", "USD", 9_00),
    ]
    rows = compare([AR], movements, books)
    assert told(rows) == [
        ("receivable", "acme", "EUR", 7_00, 7_00, 0),
        ("receivable", "acme", "USD", 1_000_00, 1_000_00, 0),
        ("receivable", "bolt", "USD", 9_00, 9_00, 0),
    ]
    assert all(row.ties for row in rows)


def test_money_under_the_wrong_party_does_not_tie() -> None:
    rows = compare([AR], [MovementSum("receivable", "acme", "USD", 100)], [BookSum("1100-AR", "bolt", "USD", 100)])
    assert [(row.party, row.difference, row.ties) for row in rows] == [("acme", -100, False), ("bolt", 100, False)]


def test_another_hand_on_a_controlled_account_is_a_fault_although_the_rest_ties() -> None:
    books = [BookSum("1100-AR", "acme", "USD", 130, by_others=30)]
    (row,) = compare([AR], [MovementSum("receivable", "acme", "USD", 100)], books)
    assert (row.difference, row.by_others, row.ties) == (0, 30, False)


def test_others_may_settle_a_clearing_account_and_its_parties_do_not_count() -> None:
    books = [BookSum("1050-CLEARING", "p-1", "USD", 70), BookSum("1050-CLEARING", None, "USD", -40, by_others=-70)]
    (row,) = compare([CLEARING], [MovementSum("processor-clearing", None, "USD", 100)], books)
    assert (row.party, row.books, row.by_others, row.difference, row.ties) == (None, 30, -70, 0, True)


def test_an_account_that_was_mapped_before_still_counts_for_its_role() -> None:
    mapped = [AR, MappedAccount("1101-AR-NEW", "receivable", complete=False)]
    books = [BookSum("1100-AR", "acme", "USD", 60), BookSum("1101-AR-NEW", "acme", "USD", 40)]
    (row,) = compare(mapped, [MovementSum("receivable", "acme", "USD", 100)], books)
    assert (row.accounts, row.difference, row.complete) == (("1100-AR", "1101-AR-NEW"), 0, False)


def test_roles_on_one_account_are_compared_together() -> None:
    mapped = [
        MappedAccount("2200", "customer-credit"),
        MappedAccount("2300", "unapplied-receipts"),
        MappedAccount("2200", "unapplied-receipts"),
        MappedAccount("2200", "bank"),
    ]
    movements = [MovementSum("customer-credit", "a", "USD", -5), MovementSum("unapplied-receipts", "a", "USD", -7)]
    (row,) = compare(mapped, movements, [BookSum("2200", "a", "USD", -12)])
    assert row.roles == ("customer-credit", "unapplied-receipts")
    assert (row.shared_with, row.difference) == (("bank",), 0)


def test_roles_without_movements_and_accounts_of_others_are_left_out() -> None:
    rows = compare(
        [AR, MappedAccount("1010", "bank")],
        [MovementSum("bank", None, "USD", 5)],
        [BookSum("1010", None, "USD", 9), BookSum("9999", None, "USD", 9)],
    )
    assert rows == ()


def test_what_was_never_mapped_is_told_without_an_account() -> None:
    (row,) = compare([], [MovementSum("receivable", "a", "USD", 5)], [])
    assert (row.accounts, row.difference) == ((), -5)


_ROLES = st.sampled_from(["receivable", "customer-credit", "tax-due", "processor-clearing"])
_ACCOUNTS = st.sampled_from(["1", "2", "3", "4", "5"])
_LINES = st.tuples(_ROLES, st.sampled_from(["a", "b"]), st.sampled_from(["USD", "JPY"]), st.integers(-9, 9))


@given(
    st.lists(st.tuples(_ACCOUNTS, _ROLES), min_size=1),
    st.lists(st.tuples(_LINES, st.integers(0, 4))),
    st.integers(1, 5),
    st.booleans(),
)
def test_books_that_follow_any_mapping_tie_and_a_lost_cent_never_does(
    mapping: list[tuple[str, str]], lines: list[tuple[tuple[str, str, str, int], int]], lost: int, loses: bool
) -> None:
    """Each movement is posted on some account of its role, whichever was mapped then."""
    mapped = [MappedAccount(account, role) for account, role in mapping]
    movements, books = [], []
    for (role, party, currency, amount), pick in lines:
        accounts = [each.account for each in mapped if each.role == role]
        if accounts:
            movements.append(MovementSum(role, party, currency, amount))
            books.append(BookSum(accounts[pick % len(accounts)], party, currency, amount))
    if loses and books:
        books[0] = books[0]._replace(amount=books[0].amount + lost)
    rows = compare(mapped, movements, books)
    assert sum(row.difference for row in rows) == (lost if loses and books else 0)
    assert all(row.ties for row in rows) is not (loses and bool(books))
