"""Invoicing's database put back to what it was some moments ago, while the ledger's books and Kafka's topics went on.

`keep` is a backup, `restore` the worst day: whatever invoicing heard and asked in between is forgotten. The topics are
read again from the positions that came back with the database; ids are derived, so the ledger is asked under the keys
that it knows and posts nothing twice.
"""

import asyncio
import time
from collections.abc import Sequence

import asyncpg

from libs.cli.session import Stack
from libs.devstack.databases import with_database
from libs.devstack.stack import stack_status
from tests.reliability.faults import kill

PART = "invoicing"
KEPT, GONE = "invoicing_kept", "invoicing_gone"
_TIME_LIMIT_S = 60.0
_LOOK_EVERY_S = 0.02


async def keep(stack: Stack) -> str:
    """Copies invoicing's database as it is, with invoicing killed meanwhile."""
    return await _without_invoicing(stack, [f"create database {KEPT} template {PART} owner {PART}_migrator"], "kept")


async def restore(stack: Stack) -> str:
    """Puts the copy in the database's place, with invoicing killed meanwhile. It has to forget something by that."""
    swap = [f"alter database {PART} rename to {GONE}", f"alter database {KEPT} rename to {PART}"]
    kept = await _payments(stack, KEPT)
    done = await _without_invoicing(stack, swap, "restored")
    forgotten = await _payments(stack, GONE) - kept
    await _drop(stack, GONE)
    assert forgotten > 0, "what is restored is what is there: too early for this to show anything"
    return f"{done}, {forgotten} payments forgotten"


async def _drop(stack: Stack, database: str) -> None:
    connection = await asyncpg.connect(with_database(stack_status(stack.data_dir)["postgres"]["dsn"], "postgres"))
    try:
        await connection.execute(f"drop database {database}")
    finally:
        await connection.close()


async def _payments(stack: Stack, database: str) -> int:
    connection = await asyncpg.connect(with_database(stack_status(stack.data_dir)["postgres"]["dsn"], database))
    try:
        return int(await connection.fetchval("select count(*) from payments"))
    finally:
        await connection.close()


async def _without_invoicing(stack: Stack, statements: Sequence[str], done: str) -> str:
    admin = with_database(stack_status(stack.data_dir)["postgres"]["dsn"], "postgres")
    connection = await asyncpg.connect(admin)
    try:
        async with asyncio.TaskGroup() as both:
            await connection.execute(f"alter database {PART} connection limit 0")  # a superuser may connect still
            killed = both.create_task(kill(stack, PART))
            for statement in statements:
                await _alone(connection, statement)
            await connection.execute(f"alter database {PART} connection limit -1")
    finally:
        await connection.close()
    return f"{killed.result()}, database {done}"


async def _alone(connection: "asyncpg.Connection[asyncpg.Record]", statement: str) -> None:
    """Runs what needs the database to itself, as soon as those who were killed are no longer connected."""
    give_up_s = time.monotonic() + _TIME_LIMIT_S
    while True:
        try:
            await connection.execute(statement)
        except asyncpg.ObjectInUseError:
            assert time.monotonic() < give_up_s, f"somebody is always connected: {statement}"
            await asyncio.sleep(_LOOK_EVERY_S)
        else:
            return
