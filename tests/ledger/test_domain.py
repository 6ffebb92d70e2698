"""The rules of posting as tables: one attempt a row, the verdict in the last column (see attempts.py for the words)."""

import pytest

from tests.ledger.attempts import rules
from tests.ledger.plain_books import play

TABLES = (
    "amounts",
    "balance",
    "envelope",
    "keys",
    "conditions",
    "overdraft",
    "summary-and-control",
    "transfers",
    "reversals",
    "precedence",
    "holds",
    "holds-in-time",
    "holds-on-control-accounts",
    "closing",
)


@pytest.mark.parametrize("name", TABLES)
def test_every_attempt_gets_its_verdict(name: str) -> None:
    play(rules(name))
