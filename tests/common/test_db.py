"""Pools, transactions, migrations and the judgement of errors, against a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from libs.common import db
from libs.common.errors import Misconfigured, Transient
from libs.devstack import ports
from tests.support.postgres import PostgresServer
from tests.support.tcp_proxy import TcpProxy

pytestmark = pytest.mark.database


@pytest.fixture
async def dsn(postgres: PostgresServer) -> AsyncIterator[str]:
    async with postgres.database() as dsn:
        yield dsn


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[db.Pool]:
    pool = await db.create_pool(dsn, name="test-pool", max_size=2, server_settings={"work_mem": "5MB"})
    yield pool
    await pool.close()


async def test_a_pool_speaks_utc_with_its_name_and_without_jit(pool: db.Pool) -> None:
    row = await pool.fetchrow(
        "select current_setting('application_name') as name, current_setting('timezone') as zone, "
        "current_setting('jit') as jit, current_setting('work_mem') as memory"
    )
    assert dict(row or {}) == {"name": "test-pool", "zone": "UTC", "jit": "off", "memory": "5MB"}


async def test_a_pool_without_database_is_transient() -> None:
    with pytest.raises(Transient, match="test-pool does not answer"):
        await db.create_pool(f"postgresql://u@127.0.0.1:{ports.free_port()}/d", name="test-pool")


@pytest.mark.parametrize("value", ["acme", "o'hara", "back\\slash's", "", "a; drop table x; --", 'dou"ble', "ü€"])
async def test_settings_hold_inside_the_transaction_only(pool: db.Pool, value: str) -> None:
    async with db.transaction(pool, settings={"ledgerbus.organization": value}) as connection:
        assert await connection.fetchval("select current_setting('ledgerbus.organization')") == value
    async with pool.acquire() as one, pool.acquire() as two:
        for connection in (one, two):
            after = await connection.fetchval("select current_setting('ledgerbus.organization', true)")
            assert not after


async def test_a_transaction_begins_and_sets_in_one_round_trip(dsn: str) -> None:
    host, port = dsn.rpartition("@")[2].partition("/")[0].split(":")
    async with TcpProxy(host, int(port)) as proxy:
        connection = await db.connect(dsn.replace(f"{host}:{port}", proxy.address), name="slow")
        proxy.delay(0.1)
        started = asyncio.get_running_loop().time()
        async with db.transaction(connection, settings={"ledgerbus.a": "1", "ledgerbus.b": "2"}):
            took_s = asyncio.get_running_loop().time() - started
        assert 0.2 <= took_s < 0.39
        proxy.delay(0.0)
        await connection.close()


@pytest.mark.parametrize("name", ["A", "a b", "a.b.c", "a;", "", "ü"])
async def test_a_setting_name_that_is_none_is_refused(pool: db.Pool, name: str) -> None:
    with pytest.raises(ValueError, match="no name of a database setting"):
        db.transaction(pool, settings={name: "x"})


async def test_a_nul_in_a_setting_is_refused(pool: db.Pool) -> None:
    with pytest.raises(ValueError, match="NUL"):
        db.transaction(pool, settings={"ledgerbus.organization": "a\0b"})


async def test_an_exception_rolls_back_and_the_connection_is_good_again(pool: db.Pool) -> None:
    await pool.execute("create table kept (n int)")
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        async with db.transaction(pool) as connection:
            await connection.execute("insert into kept values (1)")
            raise ZeroDivisionError
    async with db.transaction(pool) as connection:
        await connection.execute("insert into kept values (2)")
    assert [row["n"] for row in await pool.fetch("select n from kept")] == [2]


async def test_a_cancelled_transaction_rolls_back(pool: db.Pool) -> None:
    await pool.execute("create table cancelled (n int)")

    async def write() -> None:
        async with db.transaction(pool) as connection:
            await connection.execute("insert into cancelled values (1)")
            await connection.execute("select pg_sleep(30)")

    task = asyncio.create_task(write())
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await pool.fetchval("select count(*) from cancelled") == 0


async def test_readonly_refuses_to_write(pool: db.Pool) -> None:
    await pool.execute("create table fixed (n int)")
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        async with db.transaction(pool, readonly=True) as connection:
            await connection.execute("insert into fixed values (1)")


async def test_transactions_do_not_nest(pool: db.Pool) -> None:
    async with db.transaction(pool) as connection:
        with pytest.raises(AssertionError, match="never nested"):
            async with db.transaction(connection):
                raise NotImplementedError


async def test_a_connection_ended_by_the_server_is_a_connection_error(pool: db.Pool, dsn: str) -> None:
    other = await db.connect(dsn, name="other")
    with pytest.raises(Exception) as ended:  # noqa: PT011, PT012 - which it is depends on the moment
        async with db.transaction(pool) as connection:
            await other.execute("select pg_terminate_backend($1)", connection.get_server_pid())
            await connection.execute("select 1")
    await other.close()
    assert db.is_connection_error(ended.value)
    assert db.transient(ended.value)
    assert await pool.fetchval("select 1") == 1


async def test_a_closed_connection_is_a_connection_error(dsn: str) -> None:
    connection = await db.connect(dsn, name="closed")
    await connection.close()
    with pytest.raises(asyncpg.InterfaceError) as closed:
        await connection.execute("select 1")
    assert db.is_connection_error(closed.value)


async def test_a_network_that_stalls_is_a_connection_error(dsn: str) -> None:
    host, port = dsn.rpartition("@")[2].partition("/")[0].split(":")
    async with TcpProxy(host, int(port)) as proxy:
        connection = await db.connect(dsn.replace(f"{host}:{port}", proxy.address), name="stalled")
        proxy.stall()
        with pytest.raises(TimeoutError) as stalled:
            await connection.execute("select 1", timeout=0.3)
        connection.terminate()
    assert db.is_connection_error(stalled.value)


JUDGEMENTS = [
    # error, connection broken, worth another try
    (ConnectionResetError(), True, True),
    (asyncpg.exceptions.AdminShutdownError("x"), True, True),
    (asyncpg.exceptions.CannotConnectNowError("x"), True, True),
    (asyncpg.TooManyConnectionsError("x"), True, True),
    (asyncpg.SerializationError("x"), False, True),
    (asyncpg.DeadlockDetectedError("x"), False, True),
    (asyncpg.LockNotAvailableError("x"), False, True),
    (asyncpg.QueryCanceledError("x"), False, True),
    (asyncpg.exceptions.ReadOnlySQLTransactionError("x"), False, True),
    (asyncpg.exceptions.DiskFullError("x"), False, True),
    (Transient("x"), False, True),
    (asyncpg.UniqueViolationError("x"), False, False),
    (asyncpg.UndefinedTableError("x"), False, False),
    (asyncpg.InterfaceError("the server expects 2 arguments for this query, 1 was passed"), False, False),
    (ValueError("x"), False, False),
]


@pytest.mark.parametrize(("error", "broken", "again"), JUDGEMENTS, ids=[type(row[0]).__name__ for row in JUDGEMENTS])
def test_what_an_error_means(error: Exception, broken: bool, again: bool) -> None:
    assert (db.is_connection_error(error), db.transient(error)) == (broken, again)


# --- migrations -------------------------------------------------------------------------------------------------------


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, sql in files.items():
        (folder / f"{name.removeprefix('m')}.sql").write_text(sql, encoding="utf-8")
    return folder


async def test_migrations_run_once_in_order(dsn: str, tmp_path: Path) -> None:
    folder = write(tmp_path, m0001_first="create table a (n int);", m0002_second="alter table a add m int;")
    assert await db.migrate(dsn, folder) == ["0001_first.sql", "0002_second.sql"]
    assert await db.migrate(dsn, folder) == []
    await db.check_migrated(dsn, folder)
    write(tmp_path, m0003_third="alter table a add o int;")
    with pytest.raises(Misconfigured, match=r"lacks migration 0003_third\.sql"):
        await db.check_migrated(dsn, folder)
    assert await db.migrate(dsn, folder) == ["0003_third.sql"]


async def test_an_empty_database_is_not_migrated(dsn: str, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="lacks migration 0001"):
        await db.check_migrated(dsn, write(tmp_path, m0001_first="select 1;"))


async def test_processes_that_start_at_once_migrate_once(dsn: str, tmp_path: Path) -> None:
    folder = write(tmp_path, m0001_first="create table a (n int); select pg_sleep(0.2); insert into a values (1);")
    applied = await asyncio.gather(*(db.migrate(dsn, folder) for _ in range(4)))
    assert sorted(applied, key=len) == [[], [], [], ["0001_first.sql"]]
    connection = await db.connect(dsn, name="look")
    assert await connection.fetchval("select count(*) from a") == 1
    await connection.close()


async def test_a_failing_migration_leaves_nothing_behind(dsn: str, tmp_path: Path) -> None:
    folder = write(tmp_path, m0001_first="create table a (n int); select 1/0;")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await db.migrate(dsn, folder)
    write(tmp_path, m0001_first="create table a (n int);")
    assert await db.migrate(dsn, folder) == ["0001_first.sql"]


async def test_changed_and_removed_migrations_are_refused(dsn: str, tmp_path: Path) -> None:
    folder = write(tmp_path, m0001_first="create table a (n int);", m0002_second="select 1;")
    await db.migrate(dsn, folder)
    write(tmp_path, m0001_first="create table a (n bigint);")
    with pytest.raises(Misconfigured, match=r"0001_first\.sql was changed"):
        await db.migrate(dsn, folder)
    with pytest.raises(Misconfigured, match=r"0001_first\.sql was changed"):
        await db.check_migrated(dsn, folder)
    write(tmp_path, m0001_first="create table a (n int);")
    (folder / "0002_second.sql").unlink()
    with pytest.raises(Misconfigured, match=r"0002_second\.sql is applied .* but not in"):
        await db.migrate(dsn, folder)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["0001_a", "0003_b"], "0003_b.sql has number 0003 where 0002 is due"),
        (["0001_a", "0001_b"], "0001_b.sql has number 0001 where 0002 is due"),
        (["0002_a"], "where 0001 is due"),
        (["1_a"], "not called NNNN_name.sql"),
        (["0001_Upper"], "not called NNNN_name.sql"),
    ],
)
async def test_file_names_are_checked_before_anything_runs(tmp_path: Path, names: list[str], words: str) -> None:
    write(tmp_path, **{f"m{name}": "select 1;" for name in names})
    with pytest.raises(Misconfigured) as refused:
        await db.migrate("postgresql://nobody@127.0.0.1:1/none", tmp_path)
    assert words in str(refused.value)


async def test_no_migrations_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="no migrations folder nowhere"):
        await db.migrate("postgresql://nobody@127.0.0.1:1/none", tmp_path / "nowhere")


async def test_a_locked_table_is_waited_for_in_short_tries(dsn: str, tmp_path: Path) -> None:
    folder = write(tmp_path, m0001_first="create table a (n int);")
    await db.migrate(dsn, folder)
    holder = await db.connect(dsn, name="holder")
    await holder.execute("begin; lock table a in access share mode")
    write(tmp_path, m0002_second="alter table a add m int;")
    migrating = asyncio.create_task(db.migrate(dsn, folder, lock_timeout_ms=50))
    await asyncio.sleep(0.3)
    assert not migrating.done()
    await holder.execute("commit")
    assert await migrating == ["0002_second.sql"]
    await holder.close()


async def test_a_table_that_stays_locked_is_transient(dsn: str, tmp_path: Path) -> None:
    folder = write(tmp_path, m0001_first="create table a (n int);")
    await db.migrate(dsn, folder)
    holder = await db.connect(dsn, name="holder")
    await holder.execute("begin; lock table a in access share mode")
    write(tmp_path, m0002_second="alter table a add m int;")
    with pytest.raises(Transient, match="could not lock its tables"):
        await db.migrate(dsn, folder, lock_timeout_ms=5)
    await holder.close()
