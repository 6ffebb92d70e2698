"""Short ways to ask for things in tests."""

import asyncio
from typing import Any

from libs.common.clock import new_id
from libs.common.journal import AccountRequest, Condition, EntryRequest, LineRequest, Overdraft, Side
from libs.common.periods import PERMITS
from services.ledger.closing import Step
from services.ledger.commands import Answer, Asker, Books, Wish, ask, ask_step, fingerprint_of
from services.ledger.deciding import Outcome
from services.ledger.domain import Request
from services.ledger.queued import QueuedWish

ASKER = Asker("demo", "api", "alice", "api/alice")
CLOSER = Asker("demo", "api", "alice", "api/alice", frozenset({"period:adjust"}))
"""One who may post entries of kind closing, which are the year end's otherwise."""
PERMITTED = Asker("demo", "api", "carol", "api/carol", PERMITS)
"""Who may adjust and backdate."""


def account(code: str, type_: Any = "asset", currency: str | None = "USD", **more: Any) -> AccountRequest:
    """A request for an account; `overdraft` may be a policy's name."""
    if isinstance(more.get("overdraft"), str):
        more["overdraft"] = Overdraft(policy=more["overdraft"])
    return AccountRequest(code=code, name=code, type=type_, currency=currency, **more)


def line(text: str) -> LineRequest:
    """A line from "account debit 12.50", with "EUR", "@party" or conditions behind where wanted.

    Conditions: "available>=0.00", "posted=5.00", "version=3".
    """
    account_code, side, amount, *rest = text.split()
    party = next((word[1:] for word in rest if word.startswith("@")), None)
    conditions = dict(word.split("=") for word in rest if "=" in word)
    currency = next((word for word in rest if not word.startswith("@") and "=" not in word), None)
    condition = Condition(
        available_at_least=conditions.get("available>"),
        posted_equals=conditions.get("posted"),
        version_equals=int(conditions["version"]) if "version" in conditions else None,
    )
    which: Side = "debit" if side == "debit" else "credit"
    return LineRequest(account_code, which, amount, currency, party, None, condition if conditions else None)


def entry(*lines: str, **more: Any) -> EntryRequest:
    """A request for an entry of these lines."""
    return EntryRequest(lines=[line(text) for text in lines], **more)


def wish(
    request: Request,
    key: str | None = None,
    asker: Asker = ASKER,
    ledger: str = "main",
    lookup: bool = False,
    dry_run: bool = False,
) -> Wish:
    """A wish under a key of its own unless one is given."""
    return Wish(asker, ledger, request, key or str(new_id()), fingerprint_of(request), 200, lookup, None, dry_run)


def queued(request: Request, key: str) -> QueuedWish:
    """A wish as a writer's queue has it; nobody waits for its answer."""
    answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    fingerprint = fingerprint_of(request)
    return QueuedWish(request, "api", "alice", "api/alice", key, fingerprint, 200, new_id(), False, None, answer)


async def tell(books: Books, request: Request, key: str | None = None, **more: Any) -> Answer:
    """Asks and gives the answer."""
    return await ask(books, wish(request, key, **more))


async def step(books: Books, request: Step, key: str | None = None) -> Answer:
    """Asks for a step of closing and gives the answer."""
    return await ask_step(books, await books.get("demo", "main"), wish(request, key, lookup=True))


async def take(books: Books, *requests: Step) -> Answer:
    """Takes steps that have to be taken; gives the last answer."""
    for request in requests:
        answer = await step(books, request)
        assert answer.rejection is None, answer.rejection
    return answer


async def open_accounts(books: Books, *requests: AccountRequest) -> None:
    """Opens accounts that have to be opened."""
    for request in requests:
        answer = await tell(books, request)
        assert answer.rejection is None, answer.rejection
