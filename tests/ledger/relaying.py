"""Short ways for tests of the relay: a relay, posts, how far the cursors are, what Kafka has."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import orjson
from aiokafka import ConsumerRecord

from libs.common import metrics
from libs.common.db import Pool
from libs.common.journal import ledger_id
from services.ledger.commands import Books
from services.ledger.relay import Relay
from tests.ledger.asking import entry, tell
from tests.ledger.conftest import LedgerDatabase
from tests.ledger.wire import Wire, eventually


@asynccontextmanager
async def admin_of(database: LedgerDatabase) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(database.admin)
    try:
        yield connection
    finally:
        await connection.close()


def relaying(auditor: Pool, wire: Wire, **more: Any) -> Relay:
    return Relay(auditor, wire.kafka, topics=wire.topics, poll_s=0.1, **more)


async def post(books: Books, count: int, ledger: str = "main") -> None:
    await asyncio.gather(*(tell(books, entry("A debit 1.00", "B credit 1.00"), ledger=ledger) for _ in range(count)))


async def behind(auditor: Pool) -> int:
    """Records that no cursor covers."""
    return int(
        await auditor.fetchval(
            """
            select sum(l.sequence - coalesce(c.sequence, 0))
            from ledgers l left join relay_cursors c on c.ledger_no = l.no
            """
        )
    )


async def caught_up(auditor: Pool, time_limit_s: float = 20.0) -> None:
    """Returns when the cursors cover the logs; a connection that was cut meanwhile is another's matter."""

    async def nothing_left() -> bool:
        try:
            return await behind(auditor) == 0
        except (asyncpg.PostgresError, asyncpg.InterfaceError):
            return False

    await eventually(nothing_left, time_limit_s)


def sequences(records: list[ConsumerRecord], ledger: str = "main") -> list[int]:
    key = str(ledger_id("demo", ledger)).encode()
    return [orjson.loads(record.value)["sequence"] for record in records if record.key == key]


def assert_complete(published: list[int], last: int) -> None:
    """Every sequence is there, and each first appearance comes in order."""
    assert list(dict.fromkeys(published)) == list(range(1, last + 1))


def violations() -> float:
    return float(metrics.LEDGER_INVARIANT_VIOLATIONS.labels("relay-heads")._value.get())
