"""Messages that leave with a transaction or not at all: a table, and the loop that publishes what is in it.

    transaction { effect, outbox.put }  ->  commit  ->  relay: read, publish, remove

* A row is all that one `put` adds, up to a bound: messages that leave together are stored, read and removed together,
  which costs a tenth of a row for each. Its content is MessagePack: `[[topic, key, value, [[header, value], ...]]]`.
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
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

import asyncpg
import msgpack

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
    id       bigint generated always as identity primary key,
    messages bytea   not null,
    count    integer not null check (count > 0),
    put_at   timestamptz not null default now()
);
alter table outbox alter column messages set storage external;
"""
"""For a service's migration. Rows live for a moment: they are not worth compressing."""

VALUE_BYTES_MAX: Final = 512 * 1024
ROW_MESSAGES_MAX: Final = 500
ROW_BYTES_MAX: Final = 2 * VALUE_BYTES_MAX
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
    for lot in _lots(messages):
        await connection.execute(
            "insert into outbox (messages, count) values ($1, $2)",
            msgpack.packb([_told(each) for each in lot]),
            len(lot),
        )


def _lots(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """The messages of each row."""
    start, size = 0, 0
    for place, message in enumerate(messages):
        more = len(message.value or b"")
        if place > start and (place - start == ROW_MESSAGES_MAX or size + more > ROW_BYTES_MAX):
            yield messages[start:place]
            start, size = place, 0
        size += more
    if start < len(messages):
        yield messages[start:]


def _told(message: Message) -> tuple[object, ...]:
    return message.topic, message.key, message.value, message.headers


def _heard(topic: str, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> Message:
    return Message(topic, key, value, [*headers])


async def unpublished(connection: Connection, limit: int) -> list[tuple[int, list[Message]]]:
    """The oldest rows with their messages: so many that there are `limit` messages, or all."""
    rows = await connection.fetch(
        """
        select id, messages
          from (select id, messages, sum(count) over (order by id) - count as before
                  from outbox order by id limit $1) as oldest
         where before < $1
         order by id
        """,
        limit,
    )
    return [(row["id"], [_heard(*each) for each in msgpack.unpackb(row["messages"], use_list=False)]) for row in rows]


async def remove(connection: Connection, ids: Sequence[int]) -> None:
    """Take rows out that are published."""
    await connection.execute("delete from outbox where id = any($1::text::bigint[])", array_text(ids))


async def count(connection: Connection, limit: int = 100_000) -> int:
    """How many messages wait, those of the oldest `limit` rows."""
    waiting: int = await connection.fetchval(
        "select coalesce(sum(count), 0)::bigint from (select count from outbox order by id limit $1) as waiting", limit
    )
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
        messages = [message for _, told in rows for message in told]
        is_all = len(messages) < self._batch
        metrics.OUTBOX_UNPUBLISHED.set(len(messages) if is_all else await count(connection))
        if rows:
            await self._publish(messages)
            await remove(connection, [id_ for id_, _ in rows])
        if is_all:
            metrics.OUTBOX_UNPUBLISHED.set(0)
        return len(messages)

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
