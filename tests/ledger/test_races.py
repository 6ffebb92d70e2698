"""Several writers on one ledger: nothing lost, nothing doubled, no gap, and nobody starves."""

import asyncio
import sys
from collections.abc import AsyncIterator

import orjson
import pytest

from libs.common.clock import new_id, now
from libs.common.db import Pool, create_pool
from libs.common.metrics import LEDGER_SERIALIZATION_RETRIES
from services.ledger.commands import Answer, Books
from services.ledger.pools import create_writer_pool
from services.ledger.verify import verify
from services.ledger.writer import Limits
from tests.ledger.asking import account, entry, open_accounts, tell
from tests.ledger.conftest import LedgerDatabase

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
