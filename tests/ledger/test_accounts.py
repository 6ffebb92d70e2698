"""The rules of opening accounts as tables, and the shapes that are refused before any ledger is looked at."""

import pytest

from libs.common.journal import AccountRequest, Overdraft
from services.ledger.accounts import pair_currency, shape_faults
from tests.ledger.asking import account
from tests.ledger.attempts import rules, table
from tests.ledger.plain_books import PlainBooks, play

TABLES = ("accounts", "account-changes")


@pytest.mark.parametrize("name", TABLES)
def test_every_account_gets_its_verdict(name: str) -> None:
    play(rules(name))


def test_numbers_have_no_gaps() -> None:
    books = PlainBooks()
    for row in table(
        "open | A asset USD | opened\nopen | A asset USD | account-code-taken\nopen | B asset USD | opened"
    ):
        books.check(row)
    assert [account.no for account in books.state.accounts.values()] == [1, 2]


@pytest.mark.parametrize(
    ("request_", "pointers"),
    [
        (account("A"), []),
        (account("A", currency=None), ["/currency"]),
        (account("A", summary=True), ["/currency"]),
        (account("A", currency=None, summary=True), []),
        (account("A", currency=None, summary=True, control_owner="fx"), ["/control_owner"]),
        (account("FX-POSITION-EUR", "equity", "EUR"), ["/code"]),
        (account("FX-EQUIVALENT-EUR", "equity"), ["/code"]),
        (account("A", overdraft="limit"), ["/overdraft/limit"]),
        (account("A", overdraft=Overdraft(policy="none", limit="5.00")), ["/overdraft/limit"]),
        (account("A", overdraft=Overdraft(policy="none", limit="0.00")), []),
        (account("A", cash=True, cash_flow_class="operating"), ["/cash_flow_class"]),
    ],
)
def test_a_shape_that_no_ledger_could_take(request_: AccountRequest, pointers: list[str]) -> None:
    assert [fault.pointer for fault in shape_faults(request_)] == pointers


def test_a_pair_account_says_its_currency() -> None:
    assert pair_currency("FX-POSITION-EUR") == "EUR"
    assert pair_currency("FX-EQUIVALENT-POINT-X") == "POINT-X"
    assert pair_currency("FX-EUR") is None
