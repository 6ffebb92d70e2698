"""Several writers on one ledger: nothing lost, nothing doubled, no gap, and nobody starves."""

import asyncio
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import asyncpg
import orjson
import pytest

from libs.common.clock import new_id, now
from libs.common.db import Pool, create_pool
from libs.common.errors import Transient
from libs.common.metrics import LEDGER_SERIALIZATION_RETRIES
from services.ledger import loading
from services.ledger.commands import Answer, Books, enqueue
from services.ledger.deciding import decide_batch
from services.ledger.pools import create_writer_pool
from services.ledger.queued import Limits
from services.ledger.state import LedgerState
from services.ledger.statement import statement_of
from services.ledger.verify import verify
from tests.ledger.asking import account, entry, open_accounts, queued, tell, wish
from tests.ledger.conftest import LedgerDatabase
from tests.ledger.test_guards import HEAD, LOG
from tests.support.waiting import until

CONTENDERS = 6


@pytest.fixture
async def contenders(books: Books, database: LedgerDatabase) -> AsyncIterator[list[Books]]:
    """Several processes' worth of books on one ledger, with pools and caches of their own; accounts A and B."""
    await open_accounts(books, account("A"), account("B", "liability", overdraft="none"))
    pools: list[Pool] = []
    try:
        pools += [await create_writer_pool(database.dsns.writer, max_size=2) for _ in range(CONTENDERS)]
        yield [Books(pool, now, Limits(lost_races_before_lock=2, rounds_under_lock=3)) for pool in pools]
    finally:
        await asyncio.gather(*(pool.close() for pool in pools))


@pytest.fixture
async def auditor(database: LedgerDatabase) -> AsyncIterator[Pool]:
    """A pool of the role that proves."""
    pool = await create_pool(database.dsns.auditor, name="ledger-auditor", max_size=1)
    try:
        yield pool
    finally:
        await pool.close()


def retries() -> float:
    """How many races were lost so far."""
    return float(LEDGER_SERIALIZATION_RETRIES._value.get())


async def in_turn(books: Books, count: int) -> list[Answer]:
    """One entry after the other."""
    return [await tell(books, entry("A debit 1.00", "B credit 1.00")) for _ in range(count)]


async def test_contenders_lose_races_and_no_entry(contenders: list[Books], auditor: Pool) -> None:
    before = retries()
    answers = await asyncio.gather(*(in_turn(books, 15) for books in contenders))
    sequences = sorted(answer.sequence for told in answers for answer in told)
    assert sequences == list(range(4, 4 + 15 * CONTENDERS))
    assert retries() > before
    assert (await verify(auditor, await contenders[0].get("demo", "main"))).ok


async def test_a_loser_goes_under_the_lock_and_gets_through(contenders: list[Books]) -> None:
    """One contender writes in a loop as fast as it can; the others each get their one entry in meanwhile."""
    stop = asyncio.Event()

    async def busy() -> int:
        count = 0
        while not stop.is_set():
            await asyncio.gather(*(tell(contenders[0], entry("A debit 1.00", "B credit 1.00")) for _ in range(5)))
            count += 5
        return count

    running = asyncio.create_task(busy())
    try:
        for books in contenders[1:]:
            answer = await asyncio.wait_for(tell(books, entry("A debit 1.00", "B credit 1.00")), 20)
            assert answer.rejection is None
    finally:
        stop.set()
    assert await running > 0


class Rival:
    """A clock that moves the ledger whenever it is read, which the writer does between reading and writing.

    Whoever holds the ledger's row keeps it out. It gives up after `moves_max`.
    """

    def __init__(self, dsn: str, moves_max: int) -> None:
        self._dsn = dsn
        self._moves_max = moves_max
        self._thread = ThreadPoolExecutor(1)
        self.moves = 0
        self.kept_out = 0

    def now(self) -> datetime:
        """The time, after a move."""
        if self.moves < self._moves_max:
            self._thread.submit(asyncio.run, self._move()).result()
        return now()

    async def _move(self) -> None:
        connection = await asyncpg.connect(self._dsn)
        try:
            async with connection.transaction():
                await connection.execute("select 1 from ledgers for update nowait")
                await connection.execute(HEAD + LOG)
            self.moves += 1
        except asyncpg.LockNotAvailableError:
            self.kept_out += 1
        finally:
            await connection.close()

    def close(self) -> None:
        """Ends its thread."""
        self._thread.shutdown()


async def test_who_loses_every_race_gets_through_under_the_lock(books: Books, database: LedgerDatabase) -> None:
    """A rival is faster every time; after three lost races the ledger's row is locked before it is read."""
    await open_accounts(books, account("A"), account("B"))
    rival = Rival(database.admin, moves_max=20)
    try:
        unlucky = Books(books.pool, rival.now, Limits(lost_races_before_lock=3))
        answer = await tell(unlucky, entry("A debit 1.00", "B credit 1.00"))
    finally:
        rival.close()
    assert (answer.rejection, answer.sequence) == (None, 3 + 3 + 1)
    assert (rival.moves, rival.kept_out) == (3, 1)


async def test_copies_of_one_request_at_several_writers_are_one_entry(contenders: list[Books]) -> None:
    request = entry("A debit 1.00", "B credit 1.00", id=new_id(), external_id="once")
    asked = [tell(books, request, "one-key") for books in contenders for _ in range(8)]
    answers = await asyncio.gather(*asked)
    assert {answer.sequence for answer in answers} == {4}
    assert sorted(answer.replayed for answer in answers) == [False] + [True] * (8 * CONTENDERS - 1)


async def test_one_external_id_at_several_writers_is_one_entry(contenders: list[Books]) -> None:
    """Different keys this time: one is posted, the others are told of it."""
    request = entry("A debit 1.00", "B credit 1.00", external_id="once")
    answers = await asyncio.gather(*(tell(books, request) for books in contenders))
    codes = [answer.rejection.code if answer.rejection else "posted" for answer in answers]
    assert sorted(codes) == ["duplicate-external-id"] * (CONTENDERS - 1) + ["posted"]


async def test_what_is_there_is_spent_once(contenders: list[Books]) -> None:
    """Everybody sees 10.00 and wants 6.00 of it: one gets it."""
    await tell(contenders[0], entry("A debit 10.00", "B credit 10.00"))
    for books in contenders:
        await tell(books, entry("A debit 0.01", "B credit 0.01"))
    answers = await asyncio.gather(*(tell(books, entry("B debit 6.00", "A credit 6.00")) for books in contenders))
    codes = [answer.rejection.code if answer.rejection else "posted" for answer in answers]
    assert sorted(codes) == ["insufficient-funds"] * (CONTENDERS - 1) + ["posted"]


async def test_accounts_opened_by_several_writers_have_numbers_of_their_own(
    contenders: list[Books], auditor: Pool
) -> None:
    wanted = [tell(books, account(f"N{number}")) for books in contenders for number in range(5)]
    answers = await asyncio.gather(*wanted)
    codes = [answer.rejection.code if answer.rejection else "opened" for answer in answers]
    assert sorted(codes) == ["account-code-taken"] * (5 * CONTENDERS - 5) + ["opened"] * 5
    assert (await verify(auditor, await contenders[0].get("demo", "main"))).ok


async def test_two_processes_post_to_one_ledger(books: Books, database: LedgerDatabase, auditor: Pool) -> None:
    await open_accounts(books, account("A"), account("B", "liability"))
    count = 300
    programs = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.posting_program", database.dsns.writer, str(count), "20",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(2)
    ]  # fmt: skip
    for program in programs:
        assert program.stdout is not None
        assert await program.stdout.readline() == b"ready\n"
    printed = await asyncio.gather(*(program.communicate(b"go\n") for program in programs))
    assert [program.returncode for program in programs] == [0, 0]
    sequences = [orjson.loads(output) for output, _ in printed]
    assert sorted(sequences[0] + sequences[1]) == list(range(4, 4 + 2 * count))
    assert max(sequences[0]) > min(sequences[1])
    report = await verify(auditor, await books.get("demo", "main"))
    assert (report.ok, report.checked_through) == (True, 3 + 2 * count)


async def test_a_rejection_is_decided_on_the_state_it_is_remembered_at(contenders: list[Books]) -> None:
    """It moves no sequence, and yet its statement checks it: what another writer credited meanwhile can be spent."""
    here, there = contenders[:2]
    refused = await tell(here, entry("B debit 1.00", "A credit 1.00"))
    assert refused.rejection is not None
    await tell(there, entry("A debit 5.00", "B credit 5.00"))
    answer = await tell(here, entry("B debit 1.00", "A credit 1.00"))
    assert (answer.rejection, answer.sequence) == (None, 5)


async def test_without_the_sequence_in_the_first_step_a_stale_rejection_would_be_remembered(
    contenders: list[Books],
) -> None:
    """The statement that keeps a rejection fails where the head moved; without the condition it is stored."""
    here = contenders[0]
    ledger = await here.get("demo", "main")
    state = LedgerState.unread(ledger)
    async with here.pool.acquire() as connection:
        await loading.load_accounts(connection, state, {"A", "B"}, set())
        prepared = decide_batch(state, [queued(entry("B debit 1.00", "A credit 1.00"), "stale")], now())
        assert prepared.outcomes[0].rejection is not None
        await tell(here, entry("A debit 5.00", "B credit 5.00"))
        head = (ledger.id, ledger.organization_id, prepared.batch.expected, 0, prepared.hash, prepared.recorded_at)
        steps, columns = prepared.batch.arguments()
        statement, arguments = statement_of(steps), (*head, *columns)
        remembered = "select count(*) from requests where rejection is not null"
        assert await connection.fetchval(statement, *arguments) is None
        assert await connection.fetchval(remembered) == 0
        without = statement.replace("and sequence = $3", "and $3::bigint is not null")
        assert without != statement
        assert await connection.fetchval(without, *arguments) is True
        assert await connection.fetchval(remembered) == 1


async def test_nobody_waits_for_a_writer_that_ended(books: Books, database: LedgerDatabase) -> None:
    """Whoever is in the statement and whoever is in the queue: both are told to come again."""
    await open_accounts(books, account("A"), account("B"))
    ledger = await books.get("demo", "main")
    writer = books.writer_of(ledger)
    elsewhere = await asyncpg.connect(database.admin)
    try:
        async with elsewhere.transaction():
            await elsewhere.execute("select 1 from ledgers for update")
            first = enqueue(books, ledger, wish(entry("A debit 1.00", "B credit 1.00"), "k1"))
            await until(lambda: not writer.queue_length)
            second = enqueue(books, ledger, wish(entry("A debit 1.00", "B credit 1.00"), "k2"))
            assert writer._task is not None
            writer._task.cancel()
            told = await asyncio.wait_for(asyncio.gather(first, second, return_exceptions=True), 10)
    finally:
        await elsewhere.close()
    assert [type(answer) for answer in told] == [Transient, Transient]
    again = await asyncio.gather(
        *(tell(books, entry("A debit 1.00", "B credit 1.00"), key, lookup=True) for key in ("k1", "k2"))
    )
    assert sorted(answer.sequence for answer in again) == [4, 5]


async def test_a_round_under_the_lock_that_has_nothing_to_write_answers_from_what_is_known(books: Books) -> None:
    await open_accounts(books, account("A"), account("B"))
    request = entry("A debit 1.00", "B credit 1.00")
    first = await tell(books, request, "known")
    writer = books.writer_of(await books.get("demo", "main"))
    writer._rounds_under_lock = 1
    again = await tell(books, request, "known", lookup=True)
    assert (again.sequence, again.replayed) == (first.sequence, True)
