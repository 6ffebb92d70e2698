"""What the consumer does when something fails, when partitions move and when it is told to stop."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka import TopicPartition

from libs.common import metrics
from libs.common.bus import Batch, Consumer, KafkaSettings, Message, partition_of
from libs.common.errors import Misconfigured
from libs.common.inbox import FenceLost, StoredPositions
from tests.common.consumer_bench import Bench, Remembered, has_effect, reached, until

pytestmark = [pytest.mark.kafka, pytest.mark.database]


async def test_a_transient_failure_repeats_the_same_batch_and_others_flow_on(bench: Bench) -> None:
    topic = bench.kafka.unique_topic("two")
    await bench.kafka.create_topics({topic: 2})
    keys = [next(key for key in (b"%d" % n for n in range(99)) if partition_of(key, 2) == place) for place in (0, 1)]
    assert {partition_of(key, 2) for key in keys} == {0, 1}
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
    consumer = bench.consumer(accept, topic=topic, backoff_s=0.4)
    await until(consumer, lambda: has_effect(bench, 3))
    await bench.publish(20, topic=topic, key=keys[0])  # one of these comes while its partition waits
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


def listener(consumer: Consumer[int]) -> Any:
    """What aiokafka calls at a rebalance."""
    assert consumer._kafka is not None
    return consumer._kafka._subscription.listener


async def test_a_rebalance_waits_for_the_batch_in_hand(bench: Bench) -> None:
    await bench.publish(*range(3))
    begun = asyncio.Event()

    async def accept(batch: Batch[int]) -> None:
        begun.set()
        await asyncio.sleep(0.5)
        await bench.accept(batch)

    consumer = bench.consumer(accept)
    running = asyncio.create_task(until(consumer, lambda: reached(bench, 3)))
    await begun.wait()
    assert await bench.effect() == []
    await listener(consumer).on_partitions_revoked([])
    assert await bench.effect() == [0, 1, 2]
    await running


async def test_a_partition_that_comes_back_while_it_is_sought_is_sought_again(bench: Bench) -> None:
    """Kafka's committed offset (5) gives records before the seek to the stored one (3): they are not handled."""
    await bench.publish(*range(5))
    first = bench.consumer()
    await until(first, lambda: reached(bench, 5))
    await asyncio.sleep(0.2)
    await first.stop()
    await bench.publish(*range(5, 8))
    await bench.pool.execute("update consumer_offsets set next_offset = 3")
    await bench.pool.execute("delete from effect where n >= 3")
    stored = StoredPositions(bench.pool)
    loads: list[int] = []

    class Interrupted(Remembered):
        async def load(self, cluster_id: str, topic: str, partitions: Any) -> dict[int, int | None]:
            loads.append(1)
            if len(loads) == 1:
                notes = listener(again)
                await notes.on_partitions_revoked([])
                notes.on_partitions_assigned([TopicPartition(bench.topic, 0)])
                await asyncio.sleep(0.5)
            return await stored.load(cluster_id, topic, partitions)

    again = bench.consumer(positions=Interrupted())
    assert await again.step() == 0
    assert await bench.position() == 3
    await until(again, lambda: reached(bench, 8))
    assert await bench.effect() == [0, 1, 2, 3, 4, 5, 6, 7]


async def test_a_batch_that_waits_is_forgotten_when_its_partition_goes(bench: Bench) -> None:
    await bench.publish(*range(3))
    tries: list[Batch[int]] = []

    async def accept(batch: Batch[int]) -> None:
        tries.append(batch)
        if len(tries) == 1:
            raise ConnectionResetError("the database went away")
        await bench.accept(batch)

    consumer = bench.consumer(accept)
    while not tries:
        await consumer.step()
    notes = listener(consumer)
    await notes.on_partitions_revoked([])
    notes.on_partitions_assigned([TopicPartition(bench.topic, 0)])
    consumer._kafka.resume(TopicPartition(bench.topic, 0))  # type: ignore[union-attr] # as a new assignment is
    await until(consumer, lambda: reached(bench, 3))
    assert tries[1] is not tries[0]
    assert await bench.effect() == [0, 1, 2]


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
