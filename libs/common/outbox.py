"""Messages that leave with a transaction or not at all: a table, and the loop that publishes what is in it.

    transaction { effect, outbox.put }  ->  commit  ->  relay: read, publish, remove

* What is in the table is not published yet. The relay asks for all of it, never for `id > last`: ids are drawn before
  the commit, so a row with a lower id may appear later. Whoever needs two messages of one key in order locks that
  document before `put`.
* Of several processes one relays, by a session lock on a connection of its own; when that connection breaks the lock
  is gone and another takes over. What was acknowledged and not yet removed is published again, under the same event
  id; so the removal need not wait for the disk.
* A round after a quiet time begins at once; while commits follow one another, one begins every `PACE_S` at most, for a
  round costs the same for two messages as for two hundred, and so does each batch that others make of them.
* An oversize message would block everything behind it, so `put` refuses what no topic takes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import asyncpg
import orjson

from libs.common import metrics
from libs.common.array_text import array_text
from libs.common.clock import monotonic_s
from libs.common.db import Connection, connect, transient
from libs.common.messages import Message
from libs.common.publisher import OversizeMessage
from libs.common.telemetry import get_logger

log = get_logger(__name__)

DDL: Final = """
create table outbox (
    id           bigint generated always as identity primary key,
    topic        text  not null,
    key          bytea,
    value        bytea,
    headers      text  not null,
    put_at       timestamptz not null default now()
);
"""
"""For a service's migration."""

VALUE_BYTES_MAX: Final = 512 * 1024
BATCH: Final = 1000
POLL_S: Final = 0.5
PACE_S: Final = 0.05
_LOCK: Final = 0x6F75_7462_6F78
_BACKOFF_MAX_S: Final = 10.0

Publish = Callable[[Sequence[Message]], Awaitable[None]]


async def put(connection: Connection, messages: Sequence[Message]) -> None:
    """Add messages to the transaction of `connection`, in order. Raises OversizeMessage above VALUE_BYTES_MAX."""
    if not messages:
        return
    for message in messages:
        if message.value is not None and len(message.value) > VALUE_BYTES_MAX:
            raise OversizeMessage(f"a message of {len(message.value)} bytes for {message.topic} does not fit")
    await connection.execute(
        """
        insert into outbox (topic, key, value, headers)
        select topic, key, value, headers
          from unnest($1::text::text[], $2::bytea[], $3::bytea[], $4::text::text[]) with ordinality
               as message (topic, key, value, headers, place)
         order by place
        """,
        array_text([message.topic for message in messages]),
        [message.key for message in messages],
        [message.value for message in messages],
        array_text([_headers_text(message) for message in messages]),
    )


def _headers_text(message: Message) -> str:
    return orjson.dumps([(name, value.decode()) for name, value in message.headers]).decode()


def _message(row: asyncpg.Record) -> Message:
    headers = [(name, value.encode()) for name, value in orjson.loads(row["headers"])]
    return Message(row["topic"], row["key"], row["value"], headers)


async def unpublished(connection: Connection, limit: int) -> list[asyncpg.Record]:
    """The oldest rows: id, topic, key, value, headers."""
    return await connection.fetch("select id, topic, key, value, headers from outbox order by id limit $1", limit)


async def remove(connection: Connection, ids: Sequence[int]) -> None:
    """Take rows out that are published."""
    await connection.execute("delete from outbox where id = any($1::text::bigint[])", array_text(ids))


async def count(connection: Connection, limit: int = 100_000) -> int:
    """How many rows wait, counted to `limit`."""
    waiting: int = await connection.fetchval("select count(*) from (select from outbox limit $1) as waiting", limit)
    return waiting


class Relay:
    """Publishes the outbox of one database. `run` as a task; `wake` after a commit saves the wait for the poll."""

    def __init__(
        self,
        dsn: str,
        publish: Publish,
        *,
        name: str,
        poll_s: float = POLL_S,
        pace_s: float = PACE_S,
        batch: int = BATCH,
    ) -> None:
        self._dsn = dsn
        self._publish = publish
        self._name = name
        self._poll_s, self._pace_s = poll_s, pace_s
        self._batch = batch
        self._awake = asyncio.Event()
        self._connection: asyncpg.Connection[Any] | None = None
        self._locked = False

    def wake(self) -> None:
        """There is something to publish: call it after the commit."""
        self._awake.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Relay until `stopping` is set. Raises what is neither the database's nor Kafka's passing trouble."""
        failed = 0
        try:
            while not stopping.is_set():
                began_s = monotonic_s()
                try:
                    relayed = await self.step()
                    failed = 0
                except Exception as error:
                    if not transient(error):
                        raise
                    failed += 1
                    log.warning("outbox-waits", failed=failed, error=str(error) or repr(error))
                    await self.stop()
                    relayed = 0
                if 0 < relayed < self._batch:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(stopping.wait(), max(0.0, began_s + self._pace_s - monotonic_s()))
                if relayed < self._batch:
                    await self._sleep(stopping, min(self._poll_s * 2**failed, max(self._poll_s, _BACKOFF_MAX_S)))
        finally:
            await self.stop()

    async def step(self) -> int:
        """One batch: gives how many messages were published, 0 also where another process relays."""
        self._awake.clear()
        connection = self._connection
        if connection is None or connection.is_closed():
            self._locked = False
            connection = self._connection = await connect(
                self._dsn, name=f"{self._name}-outbox", server_settings={"synchronous_commit": "off"}
            )
        if not self._locked:
            self._locked = await connection.fetchval("select pg_try_advisory_lock($1)", _LOCK)
            if not self._locked:
                return 0
        rows = await unpublished(connection, self._batch)
        metrics.OUTBOX_UNPUBLISHED.set(len(rows) if len(rows) < self._batch else await count(connection))
        if rows:
            await self._publish([_message(row) for row in rows])
            await remove(connection, [row["id"] for row in rows])
        if len(rows) < self._batch:
            metrics.OUTBOX_UNPUBLISHED.set(0)
        return len(rows)

    async def stop(self) -> None:
        """Let go of the lock and the connection."""
        connection, self._connection, self._locked = self._connection, None, False
        if connection is not None:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await connection.close(timeout=5)

    async def _sleep(self, stopping: asyncio.Event, most_s: float) -> None:
        """Until woken, told to stop, or the time is over."""
        waits = [asyncio.create_task(self._awake.wait()), asyncio.create_task(stopping.wait())]
        await asyncio.wait(waits, timeout=most_s, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
