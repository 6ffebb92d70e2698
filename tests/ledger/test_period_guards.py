"""What is closed stays closed whatever is sent as the role that writes, and each guard is shown to be what refuses.

As in test_guards.py: an attack is what a broken or hijacked writer could send, and it succeeds once its guard is gone.
"""

from collections.abc import AsyncIterator
from datetime import date

import asyncpg
import pytest

from libs.common.clock import now
from libs.common.periods import DayClose, PeriodStep
from services.ledger.commands import Books, open_organization
from services.ledger.pools import create_writer_pool
from tests.ledger.asking import ASKER, PERMITTED, account, entry, open_accounts, take, tell
from tests.ledger.test_guards import HEAD, LOG, Attack, attempt, lines, trigger
from tests.support.postgres import PostgresServer

ENTRY = """
    insert into entries (ledger_no, id, sequence, kind, effective_on, value_on, description, line_count)
    values ({ledger}, gen_random_uuid(), {sequence}, 'normal', '{on}', '{on}', '', 2);
"""
NOW = "(select sequence from ledgers where no = 1)"
CLOSED_LINES = lines("1 debit 5 USD", "2 credit 5 USD").replace("2026-03-01", "2025-01-31")
CLOSING = "insert into closings values (1, {sequence}, 'period-reopened', '2025-01', 'x', '2025-01-31', null, null);"
GUARD_CLOSINGS, GUARD_CLOSING = trigger("closings", "guard_closings"), trigger("ledgers", "guard_closing")
GUARD_ENTRIES = trigger("entries", "guard_posting_dates")

ATTACKS = [
    Attack(
        "entry in a closed month",
        HEAD + LOG + ENTRY.format(ledger=1, sequence=NOW, on="2025-01-31"),
        "period_closed",
        GUARD_ENTRIES,
    ),
    Attack(
        "entry before everything",
        HEAD + LOG + ENTRY.format(ledger=1, sequence=NOW, on="1990-01-01"),
        "period_closed",
        GUARD_ENTRIES,
    ),
    Attack(
        "entry at the place of a record from before the closing",
        ENTRY.format(ledger=1, sequence=2, on="2025-01-31"),
        "period_closed",
        GUARD_ENTRIES,
    ),
    Attack("entry of no ledger", ENTRY.format(ledger=99, sequence=1, on="2026-03-01"), "period_closed", GUARD_ENTRIES),
    Attack(
        "lines in a closed month",
        HEAD + LOG + CLOSED_LINES,
        "period_closed",
        trigger("lines", "guard_posting_dates"),
    ),
    *[
        Attack(
            f"{column} moved to {value}",
            f"update ledgers set {column} = {value} where no = 1",
            "closing_has_record",
            GUARD_CLOSING,
        )
        for column in ("days_closed_through", "soft_closed_through", "closed_through")
        for value in ("null", "'2024-12-31'", "'2026-12-31'")
    ],
    Attack(
        "reopened beside a record that says nothing of it",
        HEAD.replace("recorded_at = ", "closed_through = null, recorded_at = ") + LOG,
        "closing_has_record",
        GUARD_CLOSING,
    ),
    Attack("closing without a record", CLOSING.format(sequence=99), "closing_has_record", GUARD_CLOSINGS),
    Attack("closing at an older record", CLOSING.format(sequence=2), "closing_has_record", GUARD_CLOSINGS),
    Attack(
        "closing at an older record that says what is so",
        "insert into closings select 1, 2, 'period-reopened', '2025-01', 'x', days_closed_through, "
        "soft_closed_through, closed_through from ledgers where no = 1;",
        "closing_has_record",
        GUARD_CLOSINGS,
    ),
    Attack(
        "closing that its ledger does not follow",
        HEAD + LOG + CLOSING.format(sequence=NOW),
        "closing_has_record",
        GUARD_CLOSINGS,
    ),
]
NEVER_CHANGED = [
    (table, statement)
    for table in ("closings", "backdatings")
    for statement in (f"update {table} set ledger_no = 2", f"delete from {table}", f"truncate {table}")
]


@pytest.fixture(scope="session")
async def closed_books(postgres: PostgresServer, ledger_template: str) -> AsyncIterator[str]:
    """The superuser's address of books whose January 2025 is closed, with a backdated entry: the head is at 7."""
    async with postgres.database(ledger_template, owner="ledger_migrator") as dsn:
        pool = await create_writer_pool(postgres.service_dsns(dsn, "ledger").writer, max_size=2)
        try:
            books = Books(pool, now)
            await open_organization(books, "demo", "Demo", "USD", ASKER)
            await open_accounts(books, account("A"), account("B"))
            await tell(books, entry("A debit 1.00", "B credit 1.00", effective_on=date(2025, 1, 15)))
            await take(books, DayClose(day=date(2025, 1, 20)))
            await tell(books, entry("A debit 1.00", "B credit 1.00", effective_on=date(2025, 1, 16)), asker=PERMITTED)
            closed = await take(books, PeriodStep(period="2025-01", step="close"))
            assert closed.sequence == 7
        finally:
            await pool.close()
        yield dsn


@pytest.fixture
async def writer(postgres: PostgresServer, closed_books: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the role that writes, in a transaction that is rolled back."""
    connection = await asyncpg.connect(postgres.service_dsns(closed_books, "ledger").writer)
    try:
        await connection.transaction().start()
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def owner(closed_books: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that may do everything, in a transaction that is rolled back."""
    connection = await asyncpg.connect(closed_books)
    try:
        await connection.transaction().start()
        yield connection
    finally:
        await connection.close()


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
async def test_an_attack_on_what_is_closed_is_refused_by_its_guard_and_by_nothing_else(
    writer: asyncpg.Connection, closed_books: str, attack: Attack
) -> None:
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
        await writer.execute(attack.sql)
    assert refused.value.constraint_name == attack.refused_by
    superuser = await asyncpg.connect(closed_books)
    try:
        await superuser.execute(f"begin; {attack.guard}; set local role ledger_writer; {attack.sql}; rollback")
    finally:
        await superuser.close()


async def test_what_is_dated_after_the_closing_is_taken(writer: asyncpg.Connection) -> None:
    """Else the attacks might be refused for what is right in them."""
    on = ENTRY.format(ledger=1, sequence=NOW, on="2025-02-01")
    await writer.execute(HEAD + LOG + on + CLOSED_LINES.replace("2025-01-31", "2025-02-01"))


@pytest.mark.parametrize(("table", "statement"), NEVER_CHANGED)
async def test_closings_are_append_only_by_right_and_by_trigger(
    writer: asyncpg.Connection, owner: asyncpg.Connection, table: str, statement: str
) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await writer.execute(statement)
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await attempt(owner, statement, "ledger_migrator")
    assert refused.value.constraint_name == "append_only"
    await owner.execute(f"grant all on {table} to ledger_writer")
    with pytest.raises(asyncpg.CheckViolationError):
        await attempt(owner, statement)
    await owner.execute(trigger(table, "append_only"))
    await attempt(owner, statement)


async def test_an_entry_waits_for_whoever_closes(
    writer: asyncpg.Connection, owner: asyncpg.Connection, closed_books: str
) -> None:
    """A raw entry that joined no head of its own still meets the row lock; without the guard it slips in meanwhile."""
    raw = ENTRY.format(ledger=1, sequence=99, on="2025-02-01")
    await owner.execute("select 1 from ledgers where no = 1 for no key update")
    with pytest.raises(asyncpg.LockNotAvailableError):
        async with writer.transaction():
            await writer.execute(f"set local lock_timeout = '100ms'; {raw}")
    superuser = await asyncpg.connect(closed_books)
    try:
        await superuser.execute(f"begin; {GUARD_ENTRIES}; set local role ledger_writer; {raw}; rollback")
    finally:
        await superuser.close()
