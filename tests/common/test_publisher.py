"""The publisher against a real broker: acknowledged, in order, refusing at start, healing itself."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.partitioner import murmur2

from libs.common import metrics
from libs.common.bus import KafkaSettings, Message, OversizeMessage, Publisher, partition_of
from libs.common.errors import Misconfigured, Transient
from libs.devstack import topics
from libs.devstack.kafka import Kafka
from tests.support.kafka import KafkaBroker
from tests.support.tcp_proxy import TcpProxy

pytestmark = pytest.mark.kafka


@pytest.fixture
async def topic(kafka: KafkaBroker) -> str:
    name = kafka.unique_topic("published")
    await kafka.create_topics({name: 3})
    return name


@pytest.fixture
async def publisher(kafka: KafkaBroker, topic: str) -> AsyncIterator[Publisher]:
    publisher = Publisher(KafkaSettings(kafka.bootstrap), name="test", required_topics={topic: 1_000_000})
    await publisher.start()
    yield publisher
    await publisher.stop()


async def read(bootstrap: str, topic: str) -> list[tuple[int, bytes, bytes]]:
    """(partition, key, value) of everything that is committed in the topic."""
    reader = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed")
    await reader.start()
    try:
        places = [TopicPartition(topic, number) for number in range(3)]
        reader.assign(places)
        await reader.seek_to_beginning(*places)
        ends = await reader.end_offsets(places)
        found: list[tuple[int, bytes, bytes]] = []
        while any([await reader.position(place) < ends[place] for place in places]):
            for place, records in (await reader.getmany(timeout_ms=500)).items():
                found += [(place.partition, record.key, record.value) for record in records]
        return found
    finally:
        await reader.stop()


def numbered(topic: str, count: int, keys: int = 50) -> list[Message]:
    return [Message(topic, b"key-%d" % (number % keys), b"%d" % number, [("n", b"1")]) for number in range(count)]


def assert_in_order(found: Sequence[tuple[int, bytes, bytes]], keys: int = 50) -> None:
    """Within each key the numbers rise by the number of keys, once what was published again is passed over."""
    last: dict[bytes, int] = {}
    for _, key, value in found:
        number = int(value)
        expected = last.get(key, int(key[4:]) - keys) + keys
        assert number <= expected, f"{key!r}: {number} came where {expected} was due"
        last[key] = max(number, last.get(key, -1))


async def test_everything_published_is_there_in_order(kafka: KafkaBroker, publisher: Publisher, topic: str) -> None:
    messages = numbered(topic, 5000)
    await publisher.publish(messages)
    found = await read(kafka.bootstrap, topic)
    assert len(found) == 5000
    assert_in_order(found)
    for partition, key, _ in found:
        assert partition == partition_of(key, 3)


async def test_many_callers_share_batches(kafka: KafkaBroker, publisher: Publisher, topic: str) -> None:
    messages = numbered(topic, 3000, keys=1)
    await asyncio.gather(*(publisher.publish([message]) for message in messages))
    found = await read(kafka.bootstrap, topic)
    assert [int(value) for _, _, value in found] == list(range(3000))


async def test_batches_hold_large_messages(kafka: KafkaBroker, publisher: Publisher, topic: str) -> None:
    large = [Message(topic, b"k", os.urandom(700_000)) for _ in range(4)]
    await publisher.publish(large)
    assert [value for _, _, value in await read(kafka.bootstrap, topic)] == [message.value for message in large]


async def test_an_oversize_message_is_refused_before_anything_is_sent(
    kafka: KafkaBroker, publisher: Publisher, topic: str
) -> None:
    with pytest.raises(OversizeMessage, match="1190000 bytes does not fit"):
        await publisher.publish([Message(topic, b"k", b"small"), Message(topic, b"k", b"x" * 1_190_000)])
    assert await read(kafka.bootstrap, topic) == []


async def test_start_refuses_a_missing_topic(kafka: KafkaBroker) -> None:
    publisher = Publisher(KafkaSettings(kafka.bootstrap), name="test", required_topics={"no.such.topic": 1})
    with pytest.raises(Misconfigured, match=r"no\.such\.topic does not exist"):
        await publisher.start()


async def test_asking_for_a_topic_does_not_make_it(kafka: KafkaBroker) -> None:
    name = kafka.unique_topic("never")
    for _ in range(2):
        assert (await KafkaSettings(kafka.bootstrap).cluster([name])).topics == {}


async def test_start_refuses_a_topic_whose_limit_is_too_small(kafka: KafkaBroker) -> None:
    name = kafka.unique_topic("small")
    await kafka.create_topics({name: 1}, {"max.message.bytes": "500000"})
    publisher = Publisher(KafkaSettings(kafka.bootstrap), name="test", required_topics={name: 1_000_000})
    with pytest.raises(Misconfigured, match="takes messages of 500000 bytes, 1000000 are needed"):
        await publisher.start()


async def test_an_unknown_topic_is_misconfigured_when_published_to(publisher: Publisher) -> None:
    with pytest.raises(Misconfigured, match="does not exist"):
        await publisher.publish([Message("no.such.topic", b"k", b"v")])


async def test_no_broker_is_transient() -> None:
    publisher = Publisher(KafkaSettings("127.0.0.1:1"), name="test")
    with pytest.raises(Transient, match="does not answer"):
        await publisher.start()
    await publisher.stop()


async def test_a_cancelled_caller_disturbs_nobody(kafka: KafkaBroker, publisher: Publisher, topic: str) -> None:
    publishing = [asyncio.create_task(publisher.publish(numbered(topic, 500, keys=1))) for _ in range(4)]
    await asyncio.sleep(0)
    publishing[1].cancel()
    outcomes = await asyncio.gather(*publishing, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None), asyncio.CancelledError, type(None), type(None)]
    assert len(await read(kafka.bootstrap, topic)) >= 1500


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 5, 16, 36, 100])
def test_keys_go_where_kafkas_own_clients_send_them(length: int) -> None:
    for _ in range(50):
        key = os.urandom(length)
        assert partition_of(key, 7) == (murmur2(key) & 0x7FFFFFFF) % 7


# --- a broker of its own, behind a proxy ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def broken_broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Kafka, TcpProxy]]:
    """A broker that advertises a proxy which can break."""
    folder = tmp_path_factory.mktemp("broker")
    broker = Kafka(folder / "kafka", folder / "kafka.log")
    await broker.start()
    async with TcpProxy("127.0.0.1", broker.port) as proxy:
        await broker.stop()
        behind = Kafka(folder / "kafka", folder / "kafka.log", advertise=("127.0.0.1", proxy.port))
        await behind.start(port=broker.port, controller_port=broker.controller_port)
        yield behind, proxy
        await behind.stop()


async def publish_until_acknowledged(publisher: Publisher, messages: Sequence[Message]) -> int:
    failed = 0
    while True:
        try:
            await publisher.publish(messages)
        except Transient:
            failed += 1
            await asyncio.sleep(0.1)
        else:
            return failed


@pytest.mark.parametrize("fault", ["cut", "stall"])
async def test_a_broken_network_is_transient_and_heals(broken_broker: tuple[Kafka, TcpProxy], fault: str) -> None:
    _, proxy = broken_broker
    topic = f"healing-{uuid4().hex}"
    await topics.ensure(proxy.address, [topics.Topic(topic, 3)])
    publisher = Publisher(KafkaSettings(proxy.address), name="test", delivery_timeout_s=1.5, required_topics={topic: 1})
    await publisher.start()
    rebuilt = metrics.KAFKA_PUBLISHER_REBUILT
    before = rebuilt._value.get()
    messages = numbered(topic, 4000)
    await publisher.publish(messages[:1000])
    publishing = asyncio.create_task(publish_until_acknowledged(publisher, messages[1000:3000]))
    await asyncio.sleep(0.01)
    proxy.cut() if fault == "cut" else proxy.stall()
    with pytest.raises(Transient):
        await publisher.publish(messages[1000:3000])
    proxy.resume()
    await publishing
    await publisher.publish(messages[3000:])
    await publisher.stop()
    found = await read(proxy.address, topic)
    assert {int(value) for _, _, value in found} == set(range(4000))
    assert_in_order(found)
    assert rebuilt._value.get() > before


async def test_a_killed_broker_loses_nothing_that_was_acknowledged(broken_broker: tuple[Kafka, TcpProxy]) -> None:
    broker, proxy = broken_broker
    topic = f"killed-{uuid4().hex}"
    await topics.ensure(proxy.address, [topics.Topic(topic, 3)])
    publisher = Publisher(KafkaSettings(proxy.address), name="test", delivery_timeout_s=2.0, required_topics={topic: 1})
    await publisher.start()
    messages = numbered(topic, 20_000)
    port, controller_port = broker.port, broker.controller_port

    async def publish_all() -> int:
        return sum(
            [
                await publish_until_acknowledged(publisher, messages[start : start + 500])
                for start in range(0, len(messages), 500)
            ]
        )

    publishing = asyncio.create_task(publish_all())
    await asyncio.sleep(0.05)
    broker.server.kill()
    await broker.stop()
    await broker.start(port=port, controller_port=controller_port)
    assert await publishing > 0
    await publisher.stop()
    found = await read(proxy.address, topic)
    assert {int(value) for _, _, value in found} == set(range(20_000))
    assert_in_order(found)
