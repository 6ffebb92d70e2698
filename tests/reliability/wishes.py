"""What the clients of a round ask for: entries between the accounts of one ledger, each under a key of its own.

One wish in twenty does not balance, so that rejections are asked for, remembered and lost like any other answer.
"""

import random
from dataclasses import dataclass
from typing import Any

from libs.cli import books
from libs.cli.client import Client
from libs.cli.session import Stack
from libs.common.journal import AccountRequest

LEDGER = "main"
ACCOUNTS = 12
UNBALANCED_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Wish:
    """An entry somebody wants under `key`; `cents` on each side, or nothing where it cannot be posted."""

    key: str
    entry: dict[str, Any]
    cents: int

    @property
    def can_be_posted(self) -> bool:
        """Whether the ledger has to accept it."""
        return self.cents > 0


def draw(key: str, chosen: random.Random) -> Wish:
    """A wish between two accounts drawn by lot."""
    debited, credited = chosen.sample(range(ACCOUNTS), 2)
    cents = chosen.randrange(1, 100_000)
    balanced = chosen.random() >= UNBALANCED_SHARE
    lines = [
        {"account": _code(debited), "side": "debit", "amount": _text(cents)},
        {"account": _code(credited), "side": "credit", "amount": _text(cents if balanced else cents + 1)},
    ]
    entry = {"effective_on": "2026-01-15", "description": "Under load", "lines": lines}
    return Wish(key, entry, cents if balanced else 0)


async def open_books(stack: Stack, organization: str) -> None:
    """The organization, its ledger and the accounts that the wishes name."""
    async with stack.operator() as operator:
        await books.ensure_organization(operator, organization)
    async with stack.client(organization) as client:
        await _open_accounts(client)


async def _open_accounts(client: Client) -> None:
    wanted = [
        AccountRequest(code=_code(no), name=f"Account {no}", type="asset", currency="USD") for no in range(ACCOUNTS)
    ]
    await books.open_accounts(client, LEDGER, wanted)


def _code(no: int) -> str:
    return f"A{no}"


def _text(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}"
