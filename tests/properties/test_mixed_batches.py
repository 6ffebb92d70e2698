"""Any mix of requests leaves the same books whether they are written in one batch, in small ones, or one by one.

Hypothesis makes the mix: accounts, entries on hot accounts, transfers, crossings, reversals, holds and what ends them,
keys and ids used twice, and whatever is refused. Three databases get the same requests under the same ids at the same
instant, by writers whose batches hold one request, four, or all; every table has to be equal, to the hash, and so have
the answers. The books are proven against their log at the end.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.common.db import Connection, Pool, create_pool
from libs.common.holds import CapturedLine, CaptureRequest, ExpireRequest, HoldLineRequest, HoldRequest, ReleaseRequest
from libs.common.journal import EntryRequest, LedgerRequest, Rate, ReversalRequest, TransferRequest
from services.ledger.commands import Asker, Books, fingerprint_of, open_ledger, open_organization
from services.ledger.deciding import Outcome
from services.ledger.domain import Request
from services.ledger.pools import create_writer_pool
from services.ledger.queued import Limits, QueuedWish
from services.ledger.verify import verify
from services.ledger.writer import LedgerWriter
from tests.ledger.asking import account, line
from tests.support.postgres import PostgresServer

LONG_AGO = datetime(2020, 2, 3, 4, 5, 6, 7, UTC)
ASKER = Asker("demo", "api", "alice", "api/alice")
BATCHES = (1, 4, 1_000)
TABLES = (
    "log",
    "requests",
    "accounts",
    "account_changes",
    "entries",
    "lines",
    "balances",
    "daily_totals",
    "holds",
    "hold_lines",
    "pendings",
    "closings",
    "backdatings",
    "party_balances",
)

CHART = {
    "BANK": account("BANK"),
    "CASH": account("CASH"),
    "ALICE": account("ALICE", "liability", overdraft="none"),
    "BOB": account("BOB", "liability", overdraft="none"),
    "AR": account("AR", control_owner="api"),
    "EURO": account("EURO", currency="EUR"),
    "POUND": account("POUND", currency="GBP"),
    "ALL": account("ALL", currency=None, summary=True),
}
DOLLARS = ["CASH", "CASH", "ALICE", "BOB", "AR"]
CODES = st.sampled_from(DOLLARS * 4 + ["EURO", "ALL", "NOBODY", "FX-EQUIVALENT-EUR"])
AMOUNTS = st.sampled_from(["1.00", "2.50", "7.00", "1.00", "2.50", "7.00", "1.00", "2.50", "0.00", "1.001"])
MARKS = st.none() | st.integers(1, 4)
KEYS = st.none() | st.none() | st.integers(1, 3)
"""Mostly what is accepted, so that there are books to compare; and some of everything that is not."""


@dataclass(frozen=True)
class Asked:
    """A request, the key it is asked under (None is its own), and whether the asker says that it may be known."""

    request: Request
    key: int | None
    lookup: bool


def entry_of(rows: list[tuple[str, str, str, bool]], mark: int | None, effective_day: int) -> EntryRequest:
    """Each row goes back on BANK, the hottest account; `mark` is an id and an external id."""
    lines = []
    for code, side, amount, party in rows:
        named = " @p" if party or code == "AR" else ""
        lines.append(line(f"{code} {side} {amount}{named}"))
        lines.append(line(f"BANK {'credit' if side == 'debit' else 'debit'} {amount}"))
    return EntryRequest(
        lines=lines,
        id=UUID(int=mark) if mark is not None and mark < 3 else None,
        external_id=f"x{mark}" if mark is not None else None,
        effective_on=datetime(2020, 1, effective_day, tzinfo=UTC).date(),
    )


def crossing_of(code: str, amount: str, worth: str, rate: str) -> EntryRequest:
    """Foreign money against BANK at a rate that may fit."""
    currency = "EUR" if code == "EURO" else "GBP"
    return EntryRequest(
        lines=[line(f"{code} debit {amount}"), line(f"BANK credit {worth}")], rates=[Rate(currency, "USD", rate)]
    )


def hold_of(rows: list[tuple[str, str, str, bool]], mark: int) -> HoldRequest:
    """The lines of an entry, held under one of a few ids."""
    lines = entry_of(rows, None, 1).lines
    return HoldRequest(
        lines=[HoldLineRequest(line.account, line.side, line.amount, line.currency, line.party) for line in lines],
        id=UUID(int=100 + mark),
        expires_at=datetime(2020, 2, 3 + mark, tzinfo=UTC) if mark < 3 else None,
    )


def capture_of(hold: int, amount: str | None, numbers: list[int], mark: int | None) -> CaptureRequest:
    """An amount of a hold, some of its lines, or all that is left."""
    lines = [CapturedLine("1.00", line=number) for number in numbers]
    return CaptureRequest(
        hold_id=UUID(int=100 + hold),
        amount=amount,
        lines=lines if lines and amount is None else None,
        id=UUID(int=mark) if mark is not None else None,
    )


ROWS = st.tuples(CODES, st.sampled_from(["debit", "credit"]), AMOUNTS, st.booleans())
ENTRIES = st.builds(entry_of, st.lists(ROWS, min_size=1, max_size=2), MARKS, st.integers(1, 3))
HELD = st.integers(1, 4)
HOLDS = st.builds(hold_of, st.lists(ROWS, min_size=1, max_size=2), HELD)
CAPTURES = st.builds(
    capture_of,
    HELD,
    st.none() | st.sampled_from(["1.00", "2.50"]),
    st.sampled_from([[], [], [1, 2], [3, 4], [2, 1, 3, 4], [1], [7, 8]]),
    MARKS,
)
REQUESTS: st.SearchStrategy[Request] = st.one_of(
    HOLDS,
    HOLDS,
    CAPTURES,
    CAPTURES,
    st.builds(ReleaseRequest, hold_id=HELD.map(lambda mark: UUID(int=100 + mark))),
    st.builds(ExpireRequest, hold_id=HELD.map(lambda mark: UUID(int=100 + mark))),
    ENTRIES,
    ENTRIES,
    ENTRIES,
    st.sampled_from(list(CHART.values())),
    st.builds(
        crossing_of, st.sampled_from(["EURO", "POUND"]), AMOUNTS, AMOUNTS, st.sampled_from(["1", "1", "1.1", "0"])
    ),
    st.builds(TransferRequest, source=st.sampled_from(["ALICE", "BOB", "CASH"]), target=CODES, amount=AMOUNTS),
    st.builds(ReversalRequest, entry_id=st.integers(1, 3).map(lambda mark: UUID(int=mark))),
)
MIXES = st.lists(st.builds(Asked, REQUESTS, KEYS, st.booleans()), min_size=10, max_size=60)


@dataclass
class Place:
    """A database of its own, with books whose clock stands still."""

    books: Books
    auditor: Pool
    batch_requests: int
    ledgers: int = field(default=0)

    async def write(self, mix: list[Asked]) -> tuple[list[Outcome], dict[str, Any]]:
        """The answers to a mix in a new ledger, and what every table then holds of it."""
        self.ledgers += 1
        code = f"n{self.ledgers}"
        await open_ledger(self.books, LedgerRequest(code=code, name=code), ASKER, None)
        ledger = await self.books.get("demo", code)
        limits = Limits(batch_requests=self.batch_requests)
        writer = LedgerWriter(ledger, self.books.pool, lambda: LONG_AGO, limits, lambda _: None)
        opening = [Asked(request, None, False) for request in list(CHART.values())[:6]]
        queued = [queue(asked, number) for number, asked in enumerate(opening + mix, 10)]
        for wish in queued:
            writer.put(wish)
        outcomes = await asyncio.gather(*(wish.answer for wish in queued))
        report = await verify(self.auditor, ledger)
        assert report.ok, report
        async with self.books.pool.acquire() as connection:
            return outcomes, await contents(connection, ledger.no)


def queue(asked: Asked, number: int) -> QueuedWish:
    """The request as every place gets it, ids and all."""
    return QueuedWish(
        request=asked.request,
        service="api",
        subject="alice",
        scope="api/alice",
        key=f"used {asked.key}" if asked.key is not None else f"own {number}",
        fingerprint=fingerprint_of(asked.request),
        size=300,
        new_id=UUID(int=1_000 + number),
        lookup=asked.lookup,
        traceparent=None,
        answer=asyncio.get_running_loop().create_future(),
    )


async def contents(connection: Connection, ledger_no: int) -> dict[str, Any]:
    """Every row of a ledger, in an order of the rows' own."""
    head = await connection.fetchrow("select sequence, hash, recorded_at from ledgers where no = $1", ledger_no)
    assert head is not None
    rows: dict[str, Any] = {"head": tuple(head)}
    for table in TABLES:
        found = await connection.fetch(f"select t::text from {table} t where ledger_no = $1 order by 1", ledger_no)
        rows[table] = [row[0] for row in found]
    return rows


@pytest.fixture(scope="session")
async def places(postgres: PostgresServer, ledger_template: str) -> AsyncIterator[list[Place]]:
    """One place for each size of batch; the same number of ledgers in each."""
    made: list[Place] = []
    dsns: list[str] = []
    try:
        for batch_requests in BATCHES:
            dsns.append(await postgres.create_database(ledger_template, owner="ledger_migrator"))
            roles = postgres.service_dsns(dsns[-1], "ledger")
            books = Books(await create_writer_pool(roles.writer, max_size=4), lambda: LONG_AGO)
            made.append(Place(books, await create_pool(roles.auditor, name="auditor", max_size=1), batch_requests))
            await open_organization(books, "demo", "Demo", "USD", ASKER)
        yield made
    finally:
        for place in made:
            await place.books.pool.close()
            await place.auditor.close()
        for dsn in dsns:
            await postgres.drop_database(dsn)


@pytest.mark.timeout(300)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mix=MIXES)
async def test_batches_of_one_of_some_and_of_all_leave_the_same_books(places: list[Place], mix: list[Asked]) -> None:
    (one_by_one, first), *others = [await place.write(mix) for place in places]
    for outcomes, rows in others:
        for name, content in rows.items():
            assert content == first[name], name
        assert outcomes == one_by_one
