"""PostgreSQL: pools, one transaction, migrations, and which errors are the world's and not ours.

    create_pool   -> asyncpg pool: UTC, application name, no JIT (short statements), time limits, connections and their
                     prepared statements kept warm
    transaction   -> begin with its settings in ONE round trip, commit or roll back at the end; never nested
    migrate       -> NNNN_name.sql in order, each in its transaction, checksums kept, forward only

Settings for row-level security are given with `set local`, so they end with the transaction. No code sets anything for
a whole session, hence a connection goes back to its pool without asyncpg's `reset all` (one round trip saved per use;
a transaction left open is still rolled back).
"""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from libs.common.clock import monotonic_s
from libs.common.errors import Misconfigured, Transient

if TYPE_CHECKING:
    Connection = asyncpg.Connection[Any] | PoolConnectionProxy[Any]
    Pool = asyncpg.Pool[Any]
else:
    Connection = asyncpg.Connection
    Pool = asyncpg.Pool

CONNECT_TIMEOUT_S: Final = 10
COMMAND_TIMEOUT_S: Final = 60
_IDLE_IN_TRANSACTION_MS: Final = 60_000
_QUERIES_MAX: Final = 10_000_000  # asyncpg's own 50,000 are gone in a minute of postings

_GONE: Final = (asyncpg.InterfaceError, asyncpg.PostgresConnectionError, asyncpg.InternalClientError, OSError)
"""What a rollback meets on a connection that broke: the server has rolled back itself."""

_SETTING_NAME = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?")
_MIGRATION_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_MIGRATION_LOCK: Final = 0x6C65_6467_6572  # any number, the same for all: one migration at a time in a database
_MIGRATION_WAIT_S: Final = 120
_LOCK_TRIES: Final = 10


async def create_pool(
    dsn: str,
    *,
    name: str,
    min_size: int = 1,
    max_size: int = 10,
    server_settings: Mapping[str, str] = {},
    command_timeout_s: float = COMMAND_TIMEOUT_S,
) -> Pool:
    """A started pool; `name` shows in pg_stat_activity. Raises Transient when the database does not answer."""
    settings = {
        "application_name": name,
        "timezone": "UTC",
        "jit": "off",
        "idle_in_transaction_session_timeout": str(_IDLE_IN_TRANSACTION_MS),
        "tcp_keepalives_idle": "30",
        **server_settings,
    }
    try:
        return await asyncpg.create_pool(
            dsn,
            min_size=min_size,
            max_size=max_size,
            max_inactive_connection_lifetime=0,
            max_queries=_QUERIES_MAX,
            max_cached_statement_lifetime=0,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=command_timeout_s,
            server_settings=settings,
            reset=_nothing_to_reset,
        )
    except Exception as error:
        if is_connection_error(error):
            raise Transient(f"the database of {name} does not answer: {error}") from error
        raise


async def connect(
    dsn: str,
    *,
    name: str,
    server_settings: Mapping[str, str] = {},
    command_timeout_s: float | None = COMMAND_TIMEOUT_S,
) -> "asyncpg.Connection[Any]":
    """One connection outside any pool, for session locks and LISTEN. Raises Transient as `create_pool` does."""
    settings = {"application_name": name, "timezone": "UTC", "jit": "off", **server_settings}
    try:
        return await asyncpg.connect(
            dsn, timeout=CONNECT_TIMEOUT_S, command_timeout=command_timeout_s, server_settings=settings
        )
    except Exception as error:
        if is_connection_error(error):
            raise Transient(f"the database of {name} does not answer: {error}") from error
        raise


async def _nothing_to_reset(_: Connection) -> None:
    """See the module's head: nothing outlives a transaction here."""


# --- transactions -----------------------------------------------------------------------------------------------------


def transaction(
    connection_or_pool: Connection | Pool, *, readonly: bool = False, settings: Mapping[str, str] = {}
) -> AbstractAsyncContextManager[Connection]:
    """`async with transaction(pool, settings={"ledgerbus.organization": slug}) as connection:`

    One round trip begins and sets; the block's end commits, an exception rolls back. A pool lends a connection for
    the block. `settings` names are checked, values quoted; they hold for this transaction only.
    """
    begin = _begin(readonly, settings)
    if isinstance(connection_or_pool, asyncpg.Pool):
        return _pooled(connection_or_pool, begin)
    return _begun(connection_or_pool, begin)


@asynccontextmanager
async def _pooled(pool: Pool, begin: str) -> AsyncIterator[Connection]:
    async with pool.acquire() as connection, _begun(connection, begin):
        yield connection


@asynccontextmanager
async def _begun(connection: Connection, begin: str) -> AsyncIterator[Connection]:
    assert not connection.is_in_transaction(), "a transaction is begun by one caller and never nested"
    await connection.execute(begin)
    try:
        yield connection
    except BaseException:
        with suppress(*_GONE):
            await connection.execute("rollback")
        raise
    await connection.execute("commit")


def _begin(readonly: bool, settings: Mapping[str, str]) -> str:
    begin = "begin read only" if readonly else "begin"
    return "; ".join([begin, *(f"set local {_name(name)} = {_quoted(value)}" for name, value in settings.items())])


def _name(name: str) -> str:
    if not _SETTING_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a database setting")
    return name


def _quoted(value: str) -> str:
    """A literal that is read alike whatever standard_conforming_strings says. NUL cannot be in a PostgreSQL text."""
    if "\0" in value:
        raise ValueError("a database setting cannot hold a NUL character")
    doubled = value.replace("'", "''")
    return f"'{doubled}'" if "\\" not in value else "E'" + doubled.replace("\\", "\\\\") + "'"


# --- errors -----------------------------------------------------------------------------------------------------------

_CONNECTION_ERRORS = (
    OSError,  # connection refused and reset; TimeoutError is one of them
    asyncpg.PostgresConnectionError,  # class 08
    asyncpg.exceptions.OperatorInterventionError,  # class 57: shutdown, starting up, crash of another backend
    asyncpg.TooManyConnectionsError,
    asyncpg.exceptions.StatementCompletionUnknownError,
    asyncpg.exceptions.ConnectionDoesNotExistError,
    asyncpg.exceptions.IdleInTransactionSessionTimeoutError,
    asyncpg.exceptions.TransactionTimeoutError,
    asyncpg.exceptions.InternalClientError,
)
_TRANSIENT_ERRORS = (
    Transient,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.exceptions.ReadOnlySQLTransactionError,  # a primary that has just become a standby
    asyncpg.exceptions.InsufficientResourcesError,  # class 53: disk full, out of memory
)
_CLOSED = re.compile(r"closed|closing|released|lost|not.*connected")


def is_connection_error(error: BaseException) -> bool:
    """Whether the connection (or the wait for an answer) broke, so that what was asked may or may not have happened."""
    if isinstance(error, asyncpg.QueryCanceledError):
        return False
    if isinstance(error, asyncpg.InterfaceError):
        return bool(_CLOSED.search(str(error)))
    return isinstance(error, _CONNECTION_ERRORS)


def transient(error: BaseException) -> bool:
    """Whether the same thing may succeed later without anybody changing it: connections, lost races, full disks."""
    return is_connection_error(error) or isinstance(error, _TRANSIENT_ERRORS)


# --- migrations -------------------------------------------------------------------------------------------------------


async def migrate(dsn: str, folder: Path, *, lock_timeout_ms: int = 5000) -> list[str]:
    """Apply what is in `folder` and not in the database; gives the names applied now, in order.

    Several processes may start at once: one migrates, the others wait and find it done. No statement waits longer
    than `lock_timeout_ms` for a table (requests would queue behind it): the file is rolled back and tried again.
    Raises Misconfigured when files repeat or skip a number, or when an applied file was changed or removed; Transient
    when the database does not answer or a table stays locked.
    """
    files = _migration_files(folder)
    connection = await connect(dsn, name="migrate", command_timeout_s=None)
    try:
        await _one_at_a_time(connection)
        await connection.execute(
            """
            create table if not exists schema_migrations (
                name       text primary key,
                sha256     text not null,
                applied_at timestamptz not null default clock_timestamp()
            )
            """
        )
        applied = await _applied(connection)
        _compare(folder, files, applied)
        new = [name for name in files if name not in applied]
        for name in new:
            await _apply(connection, name, files[name], lock_timeout_ms)
        return new
    finally:
        await connection.close(timeout=CONNECT_TIMEOUT_S)


async def check_migrated(dsn_or_connection: str | Connection, folder: Path) -> None:
    """Raises Misconfigured unless the database has exactly the migrations of `folder` (for MIGRATE_ON_START=false)."""
    files = _migration_files(folder)
    if isinstance(dsn_or_connection, str):
        connection = await connect(dsn_or_connection, name="check-migrated")
        try:
            applied = await _applied(connection)
        finally:
            await connection.close(timeout=CONNECT_TIMEOUT_S)
    else:
        applied = await _applied(dsn_or_connection)
    _compare(folder, files, applied)
    missing = [name for name in files if name not in applied]
    if missing:
        raise Misconfigured(
            f"The database lacks migration {missing[0]} (and {len(missing) - 1} more): migrate it, or set "
            "MIGRATE_ON_START=true."
        )


def _migration_files(folder: Path) -> dict[str, str]:
    """Name -> SQL, in order. Raises Misconfigured."""
    if not folder.is_dir():
        raise Misconfigured(f"There is no migrations folder {folder.name}.")
    paths = sorted(folder.glob("*.sql"))
    for number, path in enumerate(paths, 1):
        match = _MIGRATION_NAME.fullmatch(path.name)
        if match is None:
            raise Misconfigured(f"Migration {path.name} is not called NNNN_name.sql (lower case, underscores).")
        if int(match[1]) != number:
            raise Misconfigured(
                f"Migration {path.name} has number {match[1]} where {number:04} is due: no gaps, no twins."
            )
    return {path.name: path.read_text(encoding="utf-8") for path in paths}


def _compare(folder: Path, files: Mapping[str, str], applied: Mapping[str, str]) -> None:
    for name, checksum in applied.items():
        if name not in files:
            raise Misconfigured(
                f"Migration {name} is applied in the database but not in {folder.name}: an older version?"
            )
        if checksum != sha256(files[name].encode()).hexdigest():
            raise Misconfigured(f"Migration {name} was changed after it was applied: restore it and add a new file.")


async def _applied(connection: Connection) -> dict[str, str]:
    try:
        rows = await connection.fetch("select name, sha256 from schema_migrations order by name")
    except asyncpg.UndefinedTableError:
        return {}
    return {row["name"]: row["sha256"] for row in rows}


async def _one_at_a_time(connection: Connection) -> None:
    """Session lock by trying: a waiting lock would hold a snapshot and keep `create index concurrently` waiting."""
    give_up_s = monotonic_s() + _MIGRATION_WAIT_S
    while not await connection.fetchval("select pg_try_advisory_lock($1)", _MIGRATION_LOCK):
        if monotonic_s() > give_up_s:
            raise Transient(f"another process has been migrating this database for {_MIGRATION_WAIT_S} s")
        await asyncio.sleep(0.05)


async def _apply(connection: Connection, name: str, sql: str, lock_timeout_ms: int) -> None:
    settings = {"lock_timeout": f"{lock_timeout_ms}ms"}
    for tried in range(1, _LOCK_TRIES + 1):
        try:
            async with transaction(connection, settings=settings):
                await connection.execute(sql)
                await connection.execute(
                    "insert into schema_migrations (name, sha256) values ($1, $2)",
                    name,
                    sha256(sql.encode()).hexdigest(),
                )
        except asyncpg.LockNotAvailableError as error:
            if tried == _LOCK_TRIES:
                raise Transient(f"migration {name} could not lock its tables in {tried} tries: {error}") from error
            await asyncio.sleep(random.uniform(0.05, 0.2) * tried)  # noqa: S311 - jitter
        else:
            return
