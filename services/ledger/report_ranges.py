"""What balances and reports are asked with, and what each of them reads first: its account, its range, its sequence."""

from datetime import date
from typing import Annotated

from fastapi import Query

from libs.common.auth import Caller
from libs.common.days import WrittenDay
from libs.common.db import Connection
from libs.common.errors import Fault, Problem
from libs.common.http import requires
from services.ledger.account_sum import AccountSum
from services.ledger.balance_reads import AccountRead, read_account_kept, read_turnover
from services.ledger.reports.answers import Stated
from services.ledger.state import Ledger
from services.ledger.statement_reads import read_hash
from services.ledger.sums import read_sums

Reads = Annotated[Caller, requires("ledger:read")]
Sequence = Annotated[int | None, Query(ge=0, le=2**62, description="As the books were at this sequence; else now.")]
From = Annotated[WrittenDay | None, Query(alias="from", description="First effective day; else from the beginning.")]
To = Annotated[WrittenDay | None, Query(description="Last effective day; else whatever day comes.")]
CurrencyCode = Annotated[str | None, Query(max_length=12, description="Only this currency.")]
Zero = Annotated[bool, Query(description="Whether accounts with nothing on them are shown.")]
Words = Annotated[str | None, Query(max_length=200)]
Json = Annotated[str | None, Query(max_length=8192, description="A JSON object the entry's metadata contains.")]


async def account_of(connection: Connection, ledger: Ledger, code: str) -> AccountRead:
    found = await read_account_kept(connection, ledger, code)
    if found is None:
        raise Problem(404, "unknown-account", f"The ledger has no account {code!r}.")
    return found


def with_currency(account: AccountRead) -> AccountRead:
    if account.currency is None:
        raise Problem(
            422, "account-is-summary",
            f"{account.code!r} is a summary account: it has no lines of its own. Ask for one of its children.",
        )  # fmt: skip
    return account


async def sums_before(connection: Connection, ledger: Ledger, since: date | None, at: int) -> list[AccountSum]:
    """What was there before a range began: nothing before the beginning."""
    if since is None or since == date.min:
        _, accounts = await read_sums(connection, ledger, since=date.max, through=date.min, sequence=at)
    else:
        _, accounts = await read_sums(connection, ledger, since=None, through=_day_before(since), sequence=at)
    return accounts


async def turnover_before(
    connection: Connection, ledger: Ledger, account: AccountRead, since: date | None, at: int
) -> tuple[int, int]:
    if since is None or since == date.min:
        return 0, 0
    return await read_turnover(connection, ledger, account, _day_before(since), at)


def _day_before(day: date) -> date:
    return date.fromordinal(day.toordinal() - 1)


async def state(
    connection: Connection, report: str, ledger: Ledger, since: date | None, through: date | None, at: int
) -> Stated:
    return {
        "report": report,
        "ledger": ledger.code,
        "from": since.isoformat() if since else None,
        "to": through.isoformat() if through else None,
        "sequence": at,
        "hash": await read_hash(connection, ledger, at),
    }


def day_of(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


def check_range(since: date | None, through: date | None) -> None:
    if since is not None and through is not None and since > through:
        detail = "must not be after 'to'"
        raise Problem(422, "malformed", f"/from {detail}.", errors=[Fault("/from", detail)])


def exponents_of(accounts: list[AccountSum]) -> dict[str, int]:
    return {account.currency: account.exponent for account in accounts if account.currency is not None}
