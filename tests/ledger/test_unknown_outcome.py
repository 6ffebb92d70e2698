"""Unknown outcomes: the connection breaks while the statement is under way, and the writer finds out what came of it.

A proxy stands between the writer and PostgreSQL. A row lock held by the test keeps a statement from ending, so that
the cut falls after it was sent and before its answer: let go it commits unheard, ended by the server it never does.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import asyncpg
import pytest

from libs.common.clock import now
from libs.common.errors import Transient
from services.ledger.commands import Answer, Books
from services.ledger.pools import create_writer_pool
from services.ledger.queued import Limits
from tests.ledger.asking import account, entry, open_accounts, tell
from tests.ledger.conftest import LedgerDatabase
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import until

HURRIED = Limits(statement_s=5.0, unknown_outcome_s=4.0)


@dataclass(slots=True)
class Faulty:
    """Books behind a proxy, and a way around it."""

    books: Books
    proxy: TcpProxy
    direct: asyncpg.Connection

    async def waiting_for_the_lock(self, query: str = "update ledgers") -> int:
        """Waits for a statement of the writer to wait for the ledger's row; gives its backend."""
        for _ in range(500):
            await self.direct.execute("select pg_stat_clear_snapshot()")
            pid = await self.direct.fetchval(
                """
                select pid from pg_stat_activity
                where datname = current_database() and wait_event_type = 'Lock' and query like $1
                """,
                f"%{query}%",
            )
            if pid is not None:
                return int(pid)
            await asyncio.sleep(0.01)
        raise AssertionError("no statement waits for the ledger's row")


@pytest.fixture
async def faulty(books: Books, database: LedgerDatabase) -> AsyncIterator[Faulty]:
    """Books on the ledger `main` whose every byte goes through a proxy; accounts A, and B that has nothing."""
    await open_accounts(books, account("A"), account("B", "liability", overdraft="none"))
    server = urlsplit(database.dsns.writer)
    assert server.hostname is not None
    async with TcpProxy(server.hostname, server.port or 5432) as proxy:
        dsn = server._replace(netloc=f"{server.username}:{server.password}@{proxy.address}").geturl()
        pool = await create_writer_pool(dsn, max_size=3, read_timeout_s=1.0)
        direct = await asyncpg.connect(database.admin)
        try:
            yield Faulty(Books(pool, now, HURRIED), proxy, direct)
        finally:
            proxy.resume()
            await direct.close()
            pool.terminate()


async def cut_under_way(faulty: Faulty, asked: "asyncio.Task[Answer]", *, commits: bool) -> Answer:
    """Cuts while the statement waits for a lock, lets it commit or kills it, then lets the writer look."""
    async with faulty.direct.transaction():
        await faulty.direct.execute("select 1 from ledgers for update")
        pid = await faulty.waiting_for_the_lock()
        if not commits:
            await faulty.direct.execute("select pg_terminate_backend($1)", pid)
        faulty.proxy.cut()
    await asyncio.sleep(0.05)
    faulty.proxy.resume()
    return await asked


async def stored(faulty: Faulty) -> list[tuple[str, int | None, bool]]:
    """What is remembered of the requests asked here: key, sequence, whether it is a rejection."""
    rows = await faulty.direct.fetch(
        "select key, sequence, rejection is not null as rejected from requests where key like 'k%' order by key"
    )
    return [(row["key"], row["sequence"], row["rejected"]) for row in rows]


@pytest.mark.parametrize("commits", [True, False])
async def test_an_entry_whose_answer_was_lost_is_there_once(faulty: Faulty, commits: bool) -> None:
    asked = asyncio.create_task(tell(faulty.books, entry("A debit 1.00", "B credit 1.00"), "k1"))
    answer = await cut_under_way(faulty, asked, commits=commits)
    assert (answer.rejection, answer.sequence, answer.replayed) == (None, 4, False)
    assert await stored(faulty) == [("k1", 4, False)]
    assert await faulty.direct.fetchval("select count(*) from lines") == 2
    again = await tell(faulty.books, entry("A debit 1.00", "B credit 1.00"), "k1", lookup=True)
    assert (again.sequence, again.replayed) == (4, True)


@pytest.mark.parametrize("commits", [True, False])
async def test_a_rejection_whose_answer_was_lost_is_remembered_once(faulty: Faulty, commits: bool) -> None:
    """A batch without a log record moves no sequence: whether it is there is asked of its keys."""
    asked = asyncio.create_task(tell(faulty.books, entry("A credit 1.00", "B debit 1.00"), "k1"))
    answer = await cut_under_way(faulty, asked, commits=commits)
    assert answer.rejection is not None
    assert (answer.rejection.code, answer.replayed) == ("insufficient-funds", False)
    assert await stored(faulty) == [("k1", None, True)]
    assert await faulty.direct.fetchval("select sequence from ledgers") == 3


async def end_under_way(faulty: Faulty) -> None:
    """Ends the statement that is under way before it commits, and keeps the writer from looking what came of it."""
    async with faulty.direct.transaction():
        await faulty.direct.execute("select 1 from ledgers for update")
        pid = await faulty.waiting_for_the_lock()
        await faulty.direct.execute("select pg_terminate_backend($1)", pid)
        faulty.proxy.cut()


async def test_a_key_that_another_writer_answered_meanwhile_keeps_that_answer(faulty: Faulty, books: Books) -> None:
    """The same request went to two processes; the first one's rejection was lost, the other one posted."""
    request = entry("A credit 1.00", "B debit 1.00")
    asked = asyncio.create_task(tell(faulty.books, request, "k1"))
    await end_under_way(faulty)
    await tell(books, entry("A debit 5.00", "B credit 5.00"))
    posted = await tell(books, request, "k1")
    assert (posted.rejection, posted.sequence) == (None, 5)
    faulty.proxy.resume()
    answer = await asked
    assert (answer.rejection, answer.sequence, answer.replayed) == (None, 5, True)


async def test_a_sequence_that_another_writer_took_is_not_ones_own(faulty: Faulty, books: Books) -> None:
    """The log has a record where the lost batch would have ended, and it is somebody else's: the hash says so."""
    asked = asyncio.create_task(tell(faulty.books, entry("A debit 1.00", "B credit 1.00"), "k1"))
    await end_under_way(faulty)
    other = await tell(books, entry("A debit 5.00", "B credit 5.00"))
    assert other.sequence == 4
    faulty.proxy.resume()
    answer = await asked
    assert (answer.rejection, answer.sequence) == (None, 5)
    assert await stored(faulty) == [("k1", 5, False)]


async def test_a_statement_that_runs_still_is_waited_for(faulty: Faulty) -> None:
    """Nobody will hear its answer and it may commit yet: the writer looks when it is over, not before."""
    asked = asyncio.create_task(tell(faulty.books, entry("A debit 1.00", "B credit 1.00"), "k1"))
    async with faulty.direct.transaction():
        await faulty.direct.execute("select 1 from ledgers for update")
        ghost = await faulty.waiting_for_the_lock()
        faulty.proxy.cut()
        await asyncio.sleep(0.05)
        faulty.proxy.resume()
        assert await faulty.waiting_for_the_lock("for no key update") != ghost
    answer = await asked
    assert (answer.rejection, answer.sequence, answer.replayed) == (None, 4, False)
    assert await stored(faulty) == [("k1", 4, False)]


@pytest.mark.parametrize("cached", [True, False])
async def test_a_stalled_database_is_a_503_and_the_key_finds_the_answer_later(faulty: Faulty, cached: bool) -> None:
    """Half-open connections: nobody is told anything, only clocks help. It stalls in the statement, or in the load."""
    faulty.books.limits = Limits(statement_s=0.5, unknown_outcome_s=1.0, patience_s=1.0)
    await tell(faulty.books, entry("A debit 9.00", "B credit 9.00"))
    if not cached:
        faulty.books.writer_of(await faulty.books.get("demo", "main")).forget()
    faulty.proxy.stall()
    request = entry("A credit 1.00", "B debit 1.00")
    with pytest.raises(Transient):
        await asyncio.wait_for(tell(faulty.books, request, "k1"), 30)
    faulty.proxy.resume()
    for _ in range(20):
        try:
            answer = await tell(faulty.books, request, "k1", lookup=True)
            break
        except Transient:
            await asyncio.sleep(0.1)
    assert (answer.rejection, answer.sequence) == (None, 5)
    assert await stored(faulty) == [("k1", 5, False)]


async def test_a_database_that_is_gone_for_good_leaves_nobody_waiting(faulty: Faulty) -> None:
    await tell(faulty.books, entry("A debit 9.00", "B credit 9.00"))
    faulty.proxy.cut()
    asked = [tell(faulty.books, entry("A debit 1.00", "B credit 1.00"), f"k{number}") for number in range(5)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Transient] * 5
    ledger = await faulty.books.get("demo", "main")
    await until(lambda: not faulty.books.writer_of(ledger).busy)
    assert await stored(faulty) == []
