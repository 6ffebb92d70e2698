"""Batches: what is decided while the one before is still being written, and what goes wrong in one of many."""

import asyncio
from uuid import UUID

import asyncpg
import pytest

from libs.common.clock import now
from libs.common.db import Connection
from libs.common.errors import Transient
from services.ledger import loading
from services.ledger.commands import Asker, Books, enqueue, open_organization
from services.ledger.deciding import decide_batch
from services.ledger.pools import create_writer_pool
from services.ledger.queued import Limits
from services.ledger.state import Ledger, LedgerState
from services.ledger.statement import statement_of
from services.ledger.writer import RefusedByGuard
from tests.ledger.asking import account, entry, open_accounts, queued, tell, wish
from tests.ledger.conftest import LedgerDatabase
from tests.support.waiting import until


async def sums_of_lines(connection: Connection) -> dict[int, tuple[int, int]]:
    """Debits and credits of each account, added up from its lines."""
    rows = await connection.fetch(
        """
        select account_no, coalesce(sum(amount) filter (where debit), 0) as debits,
            coalesce(sum(amount) filter (where not debit), 0) as credits
        from lines group by account_no
        """
    )
    return {row["account_no"]: (int(row["debits"]), int(row["credits"])) for row in rows}


async def balances(connection: Connection) -> dict[int, tuple[int, int]]:
    """Debits and credits of each account, as they are stored."""
    rows = await connection.fetch("select account_no, debits, credits from balances")
    return {row["account_no"]: (int(row["debits"]), int(row["credits"])) for row in rows}


async def test_a_batch_writes_its_own_sums_though_the_next_is_decided_already(books: Books) -> None:
    """The next full batch is decided before this one's statement leaves: it must not see the accounts move on."""
    books.limits = Limits(batch_requests=10)
    await open_accounts(books, account("A"), account("B"))
    ledger = await books.get("demo", "main")
    answers = [enqueue(books, ledger, wish(entry("A debit 1.00", "B credit 1.00"))) for _ in range(100)]
    outcomes = await asyncio.gather(*answers)
    assert [outcome.sequence for outcome in outcomes] == list(range(4, 104))
    async with books.pool.acquire() as connection:
        assert await balances(connection) == {1: (10_000, 0), 2: (0, 10_000)}
        assert await sums_of_lines(connection) == {1: (10_000, 0), 2: (0, 10_000)}


async def test_a_small_cache_is_slow_and_right(books: Books) -> None:
    """Accounts fall out of the cache between batches, also those that a batch under way still moves."""
    books.limits = Limits(batch_requests=5, cached_accounts=4)
    names = [f"A{number}" for number in range(12)]
    await open_accounts(books, *(account(name, overdraft="none") for name in names), account("BANK"))
    ledger = await books.get("demo", "main")
    answers = []
    for turn in range(20):
        for place, name in enumerate(names):
            side, other = ("debit", "credit") if (turn + place) % 2 else ("credit", "debit")
            answers.append(enqueue(books, ledger, wish(entry(f"{name} {side} 1.00", f"BANK {other} 1.00"))))
    outcomes = await asyncio.gather(*answers)
    refused = [outcome.rejection.code for outcome in outcomes if outcome.rejection is not None]
    assert refused == ["insufficient-funds"] * 6
    async with books.pool.acquire() as connection:
        sums = await sums_of_lines(connection)
        assert {no: row for no, row in (await balances(connection)).items() if any(row)} == sums


# --- one statement, its commit, and its answers -----------------------------------------------------------------------


async def test_an_idle_request_is_one_statement(database: LedgerDatabase) -> None:
    """No begin, no commit, no look before: with its accounts in the cache it is one round trip."""
    pool = await create_writer_pool(database.dsns.writer, max_size=2)
    try:
        books = Books(pool, now)
        await open_organization(books, "demo", "Demo", "USD", Asker("demo", "api", "operator", "api/operator"))
        await open_accounts(books, account("A"), account("B"))
        for _ in range(2):
            await tell(books, entry("A debit 1.00", "B credit 1.00"))
        statements: list[str] = []
        async with pool.acquire() as first, pool.acquire() as second:
            for connection in (first, second):
                connection.add_query_logger(lambda query: statements.append(query.query))
        for _ in range(3):
            await tell(books, entry("A debit 1.00", "B credit 1.00"))
        assert [statement.split()[:4] for statement in statements] == [["with", "head", "as", "("]] * 3
    finally:
        await pool.close()


async def test_an_answer_is_told_after_its_commit_and_not_before(books: Books, database: LedgerDatabase) -> None:
    await open_accounts(books, account("A"), account("B"))
    elsewhere = await asyncpg.connect(database.admin)
    try:
        async with elsewhere.transaction():
            await elsewhere.execute("select 1 from ledgers for update")
            asked = asyncio.create_task(tell(books, entry("A debit 1.00", "B credit 1.00")))
            done, _ = await asyncio.wait([asked], timeout=0.3)
            assert not done
        answer = await asked
        assert await elsewhere.fetchval("select count(*) from entries where sequence = $1", answer.sequence) == 1
    finally:
        await elsewhere.close()


async def test_who_comes_while_a_statement_is_under_way_makes_one_batch(books: Books, database: LedgerDatabase) -> None:
    await open_accounts(books, account("A"), account("B"))
    elsewhere = await asyncpg.connect(database.admin)
    ledger = await books.get("demo", "main")
    try:
        async with elsewhere.transaction():
            await elsewhere.execute("select 1 from ledgers for update")
            first = enqueue(books, ledger, wish(entry("A debit 1.00", "B credit 1.00")))
            await until(lambda: not books.writer_of(ledger).queue_length)
            others = [enqueue(books, ledger, wish(entry("A debit 1.00", "B credit 1.00"))) for _ in range(50)]
        await asyncio.gather(first, *others)
        written_by = await elsewhere.fetch("select xmin::text, count(*) from entries group by 1 order by 2")
    finally:
        await elsewhere.close()
    assert [row[1] for row in written_by] == [1, 50]


async def test_a_full_batch_that_comes_later_is_decided_while_the_statement_is_under_way(
    books: Books, database: LedgerDatabase
) -> None:
    """Not only one that waits when the statement is sent; one that is not full waits for company until it ends."""
    books.limits = Limits(batch_requests=10)
    await open_accounts(books, account("A"), account("B"))
    ledger = await books.get("demo", "main")
    elsewhere = await asyncpg.connect(database.admin)
    request = entry("A debit 1.00", "B credit 1.00")
    try:
        async with elsewhere.transaction():
            await elsewhere.execute("select 1 from ledgers for update")
            answers = [enqueue(books, ledger, wish(request))]
            await until(lambda: not books.writer_of(ledger).queue_length)
            answers += [enqueue(books, ledger, wish(request)) for _ in range(9)]
            await asyncio.sleep(0.1)
            assert books.writer_of(ledger).queue_length == 9
            answers.append(enqueue(books, ledger, wish(request)))
            await until(lambda: not books.writer_of(ledger).queue_length)
        outcomes = await asyncio.gather(*answers)
    finally:
        await elsewhere.close()
    assert [outcome.sequence for outcome in outcomes] == list(range(4, 15))


TEXTS = [
    "",
    "null",
    "NULL",
    "{}",
    "a,b",
    'say "x"',
    "back\\slash",
    "\\",
    "line\nline",
    "tab\t\x01",
    "žluťoučký 🐎",
    " x ",
]


async def test_texts_are_stored_as_they_are(books: Books) -> None:
    """A batch's texts travel as arrays in PostgreSQL's own words: whatever is special in them is kept."""
    await open_accounts(books, account("A"), account("B"))
    ledger = await books.get("demo", "main")
    lines = "A debit 1.00", "B credit 1.00"
    requests = [entry(*lines, description=text, external_id=text) for text in TEXTS]
    await asyncio.gather(*(enqueue(books, ledger, wish(request)) for request in [*requests, entry(*lines)]))
    async with books.pool.acquire() as connection:
        rows = await connection.fetch("select description, external_id from entries order by sequence")
        assert [row["external_id"] for row in rows] == [*TEXTS, None]
        assert [row["description"] for row in rows][: len(TEXTS)] == TEXTS


ENTRY_ID = UUID("0190a1b2-0000-7000-8000-000000000001")


async def test_an_id_is_taken_for_the_rest_of_its_batch(books: Books) -> None:
    """Decided so at once; the database would say so too, and all of the batch would be decided again."""
    await open_accounts(books, account("A"), account("B"))
    state = LedgerState.unread(await books.get("demo", "main"))
    async with books.pool.acquire() as connection:
        await loading.load_accounts(connection, state, {"A", "B"}, set())
    same = [entry("A debit 1.00", "B credit 1.00", id=ENTRY_ID) for _ in range(2)]
    prepared = decide_batch(state, [queued(request, key) for request, key in zip(same, "ab", strict=True)], now())
    assert [outcome.rejection and outcome.rejection.code for outcome in prepared.outcomes] == [
        None,
        "duplicate-entry-id",
    ]


async def test_a_full_queue_says_so_at_once(books: Books, database: LedgerDatabase) -> None:
    books.limits = Limits(queue_requests=3)
    await open_accounts(books, account("A"), account("B"))
    ledger = await books.get("demo", "main")
    elsewhere = await asyncpg.connect(database.admin)
    request = entry("A debit 1.00", "B credit 1.00")
    try:
        async with elsewhere.transaction():
            await elsewhere.execute("select 1 from ledgers for update")
            first = enqueue(books, ledger, wish(request))
            await until(lambda: not books.writer_of(ledger).queue_length)
            waiting = [enqueue(books, ledger, wish(request)) for _ in range(3)]
            with pytest.raises(Transient, match="more requests waiting"):
                enqueue(books, ledger, wish(request))
        outcomes = await asyncio.gather(first, *waiting)
    finally:
        await elsewhere.close()
    assert [outcome.sequence for outcome in outcomes] == [4, 5, 6, 7]


# --- one bad request among good ones ----------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 7, 19])
async def test_what_the_database_refuses_fails_alone(books: Books, place: int) -> None:
    """A NUL character, which the entrances refuse and PostgreSQL cannot store, stands for any defect of ours."""
    await open_accounts(books, account("A"), account("B"))
    ledger = await books.get("demo", "main")
    requests = [entry("A debit 1.00", "B credit 1.00", description=f"no. {number}") for number in range(20)]
    requests[place].description = "a\0b"
    answers = await asyncio.gather(
        *(enqueue(books, ledger, wish(request)) for request in requests), return_exceptions=True
    )
    failed = [number for number, answer in enumerate(answers) if isinstance(answer, BaseException)]
    assert failed == [place]
    assert isinstance(answers[place], RefusedByGuard)
    async with books.pool.acquire() as connection:
        assert await connection.fetchval("select count(*) from entries") == 19
        assert await balances(connection) == {1: (1_900, 0), 2: (0, 1_900)}
        assert await connection.fetchval("select sequence from ledgers") == 3 + 19


async def test_what_cannot_even_be_looked_up_fails_alone(books: Books) -> None:
    await open_accounts(books, account("A"), account("B"))
    ledger = await books.get("demo", "main")
    requests = [entry("A debit 1.00", "B credit 1.00") for _ in range(5)]
    requests[2].lines[0].account = "A\0"
    answers = await asyncio.gather(
        *(enqueue(books, ledger, wish(request)) for request in requests), return_exceptions=True
    )
    assert [isinstance(answer, BaseException) for answer in answers] == [False, False, True, False, False]


# --- a stale cache ----------------------------------------------------------------------------------------------------


async def stale_batch(books: Books, ledger: Ledger) -> tuple[str, tuple[object, ...]]:
    """Statement and arguments of an entry decided on accounts of before the last entry, at the head of after it."""
    state = LedgerState.unread(ledger)
    async with books.pool.acquire() as connection:
        await loading.load_accounts(connection, state, {"A", "B"}, set())
        await tell(books, entry("A debit 2.00", "B credit 2.00"))
        current = LedgerState.unread(ledger)
        await loading.load_accounts(connection, current, set(), set())
    state.begin(
        current.epoch, current.sequence, current.hash, current.recorded_at, current.next_account_no, current.closed
    )
    prepared = decide_batch(state, [queued(entry("A debit 7.00", "B credit 7.00"), "stale")], now())
    steps, columns = prepared.batch.arguments()
    return statement_of(steps), (
        ledger.id,
        ledger.organization_id,
        prepared.batch.expected,
        len(prepared.batch.log),
        prepared.hash,
        prepared.recorded_at,
        *columns,
    )


async def test_a_balance_decided_on_an_older_one_is_never_stored(books: Books) -> None:
    """The version that was decided on is what refuses it: without that condition 7.00 would be stored for 9.00."""
    await open_accounts(books, account("A"), account("B"))
    ledger = await books.get("demo", "main")
    statement, arguments = await stale_batch(books, ledger)
    async with books.pool.acquire() as connection:
        with pytest.raises(asyncpg.SerializationError, match="not every row") as refused:
            await connection.fetchval(statement, *arguments)
        assert refused.value.constraint_name == "not_all_written"
        assert await balances(connection) == {1: (200, 0), 2: (0, 200)}
        without = statement.replace("when matched and b.version = t.decided_on then", "when matched then")
        assert without != statement
        assert await connection.fetchval(without, *arguments) is True
        assert await balances(connection) == {1: (700, 0), 2: (0, 700)}
        assert await sums_of_lines(connection) == {1: (900, 0), 2: (0, 900)}


async def test_a_statement_that_does_not_count_its_rows_would_lose_a_balance(books: Books) -> None:
    """The last step turns a row that was not written into an error; else the entry is stored and its balance is not."""
    await open_accounts(books, account("A"), account("B"))
    ledger = await books.get("demo", "main")
    statement, arguments = await stale_batch(books, ledger)
    without = statement.replace("]::bigint[] = $", "]::bigint[] <= $")
    assert without != statement
    async with books.pool.acquire() as connection:
        assert await connection.fetchval(without, *arguments) is True
        assert await balances(connection) != await sums_of_lines(connection)


async def test_a_writer_whose_cache_is_stale_finds_out_and_answers_right(books: Books) -> None:
    """Whatever made it so: nothing is written on it, the cache is dropped, the request is decided again."""
    await open_accounts(books, account("A"), account("B", "liability", overdraft="none"))
    await tell(books, entry("A debit 2.00", "B credit 2.00"))
    ledger = await books.get("demo", "main")
    state = books.writer_of(ledger)._state
    assert state is not None
    for cached in state.accounts.values():
        cached.debits, cached.credits, cached.version = 0, 0, cached.version - 1
    answer = await tell(books, entry("A debit 7.00", "B credit 7.00"))
    assert answer.body is not None
    assert [line["balance_after"] for line in answer.body["lines"]] == ["9.00", "9.00"]
    async with books.pool.acquire() as connection:
        assert await balances(connection) == await sums_of_lines(connection) == {1: (900, 0), 2: (0, 900)}


async def test_a_load_of_another_sequence_is_not_taken(books: Books) -> None:
    """Accounts of a snapshot after another writer's entry do not go into a state of before it."""
    await open_accounts(books, account("A"), account("B"))
    ledger = await books.get("demo", "main")
    state = LedgerState.unread(ledger)
    async with books.pool.acquire() as connection:
        assert await loading.load_accounts(connection, state, {"A"}, set())
        await tell(books, entry("A debit 2.00", "B credit 2.00"))
        assert not await loading.load_accounts(connection, state, {"B"}, {state.sequence})
        assert list(state.accounts) == ["A"]
        assert await loading.load_accounts(connection, state, {"B"}, {state.sequence, state.sequence + 1})


async def test_other_ledgers_and_old_snapshots_disturb_nobody(books: Books, database: LedgerDatabase) -> None:
    await open_organization(books, "other", "Other", "USD", Asker("other", "api", "bob", "api/bob"))
    other = Asker("other", "api", "bob", "api/bob")
    for code in ("A", "B"):
        await tell(books, account(code))
        await tell(books, account(code), asker=other)
    elsewhere = await asyncpg.connect(database.admin)
    try:
        async with elsewhere.transaction(isolation="repeatable_read"):
            before = await elsewhere.fetchval("select count(*) from lines")
            request = entry("A debit 1.00", "B credit 1.00")
            mine = [tell(books, request) for _ in range(30)]
            theirs = [tell(books, request, asker=other) for _ in range(30)]
            answers = await asyncio.gather(*mine, *theirs)
            assert await elsewhere.fetchval("select count(*) from lines") == before
    finally:
        await elsewhere.close()
    assert sorted(answer.sequence for answer in answers[:30]) == list(range(4, 34))
    assert sorted(answer.sequence for answer in answers[30:]) == list(range(4, 34))
