"""Publishes messages and returns only when every one of them is acknowledged by all in-sync replicas.

    publish(messages) -> by partition -> lanes: one task per partition, one batch in flight -> acknowledged

* aiokafka's `send` costs some 25 us a message (a future, a partition lookup and a hash in Python each); here a whole
  batch is built at once. Whoever publishes while a batch is in flight joins the next one.
* A lane sends its next batch only after the acknowledgement of the last, so the order within a key holds through any
  failure.
* On any error, also when an acknowledgement does not come in time, everything in flight fails with Transient, the
  producer is thrown away and the next publish builds a new one: an idempotent producer can wedge for good after a
  time without leader. The caller repeats: published twice is allowed, skipped is not.
"""

import asyncio
import struct
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder

from libs.common import metrics
from libs.common.clock import monotonic_s
from libs.common.errors import Failure, Misconfigured, Transient
from libs.common.messages import Message
from libs.common.telemetry import get_logger

if TYPE_CHECKING:
    from libs.common.bus import KafkaSettings

log = get_logger(__name__)

BATCH_BYTES: Final = 512 * 1024
DELIVERY_TIMEOUT_S: Final = 15.0
START_TIMEOUT_S: Final = 15.0
_MULTIPLIER: Final = 0x5BD1E995
_ENVELOPE_BYTES: Final = 16 * 1024
"""Left of a topic's limit for key, headers and Kafka's own fields."""


class OversizeMessage(Failure):
    """The message can never be published to its topic; whoever made it must bound it."""


class Publisher:
    """One producer that heals itself. `required_topics` maps a topic to the least max.message.bytes it must have."""

    def __init__(
        self,
        settings: "KafkaSettings",
        *,
        name: str,
        required_topics: Mapping[str, int] = {},
        delivery_timeout_s: float = DELIVERY_TIMEOUT_S,
        batch_bytes: int = BATCH_BYTES,
    ) -> None:
        self._settings = settings
        self._name = name
        self._required = dict(required_topics)
        self._delivery_timeout_s = delivery_timeout_s
        self._batch_bytes = batch_bytes
        self._limits: dict[str, int] = {}
        self._producer: AIOKafkaProducer | None = None
        self._building = asyncio.Lock()
        self._lanes: dict[tuple[str, int], _Lane] = {}
        self._discarded: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Check the topics and connect. Raises Misconfigured (a topic is missing or too small) or Transient."""
        await self._learn(self._required)
        await self._connected()

    async def stop(self) -> None:
        """Wait for what is in flight, then close. Publishing during the stop fails with Transient."""
        await asyncio.gather(*(lane.work for lane in self._lanes.values() if lane.work), return_exceptions=True)
        producer, self._producer = self._producer, None
        if producer is not None:
            await _discard(producer)
        await asyncio.gather(*self._discarded)

    async def publish(self, messages: Sequence[Message]) -> None:
        """Returns when all are acknowledged; messages with equal topic and key arrive in the order given.

        Raises Transient when some may not have arrived (repeat all of them), OversizeMessage before sending any, and
        Misconfigured when a topic does not exist.
        """
        if not messages:
            return
        started_s = monotonic_s()
        producer = self._producer or await self._connected()
        lots = await self._by_partition(producer, messages)
        if producer is not self._producer:
            raise Transient("the producer was thrown away meanwhile")
        waiting = []
        for place, lot in lots.items():
            lane = self._lanes.get(place)
            if lane is None:
                lane = self._lanes[place] = _Lane(*place)
            waiting.append(lane.put(lot))
            if lane.work is None:
                lane.work = asyncio.create_task(self._empty(producer, lane))
        await asyncio.wait(waiting)
        for future in waiting:
            future.result()
        metrics.KAFKA_PUBLISH_DURATION_MS.observe((monotonic_s() - started_s) * 1000)

    async def _by_partition(
        self, producer: AIOKafkaProducer, messages: Sequence[Message]
    ) -> dict[tuple[str, int], list[Message]]:
        topics = {message.topic for message in messages}
        if not topics <= self._limits.keys():
            await self._learn(dict.fromkeys(topics - self._limits.keys(), 0))
        lots: dict[tuple[str, int], list[Message]] = {}
        for topic in topics:
            limit, count = self._limits[topic] - _ENVELOPE_BYTES, len(await self._partitions(producer, topic))
            its = [message for message in messages if message.topic == topic]
            for message, partition in zip(its, partitions_of([each.key for each in its], count), strict=True):
                if message.value is not None and len(message.value) > limit:
                    raise OversizeMessage(f"a message of {len(message.value)} bytes does not fit into topic {topic}")
                lots.setdefault((topic, partition), []).append(message)
        return lots

    async def _partitions(self, producer: AIOKafkaProducer, topic: str) -> Collection[int]:
        known: Collection[int] | None = producer.client.cluster.partitions_for_topic(topic)
        if known:
            return known
        try:
            async with asyncio.timeout(self._delivery_timeout_s):
                found: Collection[int] = await producer.partitions_for(topic)
        except (KafkaError, TimeoutError) as error:
            raise self._give_up(producer, error) from error
        return found

    async def _learn(self, wanted: Mapping[str, int]) -> None:
        facts = (await self._settings.cluster(wanted.keys())).topics
        for topic, least_bytes in wanted.items():
            if topic not in facts:
                raise Misconfigured(f"Kafka topic {topic} does not exist: create it (deploy/kafka/topics.json).")
            if facts[topic].max_message_bytes < least_bytes:
                raise Misconfigured(
                    f"Kafka topic {topic} takes messages of {facts[topic].max_message_bytes} bytes, {least_bytes} are "
                    "needed: raise its max.message.bytes."
                )
            self._limits[topic] = facts[topic].max_message_bytes

    async def _connected(self) -> AIOKafkaProducer:
        async with self._building:
            if self._producer is None:
                producer = self._settings.producer(self._name, batch_bytes=self._batch_bytes)
                try:
                    async with asyncio.timeout(START_TIMEOUT_S):
                        await producer.start()
                except BaseException as error:
                    await _discard(producer)
                    if not isinstance(error, KafkaError | TimeoutError | OSError):
                        raise
                    raise Transient(f"Kafka at {self._settings.bootstrap} does not answer: {error!r}") from error
                self._producer = producer
            return self._producer

    async def _empty(self, producer: AIOKafkaProducer, lane: "_Lane") -> None:
        """The work of a lane: until nothing waits, build a batch while the one before it is on its way."""
        try:
            batch = lane.fill(producer.create_batch())
            while batch is not None:
                async with asyncio.timeout(self._delivery_timeout_s):
                    arrived = await producer.send_batch(batch, lane.topic, partition=lane.partition)
                    ended, lane.filled = lane.filled, []
                    lane.sent = ended
                    batch = lane.fill(producer.create_batch()) if lane.lots else None
                    await arrived
                lane.sent = []
                for future in ended:
                    future.set_result(None)
                if batch is None and lane.lots:
                    batch = lane.fill(producer.create_batch())
            lane.work = None
        except Exception as error:  # noqa: BLE001 - whatever it was, the producer is not trusted any more
            self._give_up(producer, error)

    def _give_up(self, producer: AIOKafkaProducer, error: BaseException) -> Transient:
        """Fail what is in flight, throw the producer away. Only the first to fail does it."""
        failure = Transient(f"Kafka did not acknowledge: {error!r}")
        if self._producer is producer:
            log.warning("producer-thrown-away", producer=self._name, error=repr(error))
            metrics.KAFKA_PUBLISHER_REBUILT.inc()
            self._producer = None
            lanes, self._lanes = self._lanes, {}
            for lane in lanes.values():
                lane.fail(failure)
            task = asyncio.create_task(_discard(producer))
            self._discarded.add(task)
            task.add_done_callback(self._discarded.discard)
        return failure


class _Lot:
    """The messages of one publish for one partition, and how many are in a batch already."""

    __slots__ = ("future", "messages", "placed")

    def __init__(self, messages: list[Message], future: "asyncio.Future[None]") -> None:
        self.messages = messages
        self.future = future
        self.placed = 0


class _Lane:
    """One partition: lots that wait, futures whose last message is in the batch being built (`filled`) or sent."""

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.lots: deque[_Lot] = deque()
        self.filled: list[asyncio.Future[None]] = []
        self.sent: list[asyncio.Future[None]] = []
        self.work: asyncio.Task[None] | None = None

    def put(self, messages: list[Message]) -> "asyncio.Future[None]":
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lots.append(_Lot(messages, future))
        return future

    def fill(self, builder: BatchBuilder) -> BatchBuilder:
        """Move waiting messages into the batch until it is full or none waits."""
        append = builder.append
        while self.lots:
            lot = self.lots[0]
            messages = lot.messages
            for place in range(lot.placed, len(messages)):
                message = messages[place]
                if append(timestamp=None, key=message.key, value=message.value, headers=message.headers) is None:
                    lot.placed = place
                    return builder
            self.lots.popleft()
            self.filled.append(lot.future)
        return builder

    def fail(self, failure: Transient) -> None:
        for future in chain(self.sent, self.filled, (lot.future for lot in self.lots)):
            if not future.done():
                future.set_exception(Transient(failure.detail))
                future.exception()  # whoever published may have been cancelled
        if self.work is not None and self.work is not asyncio.current_task():
            self.work.cancel()


async def _discard(producer: AIOKafkaProducer) -> None:
    """Close a producer that may never deliver what it holds; its own `stop` would wait for that for ever.

    aiokafka has no public way to do so, hence its sender and its batches are reached for here.
    """
    sender = producer._sender.sender_task
    if sender is not None and not sender.done():
        sender.cancel()
    await producer.client.close()
    if sender is not None and not sender.done():
        _, left = await asyncio.wait([sender], timeout=2)
        for task in left:
            task.cancel()
    held = producer._message_accumulator
    batches = {*chain(*held._batches.values()), *held._pending_batches}
    held._pending_batches.update(batches)  # a batch waiting to be sent again takes itself out of these, and must be in
    for batch in batches:
        batch.failure(KafkaConnectionError("thrown away"))
        batch.future.exception()
        batch._drain_waiter.exception()
    try:
        async with asyncio.timeout(5):
            await producer.stop()
    except (KafkaError, TimeoutError, OSError, KeyError) as error:
        log.warning("producer-left-open", error=repr(error))


def partition_of(key: bytes | None, partitions: int) -> int:
    """The partition of one key."""
    return partitions_of([key], partitions)[0]


def partitions_of(keys: Sequence[bytes | None], partitions: int) -> list[int]:
    """The partitions of keys as Kafka's own clients choose them: murmur2, positive.

    A message without key goes where the empty key goes. Hashing hundreds of keys together takes a quarter of the time.
    """
    by_length: dict[int, list[bytes]] = {}
    for key in {key or b"" for key in keys}:
        by_length.setdefault(len(key), []).append(key)
    hashes = {key: hash_ for alike in by_length.values() for key, hash_ in zip(alike, _murmur2(alike), strict=True)}
    return [(hashes[key or b""] & 0x7FFFFFFF) % partitions for key in keys]


def _murmur2(keys: Sequence[bytes]) -> Sequence[int]:
    """The 32-bit hashes of keys of one length. Source: Austin Appleby's MurmurHash2 with Kafka's seed, 0x9747b28c.

    Each key has 64 bits of one long integer to itself, so that a product of 32 bits and 32 bits stays within them.
    """
    count, length = len(keys), len(keys[0])
    words, rest = divmod(length, 4)
    width = words + bool(rest)
    columns = struct.unpack(f"<{count * width}I", b"".join(key.ljust(4 * width, b"\0") for key in keys))

    def column(place: int) -> int:
        return int.from_bytes(struct.pack(f"<{count}Q", *columns[place::width]), "little")

    ones = int.from_bytes(count * b"\1\0\0\0\0\0\0\0", "little")
    low = ones * 0xFFFFFFFF
    mixed = ones * (0x9747B28C ^ length)
    for place in range(words):
        word = column(place) * _MULTIPLIER & low
        mixed = (mixed * _MULTIPLIER & low) ^ ((word ^ (word >> 24 & ones * 0xFF)) * _MULTIPLIER & low)
    if rest:
        mixed = (mixed ^ column(words)) * _MULTIPLIER & low
    mixed = (mixed ^ (mixed >> 13 & ones * 0x7FFFF)) * _MULTIPLIER & low
    mixed ^= mixed >> 15 & ones * 0x1FFFF
    return struct.unpack(f"<{count}Q", mixed.to_bytes(8 * count, "little"))
