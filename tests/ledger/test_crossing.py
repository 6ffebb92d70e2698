"""Entries that cross currencies, as tables: what the ledger adds to the position pairs, to the minor unit.

The books are kept in USD. A position is credit-normal: FX-POSITION-EUR of -100.00 means 100 euros are held.
"""

import pytest

from services.ledger.account_records import AccountOpened
from services.ledger.domain import Accepted
from services.ledger.records import EntryPosted
from tests.ledger.attempts import rules, table
from tests.ledger.plain_books import PlainBooks, play

TABLES = ("crossing-one-pair", "crossing-rounding", "crossing-several-pairs", "crossing-lines-of-its-own")

CHART = """
open | USD-CASH asset USD | opened
open | EUR-CASH asset EUR | opened
open | GBP-CASH asset GBP | opened
"""


@pytest.mark.parametrize("name", TABLES)
def test_every_crossing_gets_its_verdict(name: str) -> None:
    play(rules(name))


def decided(books: PlainBooks, row: str) -> list[AccountOpened | EntryPosted]:
    """The records one row becomes."""
    (attempt,) = table(row)
    decision = books.decide(attempt)
    assert isinstance(decision, Accepted), decision
    return decision.records


def test_a_pair_is_opened_on_first_need_and_never_again() -> None:
    books = play(table(CHART))
    row = "entry | EUR-CASH debit 1.00; USD-CASH credit 1.00; rate EUR/USD 1; key {} | posted"
    first, again = decided(books, row.format("a")), decided(books, row.format("b"))
    opened = [record.account for record in first if isinstance(record, AccountOpened)]
    assert [(account.code, account.currency, account.no) for account in opened] == [
        ("FX-POSITION-EUR", "EUR", 4),
        ("FX-EQUIVALENT-EUR", "USD", 5),
    ]
    assert [(account.type, account.normal_side) for account in opened] == [("equity", "credit")] * 2
    assert [(account.overdraft_policy, account.control_owner) for account in opened] == [("unlimited", None)] * 2
    assert [type(record) for record in again] == [EntryPosted]


def test_two_pairs_of_one_entry_have_numbers_of_their_own() -> None:
    books = play(table(CHART))
    row = "entry | EUR-CASH debit 3.00; GBP-CASH credit 2.00; rate EUR/USD 1; rate GBP/USD 1.5 | posted"
    records = decided(books, row)
    assert [record.account.no for record in records if isinstance(record, AccountOpened)] == [4, 5, 6, 7]


def test_a_refused_entry_opens_no_pair() -> None:
    books = play(table(CHART))
    play_on = table("entry | EUR-CASH debit 1.00; USD-CASH credit 9.00; rate EUR/USD 1 | rate-mismatch")
    books.check(play_on[0])
    assert "FX-POSITION-EUR" not in books.state.accounts
