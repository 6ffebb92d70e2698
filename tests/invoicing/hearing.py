"""Topics of a test's own with a publisher, a ledger's log as the relay tells it, and looks into the database."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid5

import asyncpg
import orjson
from aiokafka import ConsumerRecord

from libs.common.bus import DEAD_LETTER_SUFFIX, KafkaSettings, Message, Publisher, cloud_event_headers
from libs.common.clock import monotonic_s, now
from libs.common.event_shapes import HASH, PREVIOUS_HASH
from libs.common.journal import ledger_id
from tests.support.kafka import KafkaBroker

LARGE = {"max.message.bytes": "1400000"}
LOOK_EVERY_S = 0.02


@dataclass(frozen=True, slots=True)
class Told:
    """A topic of the test's own, and a publisher to it."""

    kafka: KafkaSettings
    topic: str
    publisher: Publisher

    async def say(self, *messages: Message) -> None:
        await self.publisher.publish([Message(self.topic, each.key, each.value, each.headers) for each in messages])


@asynccontextmanager
async def telling(kafka: KafkaBroker, name: str, partitions: int = 2) -> AsyncIterator[Told]:
    topic = kafka.unique_topic(name)
    await kafka.create_topics({topic: partitions, topic + DEAD_LETTER_SUFFIX: 1}, LARGE)
    settings = KafkaSettings(kafka.bootstrap)
    publisher = Publisher(settings, name=name)
    await publisher.start()
    try:
        yield Told(settings, topic, publisher)
    finally:
        await publisher.stop()


@dataclass(slots=True)
class Log:
    """A ledger's log as facts: `post("1100-AR debit 5.00 acme", ...)` gives the message of the next record."""

    organization: str = "demo"
    ledger: str = "main"
    epoch: int = 1
    sequence: int = 0
    hash: str = ""
    told: list[Message] = field(default_factory=list)

    def post(
        self, *lines: str, service: str = "invoicing", id_: UUID | None = None, day: str = "2026-11-20"
    ) -> Message:
        """Each line: account, side, amount, optionally a party and a currency."""
        parts = [(*text.split(), "", "")[:5] for text in lines]
        entry = {
            "id": str(id_ or uuid5(ledger_id(self.organization, self.ledger), str(self.sequence + 1))),
            "kind": "normal", "effective_on": day, "value_on": day, "description": "",
            "lines": [
                {
                    "account": account, "side": side, "amount": amount, "currency": currency or "USD",
                    "balance_after": "0.00", **({"party": party} if party.strip("-") else {}),
                }
                for account, side, amount, party, currency in parts
            ],
        }  # fmt: skip
        request = {"service": service, "scope": service, "key": str(self.sequence), "fingerprint": "0" * 64}
        return self.record("entry-posted", request=request, entry=entry)

    def open(self, time_zone: str = "UTC", day_cut_off: str = "00:00", fiscal_year_start: str = "01-01") -> Message:
        """The first record, with the ledger's calendar."""
        opened = {
            "code": self.ledger, "name": "Books", "functional_currency": "USD", "functional_decimals": 2,
            "time_zone": time_zone, "day_cut_off": day_cut_off, "fiscal_year_start": fiscal_year_start,
            "retained_earnings": None,
        }  # fmt: skip
        return self.record("ledger-opened", opened=opened)

    def record(self, type_: str, **more: Any) -> Message:
        self.sequence += 1
        previous = self.hash
        at = now().isoformat()
        about = {
            "type": type_, "organization": self.organization, "ledger": self.ledger,
            "ledger_id": str(ledger_id(self.organization, self.ledger)), "epoch": self.epoch,
            "sequence": self.sequence, "recorded_at": at, "actor": "test",
        }  # fmt: skip
        value = orjson.dumps(about | more)
        self.hash = sha256(bytes.fromhex(previous) + value).hexdigest()
        id_ = f"{about['ledger_id']}:{self.epoch}:{self.sequence}"
        extra = {HASH: self.hash, PREVIOUS_HASH: previous}
        headers = cloud_event_headers(f"ledger.{type_}.v1", "ledger", id_, now(), extra=extra)
        message = Message("?", str(about["ledger_id"]).encode(), value, headers)
        self.told.append(message)
        return message


def event(
    type_: str, body: Mapping[str, Any] | bytes | None, id_: str, *, key: bytes = b"k", source: str = "shop"
) -> Message:
    """A message of any event type; `body` may be bytes as they are to be sent."""
    value = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
    return Message("?", key, value, cloud_event_headers(type_, source, id_, now()))


def as_record(message: Message) -> ConsumerRecord:
    """The message as a consumer gets it."""
    key, value = message.key or b"", message.value
    return ConsumerRecord("t", 0, 0, 0, 0, key, value, None, len(key), len(value or b""), tuple(message.headers))


@asynccontextmanager
async def running(run: Callable[[asyncio.Event], Awaitable[None]]) -> AsyncIterator["asyncio.Task[None]"]:
    """The consumer's task, stopped at the end; what it raises is raised here."""
    stopping = asyncio.Event()
    task = asyncio.ensure_future(run(stopping))
    try:
        yield task
    finally:
        stopping.set()
        await task


async def eventually(condition: Callable[[], Awaitable[bool]], time_limit_s: float = 20.0) -> None:
    """Returns as soon as the condition holds; AssertionError after the time limit."""
    give_up_s = monotonic_s() + time_limit_s
    while not await condition():
        assert monotonic_s() < give_up_s, f"it did not come true within {time_limit_s:.0f} s"
        await asyncio.sleep(LOOK_EVERY_S)


async def rows(dsn: str, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
    """What the superuser sees."""
    connection = await asyncpg.connect(dsn)
    try:
        return [tuple(row.values()) for row in await connection.fetch(query, *arguments)]
    finally:
        await connection.close()


async def execute(dsn: str, statement: str, *arguments: Any) -> None:
    """Done by the superuser."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement, *arguments)
    finally:
        await connection.close()
