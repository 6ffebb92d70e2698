"""The consumer's loop against a real broker and a real database: each of its promises, and each trap it steps over."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import RecordsToDelete

from libs.common import db, inbox, metrics
from libs.common.bus import (
    Batch,
    Consumer,
    DeadLetterLimits,
    KafkaSettings,
    Message,
    Publisher,
    TooManyDeadLetters,
)
from libs.common.errors import Misconfigured, Poison, Transient
from libs.common.inbox import FenceLost, PositionLost, StoredPositions
from tests.support.kafka import KafkaBroker
from tests.support.postgres import PostgresServer

pytestmark = [pytest.mark.kafka, pytest.mark.database]


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


@pytest.fixture(scope="module")
async def pool(postgres: PostgresServer) -> AsyncIterator[db.Pool]:
    async with postgres.database() as dsn:
        pool = await db.create_pool(dsn, name="consumer", max_size=6)
        await pool.execute(inbox.DDL)
        await pool.execute("create table effect (n int unique, place bigint generated always as identity)")
        yield pool
        await pool.close()


@pytest.fixture
async def bench(kafka: KafkaBroker, pool: db.Pool) -> AsyncIterator[Bench]:
    topic = kafka.unique_topic("read")
    await kafka.create_topics({topic: 1, f"{topic}.dead-letter": 1})
    await pool.execute("truncate effect, consumer_offsets, inbox")
    publisher = Publisher(KafkaSettings(kafka.bootstrap), name="bench")
    await publisher.start()
    bench = Bench(kafka, pool, topic, publisher)
    yield bench
    for consumer in bench.consumers:
        await consumer.stop()
    await publisher.stop()


async def test_it_starts_at_the_earliest_and_stores_that(bench: Bench) -> None:
    await bench.publish(*range(10))
    consumer = bench.consumer(max_records=4)
    while await consumer.step() == 0:
        assert await bench.position() in (None, 0)
    assert await bench.effect() == [0, 1, 2, 3]
    assert await bench.position() == 4


async def test_it_goes_on_from_the_stored_position_and_not_from_kafkas(bench: Bench) -> None:
    await bench.publish(*range(10))
    first = bench.consumer()
    await until(first, lambda: reached(bench, 10))
    await asyncio.sleep(0.2)  # Kafka's own committed offset is 10 now
    await first.stop()
    await bench.pool.execute("update consumer_offsets set next_offset = 6")
    await bench.pool.execute("truncate effect")
    again = bench.consumer()
    await until(again, lambda: reached(bench, 10))
    assert await bench.effect() == [6, 7, 8, 9]


async def reached(bench: Bench, offset: int) -> bool:
    return await bench.position() == offset


async def test_holes_between_offsets_do_not_disturb_the_fence(bench: Bench) -> None:
    """A transaction's end takes an offset of its own, and an aborted one takes all of its."""
    async with AIOKafkaProducer(
        bootstrap_servers=bench.kafka.bootstrap, transactional_id=f"tx-{bench.topic}"
    ) as producer:
        for number in range(3):
            async with producer.transaction():
                await producer.send_and_wait(bench.topic, str(number).encode(), b"k")
            with suppress(ZeroDivisionError):
                async with producer.transaction():
                    await producer.send_and_wait(bench.topic, b"99", b"k")
                    raise ZeroDivisionError
    await bench.publish(3)
    consumer = bench.consumer()
    await until(consumer, lambda: has_effect(bench, 4))
    assert await bench.effect() == [0, 1, 2, 3]
    assert await bench.position() == 13


async def has_effect(bench: Bench, count: int) -> bool:
    return len(await bench.effect()) >= count


async def test_another_clusters_position_stops_it(bench: Bench) -> None:
    await StoredPositions(bench.pool).start("elsewhere", bench.topic, {0: 3})
    with pytest.raises(PositionLost, match="belongs to Kafka cluster elsewhere"):
        await bench.consumer().run(asyncio.Event())


@pytest.mark.parametrize("stored", [5_000, 2], ids=["after the end", "before the beginning"])
async def test_a_position_out_of_range_stops_it(bench: Bench, stored: int) -> None:
    await bench.publish(*range(10))
    cluster = await bench.settings.cluster([])
    async with bench.settings.admin() as admin:
        await admin.delete_records({TopicPartition(bench.topic, 0): RecordsToDelete(before_offset=5)})
    await StoredPositions(bench.pool).start(cluster.cluster_id, bench.topic, {0: stored})
    with pytest.raises(PositionLost, match="no record at the stored position"):
        await bench.consumer().run(asyncio.Event())
    assert await bench.effect() == []


async def test_a_failed_seek_stops_it(bench: Bench) -> None:
    class Failing(Remembered):
        async def load(self, cluster_id: str, topic: str, partitions: Any) -> dict[int, int | None]:
            raise LookupError("positions unreadable")

    with pytest.raises(LookupError, match="positions unreadable"):
        await bench.consumer(positions=Failing()).run(asyncio.Event())


async def test_nothing_is_handled_before_its_partition_was_sought(bench: Bench) -> None:
    """While positions cannot be loaded, records that Kafka's committed offset would give are not touched."""
    await bench.publish(*range(5))
    first = bench.consumer()
    await until(first, lambda: reached(bench, 5))
    await asyncio.sleep(0.2)
    await first.stop()
    await bench.publish(*range(5, 8))
    stored = StoredPositions(bench.pool)

    class Late(Remembered):
        tries = 0

        async def load(self, cluster_id: str, topic: str, partitions: Any) -> dict[int, int | None]:
            self.tries += 1
            if self.tries < 4:
                await asyncio.sleep(0.3)  # long enough for a fetch from Kafka's committed offset
                raise Transient("the database is down")
            return await stored.load(cluster_id, topic, partitions)

    await bench.pool.execute("update consumer_offsets set next_offset = 3")
    await bench.pool.execute("delete from effect where n >= 3")
    batches: list[Batch[int]] = []

    async def accept(batch: Batch[int]) -> None:
        batches.append(batch)
        await bench.accept(batch)

    again = bench.consumer(accept, positions=Late())
    stopping = asyncio.Event()
    running = asyncio.create_task(again.run(stopping))
    async with asyncio.timeout(20):
        while await bench.position() != 8:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    stopping.set()
    await running
    assert batches[0].expected == 3
    assert await bench.effect() == [0, 1, 2, 3, 4, 5, 6, 7]


async def test_poison_becomes_a_dead_letter_and_the_rest_goes_on(bench: Bench) -> None:
    await bench.publish(0, "zero", 1)
    await bench.publisher.publish([Message(bench.topic, b"k", None, [("ce_id", b"e-9"), ("traceparent", b"t")])])
    await bench.publish(2)
    consumer = bench.consumer()
    await until(consumer, lambda: reached(bench, 5))
    assert await bench.effect() == [0, 1, 2]
    unreadable, null = await bench.dead_letters()
    assert (unreadable.key, unreadable.value) == (b"k", b"zero")
    about = dict(unreadable.headers)
    assert {name: about[f"dead_letter_{name}"] for name in ("topic", "partition", "offset", "code", "detail")} == {
        "topic": bench.topic.encode(),
        "partition": b"0",
        "offset": b"1",
        "code": b"not-a-number",
        "detail": b"b'zero' is no number",
    }
    assert null.value is None
    assert dict(null.headers)["ce_id"] == b"e-9"
    assert dict(null.headers)["dead_letter_value_was_null"] == b"true"
    assert metrics.KAFKA_DEAD_LETTERS.labels(bench.topic, "not-a-number")._value.get() == 2


async def test_a_dead_letter_is_acknowledged_before_the_batch_commits(bench: Bench) -> None:
    seen: list[int] = []

    async def accept(batch: Batch[int]) -> None:
        seen.append(len(await bench.dead_letters()))
        await bench.accept(batch)

    await bench.publish(0, "zero")
    consumer = bench.consumer(accept)
    await until(consumer, lambda: reached(bench, 2))
    assert seen == [1]


async def test_a_dead_letter_that_cannot_be_written_keeps_the_batch_from_committing(bench: Bench) -> None:
    await bench.publish(0, "zero")
    nowhere = Publisher(KafkaSettings("127.0.0.1:1"), name="nowhere")
    consumer = bench.consumer(dead_letters=nowhere)
    for _ in range(6):
        await consumer.step()
    assert await bench.effect() == []
    assert await bench.position() == 0


async def test_a_missing_dead_letter_topic_stops_it(bench: Bench) -> None:
    topic = bench.kafka.unique_topic("without")
    await bench.kafka.create_topics({topic: 1})
    await bench.publish("zero", topic=topic)
    with pytest.raises(Misconfigured, match="dead-letter does not exist"):
        await bench.consumer(topic=topic).run(asyncio.Event())


@pytest.mark.parametrize(
    ("limits", "values"),
    [
        (DeadLetterLimits(consecutive=3, most=100, window=100), [0, "a", "b", "c", 1]),
        (DeadLetterLimits(consecutive=2, most=100, window=100), [0, "a", "b", "c", 1]),
        (DeadLetterLimits(consecutive=100, most=2, window=100), ["a", 0, "b", 1, "c"]),
        (DeadLetterLimits(consecutive=100, most=2, window=3), ["a", 0, "b", 1, "c"]),
    ],
    ids=["as many in a row as allowed", "one more in a row", "one more in the window", "spread beyond the window"],
)
async def test_too_many_dead_letters_stop_it_and_skip_nothing(
    bench: Bench, limits: DeadLetterLimits, values: list[object]
) -> None:
    await bench.publish(*values)
    consumer = bench.consumer(limits=limits)
    if limits.consecutive == 3 or limits.window == 3:
        await until(consumer, lambda: reached(bench, 5))
        assert len(await bench.dead_letters()) == 3
        return
    with pytest.raises(TooManyDeadLetters, match=r"nothing of this batch was skipped"):
        await consumer.run(asyncio.Event())
    assert await bench.position() == 0
    assert await bench.dead_letters() == []


async def test_a_transient_failure_repeats_the_same_batch_and_others_flow_on(bench: Bench) -> None:
    topic = bench.kafka.unique_topic("two")
    await bench.kafka.create_topics({topic: 2})
    keys = {0: b"k", 1: b"a"}  # one of each partition
    await bench.publish(*range(3), topic=topic, key=keys[0])
    await bench.publish(*range(10, 13), topic=topic, key=keys[1])
    tries: dict[int, list[Batch[int]]] = {0: [], 1: []}
    sick: set[int] = set()

    async def accept(batch: Batch[int]) -> None:
        if not sick:
            sick.add(batch.partition)
        tries[batch.partition].append(batch)
        if batch.partition in sick and len(tries[batch.partition]) < 4:
            raise ConnectionResetError("the database went away")
        await bench.accept(batch)

    before = metrics.KAFKA_CONSUMER_RETRIES.labels(topic)._value.get()
    consumer = bench.consumer(accept, topic=topic)
    await until(consumer, lambda: has_effect(bench, 3))
    await bench.publish(20, topic=topic, key=keys[0])
    await bench.publish(30, topic=topic, key=keys[1])
    await until(consumer, lambda: has_effect(bench, 8))
    repeated = tries[next(iter(sick))]
    assert repeated[0] is repeated[1] is repeated[2] is repeated[3]
    assert sorted(await bench.effect()) == [0, 1, 2, 10, 11, 12, 20, 30]
    assert metrics.KAFKA_CONSUMER_RETRIES.labels(topic)._value.get() == before + 3


async def test_backoff_grows(bench: Bench) -> None:
    consumer = bench.consumer(backoff_s=0.1, backoff_max_s=1.0)
    waits = [consumer._wait_s(failed) for failed in range(1, 9)]
    assert all(wait <= 1.0 for wait in waits)
    assert waits[0] <= 0.2 < 0.5 <= waits[-1]


async def test_a_defect_of_the_handler_stops_it(bench: Bench) -> None:
    async def accept(batch: Batch[int]) -> None:
        raise KeyError("a defect")

    await bench.publish(0)
    with pytest.raises(KeyError, match="a defect"):
        await bench.consumer(accept).run(asyncio.Event())


async def test_a_lost_fence_reads_the_position_again(bench: Bench) -> None:
    await bench.publish(*range(4))
    lost: list[int] = []

    async def accept(batch: Batch[int]) -> None:
        if not lost:  # another consumer is faster and handles the first two
            await bench.pool.execute("insert into effect values (0), (1)")
            await bench.pool.execute("update consumer_offsets set next_offset = 2")
        try:
            await bench.accept(batch)
        except FenceLost:
            lost.append(batch.expected)
            raise

    consumer = bench.consumer(accept)
    await until(consumer, lambda: reached(bench, 4))
    assert lost == [0]
    assert await bench.effect() == [0, 1, 2, 3]


async def test_a_commit_whose_answer_was_lost_has_its_effect_once(bench: Bench) -> None:
    await bench.publish(*range(3))
    answered: list[bool] = []

    async def accept(batch: Batch[int]) -> None:
        await bench.accept(batch)
        if not answered:
            answered.append(True)
            raise ConnectionResetError("committed, but the answer was lost")

    consumer = bench.consumer(accept)
    await bench.publish(3)
    await until(consumer, lambda: reached(bench, 4))
    for _ in range(5):
        await consumer.step()
    assert await bench.effect() == [0, 1, 2, 3]


async def test_partitions_move_to_a_second_member_and_nothing_is_done_twice(bench: Bench) -> None:
    topic = bench.kafka.unique_topic("moving")
    await bench.kafka.create_topics({topic: 4})
    seen: list[tuple[str, int]] = []

    def by(name: str) -> Callable[[Batch[int]], Awaitable[None]]:
        async def accept(batch: Batch[int]) -> None:
            await asyncio.sleep(0.01)
            await bench.accept(batch)
            seen.append((name, batch.partition))

        return accept

    stopping = asyncio.Event()
    running = []
    for name in ("one", "two"):
        consumer = bench.consumer(by(name), topic=topic, member=name, max_records=5)
        running.append(asyncio.create_task(consumer.run(stopping)))
        await bench.publisher.publish(
            [Message(topic, str(n).encode(), str(n + len(running) * 1000).encode()) for n in range(400)]
        )
        async with asyncio.timeout(40):
            while not await has_effect(bench, 400 * len(running)):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    async with asyncio.timeout(40):
        while {name for name, _ in seen[-40:]} != {"one", "two"}:
            await bench.publisher.publish(
                [Message(topic, str(n).encode(), str(n + 10_000 + len(seen) * 100).encode()) for n in range(40)]
            )
            await asyncio.sleep(0.5)
    stopping.set()
    await asyncio.gather(*running)
    numbers = await bench.effect()
    assert len(numbers) == len(set(numbers))


async def test_stop_finishes_the_batch_in_hand(bench: Bench) -> None:
    await bench.publish(*range(3))
    begun, stopping = asyncio.Event(), asyncio.Event()

    async def accept(batch: Batch[int]) -> None:
        begun.set()
        await asyncio.sleep(0.3)
        await bench.accept(batch)

    running = asyncio.create_task(bench.consumer(accept).run(stopping))
    await begun.wait()
    stopping.set()
    await running
    assert await bench.effect() == [0, 1, 2]


async def test_a_missing_topic_is_misconfigured(bench: Bench) -> None:
    with pytest.raises(Misconfigured, match=r"no\.such\.topic does not exist"):
        await bench.consumer(topic="no.such.topic").step()


async def test_no_broker_is_waited_for(bench: Bench) -> None:
    consumer = bench.consumer()
    consumer._settings = KafkaSettings("127.0.0.1:1")
    stopping = asyncio.Event()
    running = asyncio.create_task(consumer.run(stopping))
    await asyncio.sleep(0.3)
    assert not running.done()
    stopping.set()
    await running


async def test_lag_and_age_are_shown(bench: Bench) -> None:
    await bench.publish(*range(10))
    consumer = bench.consumer(max_records=4)
    while await consumer.step() == 0:
        pass
    assert metrics.KAFKA_CONSUMER_LAG_RECORDS.labels(bench.topic, "0")._value.get() == 6
    assert metrics.KAFKA_CONSUMER_AGE_SECONDS.labels(bench.topic, "0")._value.get() > 0
    await until(consumer, lambda: reached(bench, 10))
    assert metrics.KAFKA_CONSUMER_LAG_RECORDS.labels(bench.topic, "0")._value.get() == 0
    assert metrics.KAFKA_CONSUMER_AGE_SECONDS.labels(bench.topic, "0")._value.get() == 0


async def test_the_clients_have_the_safe_settings(bench: Bench) -> None:
    consumer = bench.settings.consumer("g", "m")
    assert (consumer._auto_offset_reset, consumer._enable_auto_commit) == ("none", False)
    assert (consumer._isolation_level, consumer._group_instance_id) == ("read_committed", "m")
    assert consumer._rebalance_timeout_ms > consumer._session_timeout_ms
    await consumer.stop()
    producer = bench.settings.producer("p", batch_bytes=1)
    assert producer._sender._acks == -1
    assert producer._txn_manager is not None  # idempotent
    await producer.client.close()
    producer._closed = True
