"""Who may do what: the four database roles, and what each sees of another organization."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from libs.common.clock import now
from libs.common.journal import CurrencyRequest, LedgerRequest
from services.ledger.commands import Asker, Books, define_currency, open_ledger, open_organization
from services.ledger.pools import create_writer_pool
from tests.ledger.asking import account, entry, open_accounts, tell
from tests.support.postgres import PostgresServer

BY_ORGANIZATION = ("organizations", "currencies", "ledgers")
BY_LEDGER = (
    "log", "requests", "accounts", "account_changes", "entries", "lines", "balances", "daily_totals", "party_balances",
    "holds", "hold_lines", "pendings", "closings", "backdatings",
)  # fmt: skip
BOOKS = BY_ORGANIZATION + BY_LEDGER
HELD_AND_CLOSED = """
    set session_replication_role = replica;
    insert into holds select no, id, 'pending', null, 4, 4 from ledgers;
    insert into hold_lines select no, id, 1, 1, true, 5, 0, null from ledgers;
    insert into pendings select no, 1, 4, 5, 0 from ledgers;
    insert into closings select no, 4, 'day-closed', '2020-01-01', null, '2020-01-01', null, null from ledgers;
    insert into backdatings select no, 4, '2020-01-01' from ledgers;
"""
"""A row in each of the tables that no posting fills; what they say is not looked at here."""
KEEPING_OUT = (
    "alter table lines disable trigger guard_lines",
    "alter table lines no force row level security",
    "alter table lines drop constraint amount_not_positive",
    "drop trigger guard_lines on lines",
    "drop policy reads on lines",
    "drop table party_balances",
    "create table mine (x integer)",
    "create function mine() returns integer language sql as 'select 1'",
    "create or replace function must(ok boolean, what text) returns boolean language sql as 'select true'",
    "create schema mine",
    "set session_replication_role = replica",
    "set role ledger_migrator",
)


@pytest.fixture(scope="session")
async def two_organizations(postgres: PostgresServer, ledger_template: str) -> AsyncIterator[str]:
    """Organizations `demo` (ledgers no. 1 and 2) and `other` (no. 3), with rows in every table of each ledger."""
    async with postgres.database(ledger_template, owner="ledger_migrator") as dsn:
        pool = await create_writer_pool(postgres.service_dsns(dsn, "ledger").writer, max_size=2)
        try:
            books = Books(pool, now)
            for slug, ledgers in (("demo", ("main", "second")), ("other", ("main",))):
                asker = Asker(slug, "api", "alice", "api/alice")
                await open_organization(books, slug, slug, "USD", asker)
                await define_currency(books, CurrencyRequest(code="POINTS", decimals=0), asker)
                for ledger in ledgers:
                    if ledger != "main":
                        await open_ledger(books, LedgerRequest(code=ledger, name=ledger), asker, None)
                    for code in ("A", "B"):
                        opened = await tell(books, account(code), asker=asker, ledger=ledger)
                        assert opened.rejection is None
                    await tell(books, entry("A debit 1.00 @p", "B credit 1.00"), asker=asker, ledger=ledger)
        finally:
            await pool.close()
        intruder = await asyncpg.connect(dsn)
        try:
            await intruder.execute(HELD_AND_CLOSED)
        finally:
            await intruder.close()
        yield dsn


async def connected(postgres: PostgresServer, dsn: str, role: str) -> asyncpg.Connection:
    """A connection of one of the service's roles."""
    return await asyncpg.connect(getattr(postgres.service_dsns(dsn, "ledger"), role))


@pytest.fixture
async def reader(postgres: PostgresServer, two_organizations: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the role that reads for callers, in a transaction."""
    connection = await connected(postgres, two_organizations, "reader")
    try:
        await connection.transaction().start()
        yield connection
    finally:
        await connection.close()


async def seen(connection: asyncpg.Connection, organization: str | None, ledger_no: int | None) -> dict[str, set[int]]:
    """Which ledgers' rows (for the first three tables: which organizations') a reader with these settings sees."""
    for name, value in (("organization", organization), ("ledger", ledger_no)):
        await connection.execute(
            f"select set_config('ledgerbus.{name}', $1, true)", "" if value is None else str(value)
        )
    rows: dict[str, set[int]] = {}
    for table in BY_ORGANIZATION:
        column = "id" if table == "organizations" else "organization_id"
        rows[table] = {row[0] for row in await connection.fetch(f"select {column} from {table}")}
    for table in BY_LEDGER:
        rows[table] = {row[0] for row in await connection.fetch(f"select ledger_no from {table}")}
    return rows


async def test_a_reader_without_settings_sees_nothing(reader: asyncpg.Connection) -> None:
    assert await seen(reader, None, None) == {table: set() for table in BOOKS}


async def test_a_reader_whose_connection_was_another_callers_sees_nothing(reader: asyncpg.Connection) -> None:
    await seen(reader, None, 1)
    await reader.execute("rollback")
    assert await reader.fetchval("select count(*) from lines") == 0


async def test_a_reader_sees_one_organization_and_one_ledger(
    postgres: PostgresServer, two_organizations: str, reader: asyncpg.Connection
) -> None:
    auditor = await connected(postgres, two_organizations, "auditor")
    try:
        demo = await auditor.fetchval("select id from organizations where slug = 'demo'")
        numbers = [row[0] for row in await auditor.fetch("select no from ledgers order by no")]
    finally:
        await auditor.close()
    assert numbers == [1, 2, 3]
    for ledger_no in numbers:
        assert await seen(reader, demo, ledger_no) == {
            **{table: {demo} for table in BY_ORGANIZATION},
            **{table: {ledger_no} for table in BY_LEDGER},
        }


async def test_row_level_security_is_what_keeps_readers_apart(postgres: PostgresServer, two_organizations: str) -> None:
    """Without the policies the same reader sees everybody's rows."""
    superuser = await asyncpg.connect(two_organizations)
    try:
        await superuser.transaction().start()
        for table in BOOKS:
            await superuser.execute(f"alter table {table} disable row level security")
        await superuser.execute("set local role ledger_reader")
        rows = await seen(superuser, None, None)
        assert {len(found) for found in rows.values()} == {2, 3}
    finally:
        await superuser.close()


@pytest.mark.parametrize("role", ["reader", "auditor"])
@pytest.mark.parametrize("table", BOOKS)
async def test_who_reads_writes_nothing(
    postgres: PostgresServer, two_organizations: str, role: str, table: str
) -> None:
    connection = await connected(postgres, two_organizations, role)
    try:
        first = await connection.fetchval(
            "select attname from pg_attribute where attrelid = $1::regclass and attnum = 1", table
        )
        for statement in (
            f"insert into {table} overriding system value select * from {table}",
            f"update {table} set {first} = {first}",
            f"delete from {table}",
            f"truncate {table} cascade",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


@pytest.mark.parametrize("role", ["writer", "reader", "auditor"])
@pytest.mark.parametrize("statement", KEEPING_OUT)
async def test_no_role_of_the_service_takes_a_guard_away(
    postgres: PostgresServer, two_organizations: str, role: str, statement: str
) -> None:
    connection = await connected(postgres, two_organizations, role)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_what_the_writer_may_change_is_this_and_no_more(postgres: PostgresServer, two_organizations: str) -> None:
    """Heads and sums move, an account's properties may change; nothing else, and nothing is ever removed."""
    writer = await connected(postgres, two_organizations, "writer")
    try:
        rows = await writer.fetch(
            """
            select table_name || '.' || column_name from information_schema.column_privileges
            where grantee = 'ledger_writer' and privilege_type = 'UPDATE' and table_schema = 'public'
            """
        )
        removable = await writer.fetch(
            """
            select table_name from information_schema.table_privileges
            where grantee = 'ledger_writer' and privilege_type in ('DELETE', 'TRUNCATE') and table_schema = 'public'
            """
        )
    finally:
        await writer.close()
    changeable = {row[0] for row in rows}
    assert {name for name in changeable if name.startswith(("ledgers.", "balances."))} == {
        "ledgers.epoch", "ledgers.sequence", "ledgers.hash", "ledgers.recorded_at", "ledgers.name",
        "ledgers.days_closed_through", "ledgers.soft_closed_through", "ledgers.closed_through",
        "balances.debits", "balances.credits", "balances.version", "balances.pending_debits",
        "balances.pending_credits",
    }  # fmt: skip
    append_only = (
        "log.", "requests.", "entries.", "lines.", "account_changes.", "organizations.", "currencies.", "pendings.",
        "closings.", "backdatings.",
    )  # fmt: skip
    assert not {name for name in changeable if name.startswith(append_only)}
    assert removable == []


async def test_the_service_posts_without_the_owner(books: Books) -> None:
    """What the tests of this folder do, they do as the writing role, which owns nothing."""
    await open_accounts(books, account("A"), account("B"))
    async with books.pool.acquire() as connection:
        assert await connection.fetchval("select session_user") == "ledger_writer"
        owned = await connection.fetchval(
            "select count(*) from pg_class where pg_get_userbyid(relowner) = session_user"
        )
        powers = await connection.fetchrow(
            "select rolsuper, rolbypassrls, rolcreatedb, rolcreaterole from pg_roles where rolname = session_user"
        )
    assert owned == 0
    assert powers is not None
    assert not any(powers)
