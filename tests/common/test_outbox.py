"""The outbox on a real PostgreSQL: leaves with the transaction, in order, at least once, by one relay at a time."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from libs.common import db, metrics, outbox
from libs.common.bus import KafkaSettings, Message, OversizeMessage, Publisher
from libs.common.consumer import Batch, Consumer
from libs.common.errors import Transient
from tests.common.consumer_bench import Remembered
from tests.support.kafka import KafkaBroker
from tests.support.postgres import PostgresServer, end_connections

pytestmark = [pytest.mark.database, pytest.mark.kafka]


class Published:
    """Where a relay publishes to: keeps the messages, can fail."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.failures: list[Exception] = []

    async def __call__(self, messages: Sequence[Message]) -> None:
        if self.failures:
            raise self.failures.pop()
        self.messages += messages

    @property
    def values(self) -> list[bytes | None]:
        return [message.value for message in self.messages]


@pytest.fixture
async def dsn(postgres: PostgresServer) -> AsyncIterator[str]:
    async with postgres.database() as dsn:
        connection = await db.connect(dsn, name="outbox")
        await connection.execute(outbox.DDL)
        await connection.close()
        yield dsn


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[db.Pool]:
    pool = await db.create_pool(dsn, name="outbox", max_size=4)
    yield pool
    await pool.close()


def message(value: bytes, key: bytes = b"k") -> Message:
    return Message("t", key, value, [("ce_id", b"1"), ("ce_subject", "ü".encode())])


async def put(pool: db.Pool, *messages: Message) -> None:
    async with db.transaction(pool) as connection:
        await outbox.put(connection, messages)


async def test_messages_come_out_as_they_were_put(dsn: str, pool: db.Pool) -> None:
    sent = [message(b"1"), Message("u", None, None, []), message(b"\x00\xff", b"\xfe")]
    await put(pool, *sent)
    published = Published()
    relay = outbox.Relay(dsn, published, name="test")
    assert await relay.step() == 3
    assert await relay.step() == 0
    assert published.messages == sent
    await relay.stop()


async def test_what_was_rolled_back_never_leaves(dsn: str, pool: db.Pool) -> None:
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        async with db.transaction(pool) as connection:
            await outbox.put(connection, [message(b"1")])
            raise ZeroDivisionError
    relay = outbox.Relay(dsn, Published(), name="test")
    assert await relay.step() == 0
    await relay.stop()


async def test_a_late_commit_with_a_lower_id_is_not_skipped(dsn: str, pool: db.Pool) -> None:
    published = Published()
    relay = outbox.Relay(dsn, published, name="test")
    async with db.transaction(pool) as slow:
        await outbox.put(slow, [message(b"early id, late commit", b"a")])
        await put(pool, message(b"late id, early commit", b"b"))
        assert await relay.step() == 1
    assert await relay.step() == 1
    assert published.values == [b"late id, early commit", b"early id, late commit"]
    await relay.stop()


async def test_what_kafka_did_not_acknowledge_stays(dsn: str, pool: db.Pool) -> None:
    await put(pool, message(b"1"), message(b"2"))
    published = Published()
    published.failures = [Transient("Kafka is down"), Transient("Kafka is down")]
    relay = outbox.Relay(dsn, published, name="test", poll_s=0.01)
    stopping = asyncio.Event()
    running = asyncio.create_task(relay.run(stopping))
    async with asyncio.timeout(10):
        while published.values != [b"1", b"2"]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    stopping.set()
    await running
    assert metrics.OUTBOX_UNPUBLISHED._value.get() == 0


async def test_a_defect_stops_the_relay(dsn: str, pool: db.Pool) -> None:
    await put(pool, message(b"1"))
    published = Published()
    published.failures = [KeyError("a defect")]
    with pytest.raises(KeyError, match="a defect"):
        await outbox.Relay(dsn, published, name="test").run(asyncio.Event())


async def test_acknowledged_but_not_removed_is_published_again(dsn: str, pool: db.Pool) -> None:
    await put(pool, message(b"1"))
    first, second = Published(), Published()

    async def publish_and_break(messages: Sequence[Message]) -> None:
        await first(messages)
        await end_connections(dsn, "one-outbox")

    broken = outbox.Relay(dsn, publish_and_break, name="one")
    with pytest.raises(Exception) as lost:  # noqa: PT011
        await broken.step()
    assert db.transient(lost.value)
    relay = outbox.Relay(dsn, second, name="two")
    await relay.step()
    assert first.values == second.values == [b"1"]
    await relay.stop()
    await broken.stop()


async def test_one_relay_at_a_time_and_another_takes_over(dsn: str, pool: db.Pool) -> None:
    for number in range(10):
        await put(pool, message(b"%d" % number))
    one, two = Published(), Published()
    first, second = outbox.Relay(dsn, one, name="one", batch=5), outbox.Relay(dsn, two, name="two", batch=5)
    assert [await first.step(), await second.step()] == [5, 0]
    await first.stop()
    assert await second.step() == 5
    assert (one.values, two.values) == ([b"%d" % n for n in range(5)], [b"%d" % n for n in range(5, 10)])
    await second.stop()


async def test_a_call_wakes_it_before_the_poll(dsn: str, pool: db.Pool) -> None:
    published, stopping = Published(), asyncio.Event()
    relay = outbox.Relay(dsn, published, name="test", poll_s=60)
    running = asyncio.create_task(relay.run(stopping))
    await asyncio.sleep(0.3)
    await put(pool, message(b"1"))
    relay.wake()
    async with asyncio.timeout(5):
        while not published.messages:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    stopping.set()
    async with asyncio.timeout(5):
        await running


async def test_while_commits_follow_one_another_rounds_are_paced(dsn: str, pool: db.Pool) -> None:
    rounds: list[int] = []
    stopping = asyncio.Event()

    async def publish(messages: Sequence[Message]) -> None:
        rounds.append(len(messages))

    relay = outbox.Relay(dsn, publish, name="test", poll_s=60, pace_s=1)
    running = asyncio.create_task(relay.run(stopping))
    for number in range(5):
        await put(pool, message(b"%d" % number))
        relay.wake()
        async with asyncio.timeout(5):
            while not rounds:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    async with asyncio.timeout(5):
        while sum(rounds) < 5:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    stopping.set()
    async with asyncio.timeout(5):
        await running
    assert rounds == [1, 4]


async def test_messages_of_one_put_share_rows_up_to_a_bound(pool: db.Pool) -> None:
    await put(pool)
    many = [message(b"%d" % number) for number in range(outbox.ROW_MESSAGES_MAX + 1)]
    large = [message(b"x" * outbox.VALUE_BYTES_MAX) for _ in range(3)]
    await put(pool, *many, *large)
    async with pool.acquire() as connection:
        rows = await outbox.unpublished(connection, 10_000)
        assert [len(told) for _, told in rows] == [outbox.ROW_MESSAGES_MAX, 2, 2]
        assert [each for _, told in rows for each in told] == [*many, *large]
        assert [len(told) for _, told in await outbox.unpublished(connection, 1)] == [outbox.ROW_MESSAGES_MAX]
        assert await outbox.count(connection) == len(many) + len(large)


async def test_an_oversize_message_is_refused_when_it_is_put(pool: db.Pool) -> None:
    with pytest.raises(OversizeMessage):
        await put(pool, message(b"x" * (512 * 1024 + 1)))


async def test_published_messages_are_removed(dsn: str, pool: db.Pool) -> None:
    await put(pool, message(b"1"), message(b"2"))
    relay = outbox.Relay(dsn, Published(), name="test")
    await relay.step()
    await put(pool, message(b"3"))
    async with pool.acquire() as connection:
        assert [each.value for _, told in await outbox.unpublished(connection, 10) for each in told] == [b"3"]
        assert await outbox.count(connection) == 1
    await relay.stop()


async def test_from_the_transaction_to_a_reader(kafka: KafkaBroker, dsn: str, pool: db.Pool) -> None:
    topic = kafka.unique_topic("outbox")
    await kafka.create_topics({topic: 2})
    settings = KafkaSettings(kafka.bootstrap)
    publisher = Publisher(settings, name="outbox", required_topics={topic: outbox.VALUE_BYTES_MAX})
    await publisher.start()
    sent = [Message(topic, b"%d" % (n % 7), b"%d" % n, [("ce_id", b"%d" % n)]) for n in range(2500)]
    await put(pool, *sent)
    relay = outbox.Relay(dsn, publisher.publish, name="outbox")
    assert [await relay.step() for _ in range(4)] == [1000, 1000, 500, 0]
    found: dict[bytes, list[int]] = {}

    async def accept(batch: Batch[int]) -> None:
        for item in batch.items:
            found.setdefault(item.record.key, []).append(item.value)

    reader: Consumer[int] = Consumer(
        settings, topic=topic, group=topic, member=None, positions=Remembered(),
        decode=lambda record: int(record.value), accept=accept, dead_letters=publisher,
    )  # fmt: skip
    async with asyncio.timeout(20):
        while sum(map(len, found.values())) < 2500:
            await reader.step()
    assert found == {b"%d" % key: list(range(key, 2500, 7)) for key in range(7)}
    await reader.stop()
    await relay.stop()
    await publisher.stop()
