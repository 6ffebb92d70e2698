"""The ledger's topics for one test: requests sent as another service would, topics read from their beginning."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiokafka import ConsumerRecord, TopicPartition

from libs.common.bus import DEAD_LETTER_SUFFIX, KafkaSettings, Message, Publisher, cloud_event_headers, parse_headers
from libs.common.clock import monotonic_s, new_id, now
from libs.common.events import LedgerTopics
from libs.common.journal import ledger_id
from tests.support.kafka import KafkaBroker

LOOK_EVERY_S = 0.02
LARGE = {"max.message.bytes": "1400000"}


@dataclass
class Wire:
    """Topics of their own, and a publisher that speaks as `shop` unless told otherwise."""

    kafka: KafkaSettings
    topics: LedgerTopics
    publisher: Publisher
    sent: list[Message] = field(default_factory=list)

    @property
    def dead_letters(self) -> str:
        return self.topics.requests + DEAD_LETTER_SUFFIX

    def request(
        self,
        body: Any,
        *,
        type_: str = "ledger.entry-wanted.v1",
        source: str = "shop",
        traceparent: str | None = None,
        key: bytes | None = None,
    ) -> Message:
        """A request as a service makes it; `body` may be bytes as they are to be sent."""
        value = body if isinstance(body, bytes) else orjson.dumps(body)
        headers = cloud_event_headers(type_, source, str(new_id()), now(), traceparent=traceparent)
        if key is None:
            key = str(ledger_id(body["organization"], body["ledger"])).encode() if isinstance(body, dict) else b"?"
        return Message(self.topics.requests, key, value, headers)

    async def send(self, *messages: Message) -> None:
        await self.publisher.publish(messages)

    async def read(self, topic: str) -> list[ConsumerRecord]:
        """Every record of a topic up to now, by partition and offset."""
        reader = self.kafka.consumer(f"test-{topic}", None)
        await reader.start()
        try:
            count = (await self.kafka.cluster([topic])).topics[topic].partitions
            places = [TopicPartition(topic, number) for number in range(count)]
            reader.assign(places)
            ends = await reader.end_offsets(places)
            for place in places:
                reader.seek(place, 0)
            records: list[ConsumerRecord] = []
            while len(records) < sum(ends.values()):
                for polled in (await reader.getmany(timeout_ms=200)).values():
                    records += polled
            return sorted(records, key=lambda record: (record.partition, record.offset))
        finally:
            await reader.stop()

    async def read_until(self, topic: str, count: int, time_limit_s: float = 30.0) -> list[ConsumerRecord]:
        """Every record of a topic as soon as there are `count` of them."""
        records: list[ConsumerRecord] = []

        async def enough() -> bool:
            records[:] = await self.read(topic)
            return len(records) >= count

        await eventually(enough, time_limit_s)
        return records

    async def answers(self, count: int) -> list[tuple[str, str, dict[str, Any]]]:
        """Type, event id and value of `count` answers, in the order of their partition."""
        records = await self.read_until(self.topics.answers, count)
        return [(event.type, event.id, orjson.loads(record.value)) for record, event in _events(records)]


def _events(records: Sequence[ConsumerRecord]) -> list[tuple[ConsumerRecord, Any]]:
    return [(record, parse_headers(record.headers)) for record in records]


async def eventually(condition: Callable[[], Awaitable[bool]], time_limit_s: float = 20.0) -> None:
    """Returns as soon as the condition holds; AssertionError after the time limit."""
    give_up_s = monotonic_s() + time_limit_s
    for _ in range(int(time_limit_s / LOOK_EVERY_S)):
        if await condition():
            return
        if monotonic_s() > give_up_s:
            break
        await asyncio.sleep(LOOK_EVERY_S)
    raise AssertionError(f"it did not come true within {time_limit_s:.0f} s")


def entry_body(key: str, *lines: str, document: str | None = None, **more: Any) -> dict[str, Any]:
    """An entry-wanted for demo/main from lines such as "CASH debit 5.00"."""
    parts = [text.split() for text in lines or ("A debit 1.00", "B credit 1.00")]
    return {
        "organization": "demo",
        "ledger": "main",
        "idempotency_key": key,
        "document": document or f"payment/{key}",
        "lines": [{"account": account, "side": side, "amount": amount} for account, side, amount in parts],
        **more,
    }


@asynccontextmanager
async def open_wire(broker: KafkaBroker, partitions: int = 1) -> AsyncIterator[Wire]:
    """Topics nobody else uses."""
    name = broker.unique_topic("ledger")
    topics = LedgerTopics(f"{name}.requests", f"{name}.answers", f"{name}.events", f"{name}.heads")
    plain = [topics.requests, topics.answers, topics.facts]
    await broker.create_topics({**dict.fromkeys(plain, partitions), topics.requests + DEAD_LETTER_SUFFIX: 1}, LARGE)
    await broker.create_topics({topics.heads: 1}, {"cleanup.policy": "compact", **LARGE})
    settings = KafkaSettings(broker.bootstrap)
    publisher = Publisher(settings, name="test")
    await publisher.start()
    try:
        yield Wire(settings, topics, publisher)
    finally:
        await publisher.stop()


@asynccontextmanager
async def running(run: Callable[[asyncio.Event], Awaitable[None]]) -> AsyncIterator[asyncio.Task[None]]:
    """A task of the runtime for one block; stopped at its end, and what it raised is raised."""
    stopping = asyncio.Event()
    task = asyncio.ensure_future(run(stopping))
    try:
        yield task
    finally:
        stopping.set()
        await task
