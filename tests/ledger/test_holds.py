"""Holds in real books: ended once however many want to, held against everybody, expired in time, and proven."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from itertools import count
from uuid import UUID

import asyncpg
import pytest

from libs.common.clock import new_id, now
from libs.common.db import Pool, create_pool
from libs.common.holds import CapturedLine, CaptureRequest, ExpireRequest, HoldLineRequest, HoldRequest, ReleaseRequest
from libs.common.journal import LedgerRequest
from services.ledger.commands import Answer, Books, open_ledger
from services.ledger.domain import Request
from services.ledger.expiry import SCOPE, HoldExpiry
from services.ledger.loading import count_fitting
from services.ledger.pools import create_writer_pool
from services.ledger.queued import Limits
from services.ledger.state import Hold, HoldLine, LedgerState
from services.ledger.verify import verify
from tests.ledger.asking import ASKER, account, entry, line, open_accounts, queued, tell
from tests.ledger.attempts import LEDGER
from tests.ledger.conftest import LedgerDatabase
from tests.ledger.wire import eventually, running

pytestmark = pytest.mark.database


@pytest.fixture
async def auditor(database: LedgerDatabase) -> AsyncIterator[Pool]:
    """A pool of the role that reads all."""
    pool = await create_pool(database.dsns.auditor, name="ledger-auditor", max_size=4)
    try:
        yield pool
    finally:
        await pool.close()


@pytest.fixture
async def other(database: LedgerDatabase, books: Books) -> AsyncIterator[Books]:
    """The same books in a second process, as far as PostgreSQL can tell."""
    pool = await create_writer_pool(database.dsns.writer, max_size=4)
    try:
        yield Books(pool, books.clock)
    finally:
        await pool.close()


LONG_AGO = now() - timedelta(days=1)


async def past(books: Books, *codes: str) -> Books:
    """The same books with a clock that stands still a day ago, and ledgers that were opened then.

    What is placed there with a later end is due by the database's clock, without anybody having waited for it.
    """
    opened = Books(books.pool, lambda: LONG_AGO)
    for code in codes:
        await open_ledger(opened, LedgerRequest(code=code, name=code), ASKER, None)
        await fund(opened, ledger=code)
    return opened


async def fund(books: Books, amount: str = "100.00", ledger: str = "main") -> None:
    """ALICE has so much and no overdraft, BOB nothing."""
    for request in (account("BANK"), account("ALICE", "liability", overdraft="none"), account("BOB", "liability")):
        assert (await tell(books, request, ledger=ledger)).rejection is None
    await tell(books, entry(f"BANK debit {amount}", f"ALICE credit {amount}"), ledger=ledger)


def held(amount: str, *, expires_at: datetime | None = None, id_: UUID | None = None) -> HoldRequest:
    """So much of ALICE's for BOB."""
    lines = [line(f"ALICE debit {amount}"), line(f"BOB credit {amount}")]
    return HoldRequest(
        lines=[HoldLineRequest(each.account, each.side, each.amount) for each in lines], expires_at=expires_at, id=id_
    )


async def place(books: Books, amount: str, *, expires_at: datetime | None = None, ledger: str = "main") -> UUID:
    """A hold that has to be placed; gives its id."""
    answer = await tell(books, held(amount, expires_at=expires_at), ledger=ledger)
    assert answer.body is not None, answer.rejection
    return UUID(answer.body["id"])


def verdict(answer: Answer) -> str:
    """The code of a rejection, or what came of it."""
    if answer.rejection is not None:
        return answer.rejection.code
    assert answer.body is not None
    return str(answer.body["hold"]["status"] if answer.kind == "capture" else answer.body["status"])


async def row(database: LedgerDatabase, query: str) -> asyncpg.Record:
    connection = await asyncpg.connect(database.admin)
    try:
        found = await connection.fetchrow(query)
        assert found is not None
        return found
    finally:
        await connection.close()


async def proven(auditor: Pool, books: Books, ledger: str = "main") -> None:
    for size in (3, 1_000):
        report = await verify(auditor, await books.get("demo", ledger), slice_records=size)
        assert report.ok, report


async def test_a_capture_is_two_records_and_one_answer_and_comes_again_the_same(books: Books, auditor: Pool) -> None:
    await fund(books)
    hold = await place(books, "60.00")
    request = CaptureRequest(hold_id=hold, amount="25.00", external_id="CAP")
    first, again = await tell(books, request, "k"), await tell(books, request, "k", lookup=True)
    assert first.body is not None
    assert (first.kind, again.replayed, again.body) == ("capture", True, first.body)
    assert first.body["hold"]["lines"] == [
        {"line": 1, "account": "ALICE", "side": "debit", "amount": "25.00", "currency": "USD", "remaining": "35.00"},
        {"line": 2, "account": "BOB", "side": "credit", "amount": "25.00", "currency": "USD", "remaining": "35.00"},
    ]
    assert first.body["hold"]["sequence"] == first.body["entry"]["sequence"] - 1 == first.sequence - 1
    assert first.body["hold"]["entry_id"] == first.body["entry"]["id"]
    assert first.body["entry"]["hold"] == str(hold)
    assert first.body["entry"]["origin"] == {"service": "ledger", "document": f"hold/{hold}"}
    await proven(auditor, books)


async def test_of_fifty_who_capture_all_one_does(books: Books, other: Books, auditor: Pool) -> None:
    await fund(books)
    hold = await place(books, "60.00")
    asked = [tell((books, other)[number % 2], CaptureRequest(hold_id=hold)) for number in range(50)]
    assert Counter(map(verdict, await asyncio.gather(*asked))) == {"captured": 1, "hold-not-pending": 49}
    await proven(auditor, books)


async def test_of_fifty_captures_those_that_fit_are_taken(books: Books, other: Books, auditor: Pool) -> None:
    """60.00 are enough for seven times 8.00, and for one of the 4.00 that all ask for afterwards."""
    await fund(books)
    hold = await place(books, "60.00")
    asked = [tell((books, other)[number % 2], CaptureRequest(hold_id=hold, amount="8.00")) for number in range(50)]
    assert Counter(map(verdict, await asyncio.gather(*asked))) == {"pending": 7, "capture-exceeds-hold": 43}
    last = [tell((books, other)[number % 2], CaptureRequest(hold_id=hold, amount="4.00")) for number in range(10)]
    assert Counter(map(verdict, await asyncio.gather(*last))) == {"captured": 1, "hold-not-pending": 9}
    await proven(auditor, books)


async def test_capture_release_and_expiry_end_a_hold_once(
    books: Books, other: Books, auditor: Pool, database: LedgerDatabase
) -> None:
    """Asked for by two processes while its time runs out: every look at the clock is a second later than the last."""
    opened, seconds = await past(books, "past"), count(1)
    ticking = [Books(each.pool, lambda: LONG_AGO + timedelta(seconds=next(seconds))) for each in (books, other)]
    ends: Counter[str] = Counter()
    for _ in range(6):
        hold = await place(opened, "60.00", expires_at=ticking[0].clock() + timedelta(seconds=5), ledger="past")
        asked: list[Request] = [CaptureRequest(hold_id=hold), ReleaseRequest(hold_id=hold)] if len(ends) % 2 else []
        asked += [ExpireRequest(hold_id=hold)] * 3
        verdicts: Counter[str] = Counter()
        for _ in range(8):
            answers = await asyncio.gather(*(tell(at, each, ledger="past") for each in asked for at in ticking))
            verdicts.update(map(verdict, answers))
            asked = [CaptureRequest(hold_id=hold), ExpireRequest(hold_id=hold), ReleaseRequest(hold_id=hold)]
        ended = {name: times for name, times in verdicts.items() if name in {"captured", "released", "expired"}}
        assert sum(ended.values()) == 1, verdicts
        assert set(verdicts) <= {*ended, "hold-not-pending", "hold-expired", "hold-not-expired"}
        ends.update(ended)
        if "captured" in ended:
            await tell(opened, entry("BOB debit 60.00", "ALICE credit 60.00"), ledger="past")
    found = await row(database, "select sum(pending_debits + pending_credits) as pending from balances")
    assert found["pending"] == 0
    await proven(auditor, books, "past")


async def test_what_is_held_is_spent_by_nobody_else(books: Books, other: Books, auditor: Pool) -> None:
    """Holds, entries and captures on one account from two processes: what is available never goes below zero."""
    await fund(books)
    places = [tell((books, other)[number % 2], held("9.00")) for number in range(30)]
    spent = [tell((books, other)[number % 2], entry("ALICE debit 7.00", "BANK credit 7.00")) for number in range(30)]
    answers = await asyncio.gather(*places, *spent)
    taken = 9 * sum(each.rejection is None for each in answers[:30])
    taken += 7 * sum(each.rejection is None for each in answers[30:])
    assert 93 < taken <= 100
    codes = {each.rejection.code for each in answers if each.rejection is not None}
    assert codes == {"insufficient-funds"}
    await proven(auditor, books)


async def test_a_pipeline_of_holds_and_captures_in_one_queue(
    books: Books, auditor: Pool, database: LedgerDatabase
) -> None:
    """Small batches that follow one another, so that holds placed in the batch under way are captured in the next."""
    await fund(books, "1000.00")
    small = Books(books.pool, books.clock, Limits(batch_requests=3))
    await small.get("demo", "main")
    ids = [new_id() for _ in range(40)]
    requests: list[Request] = []
    for number, id_ in enumerate(ids):
        requests.append(held("2.00", id_=id_))
        requests.append(CaptureRequest(hold_id=id_, amount="1.00"))
        requests.append(ReleaseRequest(hold_id=ids[max(0, number - 1)]))
    answers = await asyncio.gather(*(tell(small, request) for request in requests))
    verdicts = Counter(map(verdict, answers))
    assert verdicts == {"pending": 80, "released": 39, "hold-not-pending": 1}
    found = await row(database, "select count(*) filter (where status = 'released') as released from holds")
    assert found["released"] == 39
    await proven(auditor, books)


async def test_long_holds_are_captured_in_batches_within_bounds(books: Books, auditor: Pool) -> None:
    await fund(books, "10000.00")
    small = Books(books.pool, books.clock, Limits(batch_lines=900))
    lines = [HoldLineRequest("ALICE", "debit", "1.00"), HoldLineRequest("BOB", "credit", "1.00")] * 200
    placed = await asyncio.gather(*(tell(small, HoldRequest(lines=lines)) for _ in range(6)))
    ids = [UUID(answer.body["id"]) for answer in placed if answer.body is not None]
    answers = await asyncio.gather(*(tell(small, CaptureRequest(hold_id=id_)) for id_ in ids))
    assert Counter(map(verdict, answers)) == {"captured": 6}
    await proven(auditor, books)


async def test_only_so_many_long_holds_fit_a_batch() -> None:
    state = LedgerState.unread(LEDGER)
    for number in range(3):
        hold_lines = [HoldLine("A", 1, "debit", 1), HoldLine("B", 2, "credit", 1)] * 200
        state.holds[UUID(int=number)] = Hold(UUID(int=number), "pending", None, hold_lines)
    wishes = [queued(ReleaseRequest(hold_id=UUID(int=number // 2)), f"k{number}") for number in range(6)]
    assert count_fitting(state, wishes, 10_000) == 6
    assert count_fitting(state, wishes, 900) == 4
    assert count_fitting(state, wishes, 100) == 2
    assert count_fitting(LedgerState.unread(LEDGER), wishes, 100) == 6


async def test_a_partial_capture_leaves_other_lines_and_their_accounts_alone(
    books: Books, auditor: Pool, database: LedgerDatabase
) -> None:
    await fund(books)
    await open_accounts(books, account("FEES", "income"))
    texts = ("ALICE debit 5.00", "BOB credit 3.00", "FEES credit 2.00")
    lines = [HoldLineRequest(each.account, each.side, each.amount) for each in map(line, texts)]
    answer = await tell(books, HoldRequest(lines=lines))
    assert answer.body is not None
    captured = [CapturedLine("3.00", line=1), CapturedLine("3.00", account="BOB")]
    await tell(books, CaptureRequest(hold_id=UUID(answer.body["id"]), lines=captured))
    found = await row(
        database,
        """
        select b.version, b.pending_credits, (select count(*) from pendings p where p.account_no = a.no) as pendings
        from balances b join accounts a on a.no = b.account_no where a.code = 'FEES'
        """,
    )
    assert (found["version"], found["pending_credits"], found["pendings"]) == (answer.sequence, 200, 1)
    await proven(auditor, books)


# --- expiry -----------------------------------------------------------------------------------------------------------


async def test_due_holds_of_all_ledgers_end_in_slices_and_once(books: Books, other: Books, auditor: Pool) -> None:
    opened = await past(books, "first", "second")
    for ledger in ("first", "second"):
        for number in range(3):
            await place(opened, "5.00", expires_at=LONG_AGO + timedelta(minutes=number % 2 + 1), ledger=ledger)
        await place(opened, "5.00", expires_at=now() + timedelta(days=1), ledger=ledger)
        await place(opened, "5.00", ledger=ledger)
    tasks = [HoldExpiry(each, auditor, slice_holds=2) for each in (books, other)]
    ended = await asyncio.gather(*(task.end_due() for task in tasks))
    assert sum(ended) == 6
    assert [await task.end_due() for task in tasks] == [0, 0]
    async with auditor.acquire() as connection:
        left = await connection.fetch("select status, count(*) from holds group by 1 order by 1")
        by = await connection.fetchval("select count(*) from requests where scope = $1", SCOPE)
    assert [tuple(each) for each in left] == [("expired", 6), ("pending", 4)]
    assert by == 6
    await proven(auditor, books, "first")


async def test_the_task_looks_again_when_the_next_one_is_due(
    books: Books, auditor: Pool, database: LedgerDatabase
) -> None:
    opened = await past(books, "past")
    hold = await place(opened, "10.00", expires_at=now() + timedelta(milliseconds=700), ledger="past")
    async with running(HoldExpiry(books, auditor, poll_s=60.0).run):

        async def ended() -> bool:
            return bool((await row(database, "select status = 'expired' as ended from holds"))["ended"])

        await eventually(ended)
    assert verdict(await tell(books, ReleaseRequest(hold_id=hold), ledger="past")) == "hold-not-pending"
    record = (await row(database, "select payload from log order by sequence desc limit 1"))["payload"]
    assert '"type":"hold-expired"' in record
    assert '"scope":"/expiry"' in record


async def test_a_clock_that_is_behind_is_asked_again(books: Books, auditor: Pool, database: LedgerDatabase) -> None:
    """The database says that it is due, the writer's clock does not yet: nothing is remembered of that."""
    opened = await past(books, "past")
    await place(opened, "10.00", expires_at=LONG_AGO + timedelta(minutes=1), ledger="past")
    assert await HoldExpiry(opened, auditor).end_due() == 0
    assert (await row(database, "select count(*) as n from requests where scope = '/expiry'"))["n"] == 0
    assert await HoldExpiry(books, auditor).end_due() == 1


async def test_a_round_is_over_when_the_process_stops(books: Books, auditor: Pool) -> None:
    opened = await past(books, "past")
    await place(opened, "10.00", expires_at=LONG_AGO + timedelta(minutes=1), ledger="past")
    stopping = asyncio.Event()
    stopping.set()
    assert await HoldExpiry(books, auditor).end_due(stopping) == 0
