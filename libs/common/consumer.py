"""The loop that reads one topic into a service, batch by batch, each of one partition.

    assignment -> positions from the database -> seek          nothing is handled before its partition was sought
    fetch (in the background, while the batch before is handled)
      -> decode each record: a value, or Poison -> dead letter, acknowledged before the batch is accepted
      -> accept(batch): the service's own transaction with the fence (inbox.advance) and the effect
      -> position moves on; Kafka's committed offset follows once a second for lag tools, and may fail

    accept raises   FenceLost            the position is read again, the reader goes on from there
                    a transient error    the partition is paused, the batch comes again with backoff; heartbeats go on
                    anything else        the process stops

aiokafka swallows what is raised in its rebalance callbacks, and may hand out records of a new assignment before the
callback ran. So the callbacks here only take note; seeking is done in the loop, and records of a partition that was
not sought since its last assignment are dropped. Batches of different partitions are handled side by side.

What comes after a quiet time is taken at once. While records follow one another, they gather for `pace_s` from one poll
to the next, for a batch costs nearly the same for two records as for two hundred; full batches are not waited for.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, Protocol, TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError, NoOffsetForPartitionError, OffsetOutOfRangeError

from libs.common import metrics
from libs.common.clock import monotonic_s, now
from libs.common.db import transient
from libs.common.dead_letters import DEFAULT_LIMITS, DeadLetterCount, DeadLetterLimits, dead_letter
from libs.common.errors import Misconfigured, Poison, Transient
from libs.common.inbox import FenceLost, PositionLost
from libs.common.messages import Message
from libs.common.publisher import Publisher
from libs.common.telemetry import get_logger

if TYPE_CHECKING:
    from libs.common.bus import KafkaSettings

log = get_logger(__name__)

T = TypeVar("T")

POLL_MS: Final = 200
COMMIT_EVERY_S: Final = 1.0
BACKOFF_S: Final = 0.1
BACKOFF_MAX_S: Final = 30.0
_COMMIT_TIMEOUT_S: Final = 5.0
_START_TIMEOUT_S: Final = 90.0
_REVOKE_TIMEOUT_S: Final = 45.0
_STOP_TIMEOUT_S: Final = 10.0
_DECODED_AT_ONCE: Final = 200


class Decoded(NamedTuple, Generic[T]):
    """A record and what it says."""

    record: ConsumerRecord
    value: T


@dataclass(frozen=True, slots=True)
class Batch(Generic[T]):
    """Consecutive records of one partition; the fence moves from `expected` to `next_offset`. `items` may be empty."""

    cluster_id: str
    topic: str
    partition: int
    expected: int
    next_offset: int
    items: Sequence[Decoded[T]]


class Positions(Protocol):
    """Where the reader's positions are kept; `inbox.StoredPositions` keeps them in PostgreSQL."""

    async def load(self, cluster_id: str, topic: str, partitions: Collection[int]) -> dict[int, int | None]:
        """Partition -> next offset or None where none was ever stored. Raises PositionLost for another cluster's."""
        ...

    async def start(self, cluster_id: str, topic: str, offsets: Mapping[int, int]) -> None:
        """Store first positions, leaving those that are there."""
        ...


@dataclass(slots=True)
class _Held(Generic[T]):
    """A batch until it is accepted."""

    place: TopicPartition
    batch: Batch[T]
    dead_letters: list[tuple[Message, str]]
    timestamp_ms: int
    tries: int = 0
    due_s: float = 0.0


@dataclass(slots=True)
class _Assignment:
    """What the rebalance callbacks note and the loop acts upon. `number` tells one assignment from the next."""

    number: int = 0
    unsought: set[TopicPartition] = field(default_factory=set)
    positions: dict[TopicPartition, int] = field(default_factory=dict)
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while no batch is in hand."""


class _Notes(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka has no types
    def __init__(self, assignment: _Assignment) -> None:
        self._assignment = assignment

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:  # noqa: ARG002
        self._assignment.number += 1
        self._assignment.positions.clear()
        self._assignment.unsought.clear()
        with suppress(TimeoutError):  # the fence keeps a batch that takes longer from having an effect
            await asyncio.wait_for(self._assignment.idle.wait(), _REVOKE_TIMEOUT_S)

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self._assignment.number += 1
        self._assignment.unsought = set(assigned)


class Consumer(Generic[T]):
    """Reads `topic` as `member` of `group`: `await run(stopping)`, or `await step()` one poll at a time in a test.

    `member` is a name that stays the same over restarts (static membership: a restart moves no partition). `decode`
    gives a record's value or raises Poison; `accept` handles a batch in one transaction. `max_records` bounds one poll;
    `pace_s` is how long records gather while they follow one another, 0 where others gather them.
    """

    def __init__(
        self,
        settings: "KafkaSettings",
        *,
        topic: str,
        group: str,
        member: str | None,
        positions: Positions,
        decode: Callable[[ConsumerRecord], T],
        accept: Callable[[Batch[T]], Awaitable[None]],
        dead_letters: Publisher,
        limits: DeadLetterLimits = DEFAULT_LIMITS,
        max_records: int = 500,
        pace_s: float = 0.0,
        backoff_s: float = BACKOFF_S,
        backoff_max_s: float = BACKOFF_MAX_S,
    ) -> None:
        self.topic = topic
        self._settings = settings
        self._group, self._member = group, member
        self._positions = positions
        self._decode, self._accept = decode, accept
        self._dead_letters = dead_letters
        self._count = DeadLetterCount(limits)
        self._max_records, self._pace_s = max_records, pace_s
        self._polled_s = 0.0
        self._backoff_s, self._backoff_max_s = backoff_s, backoff_max_s
        self._cluster_id = ""
        self._assignment = _Assignment()
        self._assignment.idle.set()
        self._held: dict[TopicPartition, _Held[T]] = {}
        self._kafka: AIOKafkaConsumer | None = None
        self._to_commit: dict[TopicPartition, int] = {}
        self._committing: asyncio.Task[None] | None = None
        self._leaving = asyncio.Event()
        self._batch_records = metrics.KAFKA_CONSUMER_BATCH_RECORDS.labels(topic)
        self._retries = metrics.KAFKA_CONSUMER_RETRIES.labels(topic)

    async def run(self, stopping: asyncio.Event) -> None:
        """Read until `stopping` is set, finishing the batch in hand. Raises what must stop the process."""
        failed = 0
        try:
            while not stopping.is_set():
                try:
                    accepted = await self.step()
                    failed = 0
                    if 0 < accepted < self._max_records:
                        await self._gather(stopping)
                except Exception as error:
                    if not transient(error):
                        raise
                    failed += 1
                    log.warning("consumer-waits", topic=self.topic, failed=failed, error=str(error))
                    with suppress(TimeoutError):
                        await asyncio.wait_for(stopping.wait(), self._wait_s(failed))
        finally:
            await self.stop()

    async def step(self) -> int:
        """Start or seek where that is due, then one poll: gives the number of records whose batches were accepted.

        Raises Transient (call again), or what must stop the process: PositionLost, TooManyDeadLetters, Misconfigured
        and any defect of `decode` or `accept`.
        """
        kafka = self._kafka or await self._start()
        self._forget_revoked()
        if self._assignment.unsought:
            await self._seek(kafka, self._assignment.number)
        number = self._assignment.number
        held = [held for held in self._held.values() if held.due_s <= monotonic_s()]
        for place, records in (await self._poll(kafka)).items():
            expected = self._assignment.positions.get(place)
            if expected is not None:
                assert place not in self._held, "a partition whose batch waits is paused"
                fresh = self._held[place] = await self._decoded(place, expected, records)
                held.append(fresh)
        if not held or self._assignment.number != number:
            return 0
        self._assignment.idle.clear()
        try:
            return await self._settle_all(kafka, held, number)
        finally:
            self._assignment.idle.set()

    async def stop(self) -> None:
        """Leave Kafka. The group keeps this member's partitions for it until the session times out."""
        kafka, self._kafka = self._kafka, None
        self._leaving.set()
        if self._committing is not None:
            await asyncio.wait([self._committing], timeout=1)
        if kafka is not None:
            try:
                async with asyncio.timeout(_STOP_TIMEOUT_S):
                    await kafka.stop()
            except (KafkaError, TimeoutError) as error:
                log.warning("consumer-left-open", topic=self.topic, error=repr(error))

    async def _start(self) -> AIOKafkaConsumer:
        cluster = await self._settings.cluster([self.topic])
        if self.topic not in cluster.topics:
            raise Misconfigured(f"Kafka topic {self.topic} does not exist: create it (deploy/kafka/topics.json).")
        kafka = self._settings.consumer(self._group, self._member)
        kafka.subscribe([self.topic], listener=_Notes(self._assignment))
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await kafka.start()
        except BaseException as error:
            await kafka.stop()
            raise _judged(error) from error
        self._kafka = kafka
        self._leaving.clear()
        return kafka

    async def _gather(self, stopping: asyncio.Event) -> None:
        """Until the next poll is due."""
        if (left_s := self._polled_s + self._pace_s - monotonic_s()) > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), left_s)

    def _forget_revoked(self) -> None:
        for place in [place for place in self._held if place not in self._assignment.positions]:
            del self._held[place]
            _show_lag(place, None)

    async def _seek(self, kafka: AIOKafkaConsumer, number: int) -> None:
        """Read the stored positions and seek to them; where none was ever stored, the earliest is stored first.

        When the assignment changes meanwhile, nothing is kept: the next step does it for the new one.
        """
        places = sorted(self._assignment.unsought)
        ids = [place.partition for place in places]
        cluster_id = (await self._settings.cluster([])).cluster_id
        stored = await self._positions.load(cluster_id, self.topic, ids)
        if new := [place for place in places if stored[place.partition] is None]:
            try:
                first = await kafka.beginning_offsets(new)
            except KafkaError as error:
                raise _judged(error) from error
            await self._positions.start(cluster_id, self.topic, {place.partition: first[place] for place in new})
            stored = await self._positions.load(cluster_id, self.topic, ids)
            log.info("first-positions-stored", topic=self.topic, partitions=[place.partition for place in new])
        if self._assignment.number != number:
            return
        self._cluster_id = cluster_id
        for place in places:
            offset = stored[place.partition]
            assert offset is not None, "a position that was stored is there"
            kafka.seek(place, offset)
            self._assignment.positions[place] = offset
        self._assignment.unsought.difference_update(places)

    async def _poll(self, kafka: AIOKafkaConsumer) -> dict[TopicPartition, list[ConsumerRecord]]:
        due_s = min((held.due_s for held in self._held.values()), default=float("inf")) - monotonic_s()
        timeout_ms = max(0, min(POLL_MS, int(due_s * 1000) if self._held else POLL_MS))
        try:
            polled: dict[TopicPartition, list[ConsumerRecord]] = await kafka.getmany(
                timeout_ms=timeout_ms, max_records=self._max_records
            )
        except OffsetOutOfRangeError as error:
            raise PositionLost(
                f"Kafka has no record at the stored position of topic {self.topic} ({error}): it was deleted by "
                "retention, or the log lost its end. Nothing is skipped; follow the runbook on lost positions."
            ) from error
        except NoOffsetForPartitionError:
            return {}  # asked for before the first seek; the seek settles it
        except KafkaError as error:
            raise _judged(error) from error
        self._polled_s = monotonic_s()
        return polled

    async def _decoded(self, place: TopicPartition, expected: int, records: list[ConsumerRecord]) -> _Held[T]:
        assert records[0].offset >= expected, "a record from before the position sought"
        items: list[Decoded[T]] = []
        letters: list[tuple[Message, str]] = []
        for number, record in enumerate(records, 1):
            try:
                items.append(Decoded(record, self._decode(record)))
                self._count.decoded()
            except Poison as poison:
                log.warning(
                    "poison", topic=place.topic, partition=place.partition, offset=record.offset, error=str(poison)
                )
                self._count.poisoned(place.topic, poison)
                letters.append((dead_letter(record, poison, group=self._group), poison.code))
            if number % _DECODED_AT_ONCE == 0:
                await asyncio.sleep(0)  # heartbeats and requests run on this loop too
        last = records[-1]
        batch = Batch(self._cluster_id, place.topic, place.partition, expected, last.offset + 1, items)
        self._batch_records.observe(len(records))
        return _Held(place, batch, letters, last.timestamp)

    async def _settle_all(self, kafka: AIOKafkaConsumer, held: list[_Held[T]], number: int) -> int:
        if len(held) == 1:
            return await self._settle(kafka, held[0], number)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._settle(kafka, each, number)) for each in held]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        return sum(task.result() for task in tasks)

    async def _settle(self, kafka: AIOKafkaConsumer, held: _Held[T], number: int) -> int:
        """Dead letters, then the service; afterwards the position moves, or the partition waits."""
        try:
            if held.dead_letters:
                await self._dead_letters.publish([letter for letter, _ in held.dead_letters])
                for _, code in held.dead_letters:
                    metrics.KAFKA_DEAD_LETTERS.labels(self.topic, code).inc()
                held.dead_letters = []
            await self._accept(held.batch)
        except Exception as error:
            if not transient(error):
                raise
            self._hold(kafka, held, number, error)
            return 0
        if self._assignment.number == number:
            self._assignment.positions[held.place] = held.batch.next_offset
            del self._held[held.place]
            if held.tries:
                kafka.resume(held.place)
            self._follow(kafka, held)
        return len(held.batch.items)

    def _hold(self, kafka: AIOKafkaConsumer, held: _Held[T], number: int, error: Exception) -> None:
        """Pause the partition and let the batch come again; after a lost fence its position is read again instead."""
        held.tries += 1
        held.due_s = monotonic_s() + self._wait_s(held.tries)
        self._retries.inc()
        place = held.place
        _show_age(place, held.timestamp_ms)
        log.warning(
            "batch-waits",
            topic=place.topic,
            partition=place.partition,
            tries=held.tries,
            error=str(error) or repr(error),
        )
        if self._assignment.number != number:
            return
        if isinstance(error, FenceLost):
            del self._held[place]
            del self._assignment.positions[place]
            self._assignment.unsought.add(place)
        else:
            kafka.pause(place)

    def _wait_s(self, failed: int) -> float:
        """Exponential with full jitter, so that instances do not come back in step."""
        most = min(self._backoff_max_s, self._backoff_s * 2 ** min(failed, 20))
        return random.uniform(most / 2, most)  # noqa: S311

    def _follow(self, kafka: AIOKafkaConsumer, held: _Held[T]) -> None:
        end = kafka.highwater(held.place)
        lag = 0 if end is None else max(0, end - held.batch.next_offset)
        _show_lag(held.place, lag)
        _show_age(held.place, held.timestamp_ms if lag else None)
        self._to_commit[held.place] = held.batch.next_offset
        if self._committing is None or self._committing.done():
            self._committing = asyncio.create_task(self._commit(kafka))

    async def _commit(self, kafka: AIOKafkaConsumer) -> None:
        """Tell Kafka how far we are, for tools that show lag. Our position is in the database."""
        while self._to_commit:
            offsets, self._to_commit = self._to_commit, {}
            try:
                async with asyncio.timeout(_COMMIT_TIMEOUT_S):
                    await kafka.commit(offsets)
            except (KafkaError, TimeoutError) as error:
                log.info("offset-commit-failed", topic=self.topic, error=repr(error))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), COMMIT_EVERY_S)


def _judged(error: BaseException) -> BaseException:
    """Transient where Kafka may answer later, else the error as it is: it stops the process."""
    if isinstance(error, TimeoutError | KafkaTimeoutError) or (isinstance(error, KafkaError) and error.retriable):
        return Transient(f"Kafka does not answer: {error!r}")
    return error


def _show_lag(place: TopicPartition, lag: int | None) -> None:
    """None: the partition is not ours any more, so its series end here."""
    labels = (place.topic, str(place.partition))
    if lag is not None:
        metrics.KAFKA_CONSUMER_LAG_RECORDS.labels(*labels).set(lag)
        return
    for gauge in (metrics.KAFKA_CONSUMER_LAG_RECORDS, metrics.KAFKA_CONSUMER_AGE_SECONDS):
        with suppress(KeyError):
            gauge.remove(*labels)


def _show_age(place: TopicPartition, timestamp_ms: int | None) -> None:
    age_s = 0.0 if timestamp_ms is None else max(0.0, now().timestamp() - timestamp_ms / 1000)
    metrics.KAFKA_CONSUMER_AGE_SECONDS.labels(place.topic, str(place.partition)).set(age_s)
