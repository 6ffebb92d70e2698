"""Rebuilding from the log: what was wrecked is as before, byte for byte; what is not to be touched is told."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import pytest

from libs.common.db import Pool, create_pool
from services.ledger import books_store
from services.ledger import rebuild as rebuilding
from services.ledger.pools import create_writer_pool
from services.ledger.rebuild import CannotRebuild, rebuild
from services.ledger.state import Ledger
from tests.ledger.full_history import write_full_history
from tests.support.postgres import PostgresServer

pytestmark = pytest.mark.database

PROJECTIONS = ("accounts", "balances", "daily_totals", "party_balances", "holds", "hold_lines")
HISTORY = ("entries", "lines", "requests", "pendings", "closings", "backdatings", "account_changes")
TABLES = (*PROJECTIONS, *HISTORY, "ledgers", "log")


@dataclass
class Books:
    """A full history, the owner's pool, and a connection that no trigger and no foreign key stops."""

    owner: Pool
    intruder: "asyncpg.Connection[asyncpg.Record]"
    ledger: Ledger
    writer_dsn: str

    async def contents(self) -> dict[str, list[str]]:
        """Every row of every table as text."""
        found = {}
        for table in TABLES:
            rows = await self.intruder.fetch(f"select x::text from {table} x order by 1")
            found[table] = [row[0] for row in rows]
        return found


@pytest.fixture(scope="module")
async def history(postgres: PostgresServer, ledger_template: str) -> AsyncIterator[Books]:
    async with postgres.database(ledger_template, owner="ledger_migrator") as dsn:
        dsns = postgres.service_dsns(dsn, "ledger")
        await write_full_history(dsns.writer)
        owner = await create_pool(dsns.migrator, name="owner", max_size=2)
        intruder = await asyncpg.connect(dsn)
        try:
            await intruder.execute("set session_replication_role = replica; create schema kept")
            for table in TABLES:
                await intruder.execute(f"create table kept.{table} as table {table}")
            async with owner.acquire() as connection:
                ledger = await books_store.load_ledger(connection, "demo", "main")
            assert ledger is not None
            yield Books(owner, intruder, ledger, dsns.writer)
        finally:
            await intruder.close()
            await owner.close()


@pytest.fixture
async def wrecked(history: Books) -> AsyncIterator[Books]:
    """The history, which is put back after each test, whatever became of it."""
    yield history
    for table in TABLES:
        await history.intruder.execute(
            f"delete from {table}; insert into {table} overriding system value select * from kept.{table}"
        )


WRECKS = {
    "nothing": "select 1",
    "a balance": "update balances set debits = debits + 1, version = 3 where account_no = 3",
    "a balance is gone": "delete from balances where account_no = 2",
    "a balance too many": "insert into balances select ledger_no, 99, currency, 1, 1, 1 from balances limit 1",
    "pending sums": "update balances set pending_debits = 7",
    "days": "update daily_totals set credits = 1; insert into daily_totals values (1, 77, '2020-01-01', 0, 1, 1)",
    "days are gone": "delete from daily_totals",
    "parties": "update party_balances set party = party || 'x'",
    "an account": "update accounts set name = 'Other', metadata = '{}', overdraft_limit = 1 where no in (2, 4)",
    "accounts are gone": "delete from accounts where no > 3",
    "an account too many": "insert into accounts select * from accounts where no = 3 on conflict do nothing; "
    "update accounts set no = 99, code = 'X', id = gen_random_uuid() where no = 3",
    "a hold": "update holds set status = 'pending', version = 1",
    "holds are gone": "delete from holds; delete from hold_lines",
    "a hold too many": "insert into holds values (1, gen_random_uuid(), 'released', null, 3, 3)",
    "lines of holds": "update hold_lines set captured = 0, party = 'x'; "
    "insert into hold_lines select ledger_no, hold_id, 9, account_no, debit, 1, 0, null from hold_lines limit 1",
    "everything": "delete from balances; delete from daily_totals; delete from party_balances; delete from accounts; "
    "delete from holds; delete from hold_lines",
}
HISTORY_WRECKS = {
    "entries": "update entries set description = 'x' where sequence % 2 = 0; delete from entries where line_count = 3",
    "an entry elsewhere": "update entries set sequence = 999 where sequence = 10",
    "an entry too many": "insert into entries select ledger_no, gen_random_uuid(), 3, kind, effective_on, value_on, "
    "'x', null, null, null, null, 2 from entries limit 1",
    "lines": "update lines set amount = amount + 1 where line = 1; delete from lines where line = 2",
    "lines elsewhere": "update lines set sequence = 999 where sequence = 10",
    "requests": "update requests set fingerprint = '\\x00' where sequence % 2 = 0; "
    "update requests set sequence = null, rejection = '{}' where sequence = 9; "
    "delete from requests where sequence = 10",
    "a request too many": "insert into requests values (1, 'x', 'y', '\\x00', 12, null)",
    "pendings": "update pendings set pending_debits = 1; delete from pendings where account_no = 2",
    "closings": "update closings set reason = 'x'; delete from closings where type = 'day-closed'",
    "backdatings": "delete from backdatings; insert into backdatings values (1, 3, '2020-01-01')",
    "changes": "delete from account_changes where sequence > 3; insert into account_changes values (1, 1, 9)",
    "all of it": "delete from entries; delete from lines; delete from requests where sequence is not null; "
    "delete from pendings; delete from closings; delete from backdatings; delete from account_changes; "
    "delete from balances",
}


@pytest.mark.parametrize("wreck", list(WRECKS))
async def test_projections_are_what_they_were(wrecked: Books, wreck: str) -> None:
    before = await wrecked.contents()
    await wrecked.intruder.execute(WRECKS[wreck])
    replaced, report = await rebuild(wrecked.owner, wrecked.ledger)
    assert report.ok, report
    assert await wrecked.contents() == before
    assert bool(replaced) == (wreck != "nothing"), replaced


@pytest.mark.parametrize(
    ("wreck", "slice_records"), [*((wreck, 7) for wreck in HISTORY_WRECKS), ("all of it", 1), ("requests", 41)]
)
async def test_history_is_told_and_restored_only_where_that_is_wanted(
    wrecked: Books, wreck: str, slice_records: int
) -> None:
    before = await wrecked.contents()
    await wrecked.intruder.execute(HISTORY_WRECKS[wreck])
    after = await wrecked.contents()
    replaced, report = await rebuild(wrecked.owner, wrecked.ledger)
    assert not report.ok
    assert not set(replaced) & set(HISTORY)
    untouched = await wrecked.contents()
    assert {table: untouched[table] for table in HISTORY} == {table: after[table] for table in HISTORY}
    restored, report = await rebuild(wrecked.owner, wrecked.ledger, restore_history=True, slice_records=slice_records)
    assert report.ok, report
    assert restored
    assert await wrecked.contents() == before


async def test_a_whole_history_is_not_touched_by_a_restoration(wrecked: Books) -> None:
    for slice_records in (1, 41, 250):
        replaced, report = await rebuild(
            wrecked.owner, wrecked.ledger, restore_history=True, slice_records=slice_records
        )
        assert (replaced, report.ok) == ({}, True)


async def test_the_guards_are_back_afterwards(wrecked: Books) -> None:
    await rebuild(wrecked.owner, wrecked.ledger, restore_history=True)
    disabled = await wrecked.owner.fetch("select tgname from pg_trigger where tgenabled = 'D'")
    assert disabled == []
    async with wrecked.owner.acquire() as connection:
        for table in HISTORY:
            with pytest.raises(asyncpg.CheckViolationError):
                await connection.execute(f"delete from {table}")


async def test_a_broken_log_is_not_believed(wrecked: Books) -> None:
    await wrecked.intruder.execute("update log set payload = payload || ' ' where sequence = 10")
    await wrecked.intruder.execute("delete from balances")
    with pytest.raises(CannotRebuild, match="The log itself is wrong"):
        await rebuild(wrecked.owner, wrecked.ledger)
    assert await wrecked.intruder.fetchval("select count(*) from balances") == 0


async def test_nothing_is_rebuilt_under_a_writer(wrecked: Books) -> None:
    pool = await create_writer_pool(wrecked.writer_dsn, max_size=2)
    try:
        await wrecked.intruder.execute("delete from daily_totals")
        with pytest.raises(CannotRebuild, match="stop the ledger service first"):
            await rebuild(wrecked.owner, wrecked.ledger)
    finally:
        await pool.close()


async def test_progress_is_told(wrecked: Books) -> None:
    told: list[tuple[int, int]] = []
    advance = lambda folded, head: told.append((folded, head))  # noqa: E731
    await rebuild(wrecked.owner, wrecked.ledger, advance=advance, slice_records=10)
    head = await wrecked.intruder.fetchval("select sequence from ledgers")
    assert told == sorted(told)
    assert told[-1] == (head, head)
    assert rebuilding.SLICE_RECORDS > 10
