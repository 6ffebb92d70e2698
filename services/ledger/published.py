"""What Kafka has of each ledger's log: the heads, and the facts behind the last of them.

    ledger.heads.v1    read whole (compacted, one row per ledger), later only what is new
    ledger.events.v1   read once, from a little before the newest head to the end

A head is published after the facts it covers are acknowledged, so facts without a head can only be those of a round
that was cut off: they are younger than every head of the process that was cut off, and the relay that comes after
reads them here. The database's cursor is restored together with the database; this is not.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from uuid import UUID

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from libs.common.bus import KafkaSettings
from libs.common.clock import monotonic_s
from libs.common.errors import Misconfigured, Transient
from libs.common.events import HASH, LEDGER_HEAD, LedgerTopics

CLOCKS_DIFFER_MS: Final = 10_000
"""How far the clocks of two processes that publish may be apart."""

_NAME: Final = "ledger-relay"
_POLL_MS: Final = 500
_STALLED_S: Final = 15.0


class Place(NamedTuple):
    """A place in a ledger's log: everything up to `sequence` is meant, and `hash` (32 bytes, none at 0) covers it."""

    epoch: int
    sequence: int
    hash: bytes


@dataclass(slots=True)
class PublishedLogs:
    """How far Kafka has each ledger's log, by ledger id. `read` brings it up to date."""

    kafka: KafkaSettings
    topics: LedgerTopics
    places: dict[UUID, Place] = field(default_factory=dict)
    _newest_head_ms: int = -1
    _heads_read: dict[TopicPartition, int] = field(default_factory=dict)

    async def read(self) -> None:
        """Reads the heads that are new, and the first time the facts behind them. Raises Transient without Kafka."""
        first = not self._heads_read
        partitions = await self._partitions()
        try:
            async with self._reader() as reader:
                heads = partitions[self.topics.heads]
                reader.assign(heads)
                begin = self._heads_read or await reader.beginning_offsets(heads)
                self._heads_read = await _read_to_end(reader, begin, self._take_head)
            if first and self._newest_head_ms >= 0:
                async with self._reader() as reader:
                    await self._read_facts(reader, partitions[self.topics.facts])
        except (KafkaError, TimeoutError) as error:
            raise Transient(f"Kafka does not tell how far the logs are published: {error!r}") from error

    async def _partitions(self) -> Mapping[str, list[TopicPartition]]:
        wanted = (self.topics.heads, self.topics.facts)
        known = (await self.kafka.cluster(wanted)).topics
        for topic in wanted:
            if topic not in known:
                raise Misconfigured(f"Kafka topic {topic} does not exist: create it (deploy/kafka/topics.json).")
        return {topic: [TopicPartition(topic, number) for number in range(known[topic].partitions)] for topic in wanted}

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[AIOKafkaConsumer]:
        reader = self.kafka.reader(_NAME)
        try:
            async with asyncio.timeout(_STALLED_S):
                await reader.start()
            yield reader
        finally:
            await reader.stop()

    async def _read_facts(self, reader: AIOKafkaConsumer, partitions: list[TopicPartition]) -> None:
        reader.assign(partitions)
        since_ms = max(0, self._newest_head_ms - CLOCKS_DIFFER_MS)
        found = await reader.offsets_for_times(dict.fromkeys(partitions, since_ms))
        begin = {place: at.offset for place, at in found.items() if at is not None}
        if begin:
            reader.assign(list(begin))
            await _read_to_end(reader, begin, self._take_fact)

    def _take_head(self, record: ConsumerRecord) -> None:
        self._newest_head_ms = max(self._newest_head_ms, record.timestamp)
        if record.value is not None:
            head = LEDGER_HEAD.adapter.validate_json(record.value)
            self.places[head.ledger_id] = Place(head.epoch, head.sequence, bytes.fromhex(head.hash))

    def _take_fact(self, record: ConsumerRecord) -> None:
        headers = dict(record.headers)
        ledger, epoch, sequence = headers["ce_id"].decode().split(":")
        place = Place(int(epoch), int(sequence), bytes.fromhex(headers[f"ce_{HASH}"].decode()))
        known = self.places.get(UUID(ledger))
        if known is None or known[:2] < place[:2]:
            self.places[UUID(ledger)] = place


async def _read_to_end(
    reader: AIOKafkaConsumer, begin: Mapping[TopicPartition, int], take: Callable[[ConsumerRecord], None]
) -> dict[TopicPartition, int]:
    """Gives every record from `begin` to the end of now to `take`; returns where that end was."""
    for place, offset in begin.items():
        reader.seek(place, offset)
    ends: dict[TopicPartition, int] = await reader.end_offsets(list(begin))
    left = {place for place, offset in begin.items() if offset < ends[place]}
    moved_s = monotonic_s()
    while left:
        polled = await reader.getmany(*left, timeout_ms=_POLL_MS)
        for place, records in polled.items():
            for record in records:
                take(record)
            if records[-1].offset + 1 >= ends[place]:
                left.discard(place)
        if polled:
            moved_s = monotonic_s()
        elif monotonic_s() - moved_s > _STALLED_S:
            raise TimeoutError(f"nothing came from {left} for {_STALLED_S} s")
    return ends
