"""The publisher and the consumer when Kafka breaks: a broker of their own, behind a proxy, cut, stalled and killed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from uuid import uuid4

import pytest

from libs.common import metrics
from libs.common.bus import Batch, Consumer, KafkaSettings, Message, Publisher
from libs.common.errors import Transient
from libs.devstack import topics
from libs.devstack.kafka import Kafka
from tests.common.consumer_bench import Remembered
from tests.common.published import assert_in_order, numbered, read
from tests.support.tcp_proxy import TcpProxy

pytestmark = pytest.mark.kafka


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


@pytest.mark.parametrize("fault", ["cut", "stall", "kill"])
async def test_a_consumer_comes_back_and_reads_each_record_once(
    broken_broker: tuple[Kafka, TcpProxy], fault: str
) -> None:
    broker, proxy = broken_broker
    topic = f"consumed-{uuid4().hex}"
    await topics.ensure(proxy.address, [topics.Topic(topic, 3)])
    settings = KafkaSettings(proxy.address)
    publisher = Publisher(settings, name="test", delivery_timeout_s=2.0)
    found: list[int] = []
    positions = Remembered()

    async def accept(batch: Batch[int]) -> None:
        await asyncio.sleep(0.01)
        found.extend(item.value for item in batch.items)
        positions.offsets[batch.partition] = batch.next_offset

    consumer: Consumer[int] = Consumer(
        settings, topic=topic, group=topic, member="one", positions=positions, max_records=20,
        decode=lambda record: int(record.value), accept=accept, dead_letters=publisher, backoff_max_s=1.0,
    )  # fmt: skip
    await publisher.publish(numbered(topic, 2000))
    stopping = asyncio.Event()
    running = asyncio.create_task(consumer.run(stopping))
    async with asyncio.timeout(30):
        while not found:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    if fault == "kill":
        port, controller_port = broker.port, broker.controller_port
        broker.server.kill()
        await broker.stop()
        await broker.start(port=port, controller_port=controller_port)
    else:
        proxy.cut() if fault == "cut" else proxy.stall()
        await asyncio.sleep(1)
        proxy.resume()
    await publish_until_acknowledged(publisher, numbered(topic, 2500)[2000:])
    async with asyncio.timeout(60):
        while len(set(found)) < 2500:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    stopping.set()
    await running
    await publisher.stop()
    assert sorted(number for number in found if number < 2000) == list(range(2000))
