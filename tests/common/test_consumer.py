"""What the consumer reads from where, and what becomes of records it cannot decode: real broker, real database."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete

from libs.common import metrics
from libs.common.bus import (
    Batch,
    DeadLetterLimits,
    KafkaSettings,
    Message,
    Publisher,
    TooManyDeadLetters,
)
from libs.common.errors import Misconfigured, Transient
from libs.common.inbox import PositionLost, StoredPositions
from tests.common.consumer_bench import Bench, Remembered, eventually, has_effect, reached, until

pytestmark = [pytest.mark.kafka, pytest.mark.database]


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


async def test_records_that_follow_one_another_gather(bench: Bench) -> None:
    """The first is taken at once; the others in few batches, however they come."""
    sizes: list[int] = []

    async def accept(batch: Batch[int]) -> None:
        sizes.append(len(batch.items))
        await bench.accept(batch)

    stopping = asyncio.Event()
    await bench.publish(0)
    running = asyncio.create_task(bench.consumer(accept, pace_s=1.0).run(stopping))
    await eventually(lambda: has_effect(bench, 1))
    for number in range(1, 21):
        await bench.publish(number)
        await asyncio.sleep(0.02)
    await eventually(lambda: has_effect(bench, 21))
    stopping.set()
    await running
    assert (sizes[0], sum(sizes)) == (1, 21)
    assert len(sizes) <= 7, sizes


async def test_kafka_is_told_how_far_it_came_once_a_second_and_at_the_stop(bench: Bench) -> None:
    consumer = bench.consumer()
    place = TopicPartition(bench.topic, 0)

    async def told(offset: int) -> bool:
        async with bench.settings.admin() as admin:
            committed = await admin.list_consumer_group_offsets(f"g-{bench.topic}")
        return place in committed and committed[place].offset == offset

    await bench.publish(0)
    await until(consumer, lambda: reached(bench, 1))
    await eventually(lambda: told(1))
    await bench.publish(1, 2)
    await until(consumer, lambda: reached(bench, 3))
    await consumer.stop()
    assert await told(3)


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
        await asyncio.wait_for(bench.consumer().run(asyncio.Event()), 30)
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
        await asyncio.wait_for(consumer.run(asyncio.Event()), 20)
    assert await bench.position() == 0
    assert await bench.dead_letters() == []
