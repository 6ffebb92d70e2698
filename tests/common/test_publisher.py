"""The publisher against a real broker: acknowledged, in order, refusing at start, healing itself."""

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
from aiokafka.partitioner import murmur2

from libs.common.bus import KafkaSettings, Message, OversizeMessage, Publisher, partition_of
from libs.common.errors import Misconfigured, Transient
from libs.common.publisher import partitions_of
from tests.common.published import assert_in_order, numbered, read
from tests.support.kafka import KafkaBroker

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
    keys = [os.urandom(length) for _ in range(50)]
    others = [os.urandom(7), None, keys[0], b""]
    expected = [(murmur2(key or b"") & 0x7FFFFFFF) % 7 for key in [*keys, *others]]
    assert partitions_of([*keys, *others], 7) == expected
    assert [partition_of(key, 7) for key in keys] == expected[:50]
