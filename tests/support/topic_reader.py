"""Reads Kafka topics the way an auditor does: outside of any group, from a known offset, to a known end."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from libs.common.bus import KafkaSettings


async def read_whole(bootstrap: str, topic: str) -> list[ConsumerRecord]:
    """Every record from the topic's beginning to its present end, partition by partition, each in its order."""
    places = await _places(bootstrap, topic)
    consumer = _consumer(bootstrap)
    await consumer.start()
    try:
        consumer.assign(places)
        ends: Mapping[TopicPartition, int] = await consumer.end_offsets(places)
        found: dict[TopicPartition, list[ConsumerRecord]] = {place: [] for place in places}
        for place, first in (await consumer.beginning_offsets(places)).items():
            consumer.seek(place, first)
        while any([await consumer.position(place) < ends[place] for place in places]):
            for place, records in (await consumer.getmany(timeout_ms=200, max_records=5_000)).items():
                found[place] += records
        return [record for place in places for record in found[place] if record.offset < ends[place]]
    finally:
        await consumer.stop()


class Follower:
    """Reads a topic from where it ended when this was made, through any restart of the broker."""

    def __init__(self, bootstrap: str, positions: dict[TopicPartition, int], consumer: AIOKafkaConsumer) -> None:
        self._bootstrap = bootstrap
        self._positions = positions
        self._consumer: AIOKafkaConsumer | None = consumer

    async def poll(self, timeout_ms: int = 200) -> list[ConsumerRecord]:
        """What has come since; empty also while the broker is away."""
        try:
            consumer = self._consumer or await self._again()
            polled = await consumer.getmany(timeout_ms=timeout_ms, max_records=5_000)
        except KafkaError:
            await self.stop()
            return []
        for place, records in polled.items():
            self._positions[place] = records[-1].offset + 1
        return [record for records in polled.values() for record in records]

    async def stop(self) -> None:
        """Closes the connection; the next poll opens another one."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()

    async def _again(self) -> AIOKafkaConsumer:
        consumer = _consumer(self._bootstrap)
        try:
            await consumer.start()
        except BaseException:
            await consumer.stop()
            raise
        consumer.assign(list(self._positions))
        for place, position in self._positions.items():
            consumer.seek(place, position)
        self._consumer = consumer
        return consumer


@asynccontextmanager
async def following(bootstrap: str, topic: str) -> AsyncIterator[Follower]:
    """A follower of the topic from its present end."""
    places = await _places(bootstrap, topic)
    consumer = _consumer(bootstrap)
    await consumer.start()
    consumer.assign(places)
    positions = dict(await consumer.end_offsets(places))
    for place, end in positions.items():
        consumer.seek(place, end)
    follower = Follower(bootstrap, positions, consumer)
    try:
        yield follower
    finally:
        await follower.stop()


async def _places(bootstrap: str, topic: str) -> list[TopicPartition]:
    count = (await KafkaSettings(bootstrap).cluster([topic])).topics[topic].partitions
    return [TopicPartition(topic, partition) for partition in range(count)]


def _consumer(bootstrap: str) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=None,
        auto_offset_reset="none",
        enable_auto_commit=False,
        isolation_level="read_committed",
        request_timeout_ms=10_000,
    )
