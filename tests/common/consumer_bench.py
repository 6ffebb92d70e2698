"""What the consumer is tested on: a topic with its dead letters, a database with the fence and one effect."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka import ConsumerRecord

from libs.common import db, inbox
from libs.common.bus import (
    Batch,
    Consumer,
    KafkaSettings,
    Message,
    Publisher,
)
from libs.common.clock import monotonic_s
from libs.common.errors import Poison
from libs.common.inbox import StoredPositions
from tests.support.kafka import KafkaBroker


def read_number(record: ConsumerRecord) -> int:
    """What these topics hold: a number; anything else is poison."""
    try:
        return int(record.value or b"")
    except ValueError:
        raise Poison("not-a-number", f"{record.value!r} is no number", "/value") from None


class Bench:
    """A topic with its dead letters, a database, and the consumer under test."""

    def __init__(self, kafka: KafkaBroker, pool: db.Pool, topic: str, publisher: Publisher) -> None:
        self.kafka, self.pool, self.topic, self.publisher = kafka, pool, topic, publisher
        self.settings = KafkaSettings(kafka.bootstrap)
        self.consumers: list[Consumer[int]] = []

    def consumer(self, accept: Callable[[Batch[int]], Awaitable[None]] | None = None, **options: Any) -> Consumer[int]:
        values: dict[str, Any] = {
            "topic": self.topic,
            "group": f"g-{self.topic}",
            "member": "one",
            "positions": StoredPositions(self.pool),
            "decode": read_number,
            "dead_letters": self.publisher,
            "backoff_s": 0.02,
        }
        consumer: Consumer[int] = Consumer(self.settings, **{**values, **options}, accept=accept or self.accept)
        self.consumers.append(consumer)
        return consumer

    async def accept(self, batch: Batch[int]) -> None:
        async with db.transaction(self.pool) as connection:
            await inbox.advance(
                connection, batch.cluster_id, batch.topic, batch.partition, batch.expected, batch.next_offset
            )
            await connection.executemany("insert into effect values ($1)", [(item.value,) for item in batch.items])

    async def publish(self, *values: object, key: bytes | None = b"k", topic: str | None = None) -> None:
        await self.publisher.publish([Message(topic or self.topic, key, str(value).encode()) for value in values])

    async def effect(self) -> list[int]:
        return [row["n"] for row in await self.pool.fetch("select n from effect order by place")]

    async def position(self) -> int:
        stored: int = await self.pool.fetchval("select max(next_offset) from consumer_offsets")
        return stored

    async def dead_letters(self) -> list[ConsumerRecord]:
        """All of them so far, read by a consumer of ours."""
        found: list[ConsumerRecord] = []

        async def keep(batch: Batch[ConsumerRecord]) -> None:
            found.extend(item.record for item in batch.items)

        positions = Remembered()
        reader: Consumer[Any] = Consumer(
            self.settings, topic=f"{self.topic}.dead-letter", group=f"dl-{self.topic}", member=None,
            positions=positions, decode=lambda record: record, accept=keep, dead_letters=self.publisher,
        )  # fmt: skip
        for _ in range(8):
            await reader.step()
        await reader.stop()
        return found


class Remembered:
    """Positions in memory."""

    def __init__(self) -> None:
        self.offsets: dict[int, int | None] = {}

    async def load(self, cluster_id: str, topic: str, partitions: Any) -> dict[int, int | None]:
        return {partition: self.offsets.get(partition) for partition in partitions}

    async def start(self, cluster_id: str, topic: str, offsets: Any) -> None:
        self.offsets.update(offsets)


async def until(consumer: Consumer[int], done: Callable[[], Awaitable[bool]], limit_s: float = 20) -> None:
    async with asyncio.timeout(limit_s):
        while not await done():
            await consumer.step()


async def reached(bench: Bench, offset: int) -> bool:
    return await bench.position() == offset


async def has_effect(bench: Bench, count: int) -> bool:
    return len(await bench.effect()) >= count


async def eventually(condition: Callable[[], Awaitable[bool]], limit_s: float = 20) -> None:
    """While a consumer runs by itself."""
    give_up_s = monotonic_s() + limit_s
    while not await condition():
        assert monotonic_s() < give_up_s, f"it did not come true within {limit_s:.0f} s"
        await asyncio.sleep(0.01)
