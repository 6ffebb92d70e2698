"""Rates over Kafka on real parts: kept once, in the order they became known; poison set aside, the unknown ignored."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import orjson
import pytest

from libs.common import metrics
from libs.common.bus import DEAD_LETTER_SUFFIX, KafkaSettings, Message, Publisher, cloud_event_headers
from libs.common.clock import now
from libs.common.db import create_pool
from libs.common.events_fx import RATE_PUBLISHED, rate_key
from libs.common.heard_rates import HeardRate, RatesConsumer
from services.ledger import financial_reads, reads
from services.ledger.commands import Books
from services.ledger.rates_store import store_rates
from tests.ledger.conftest import LedgerDatabase
from tests.ledger.wire import LARGE, eventually, running
from tests.support.kafka import KafkaBroker

NIGHT = datetime(2026, 11, 20, 15, tzinfo=UTC)
RATE: dict[str, Any] = {
    "provider": "ecb",
    "base": "EUR",
    "counter": "USD",
    "rate": "1.0765",
    "on": "2026-11-20",
    "published_at": "2026-11-20T15:00:00Z",
}


def event(
    id_: str, body: Mapping[str, Any] | bytes | None, type_: str = RATE_PUBLISHED.name, topic: str = "t"
) -> Message:
    headers = cloud_event_headers(type_, "fx", id_, now())
    value = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
    return Message(topic, rate_key(None, "EUR", "USD"), value, headers)


@dataclass(frozen=True, slots=True)
class Ear:
    """A topic of the test's own, and a publisher that speaks as fx."""

    kafka: KafkaSettings
    topic: str
    publisher: Publisher

    async def say(self, *messages: Message) -> None:
        await self.publisher.publish([Message(self.topic, each.key, each.value, each.headers) for each in messages])

    def consumer(self, books: Books) -> RatesConsumer:
        return RatesConsumer(books.pool, now, self.kafka, store=store_rates, group=self.topic, topic=self.topic)


@pytest.fixture
async def ear(kafka: KafkaBroker) -> AsyncIterator[Ear]:
    topic = kafka.unique_topic("fx")
    await kafka.create_topics({topic: 2, topic + DEAD_LETTER_SUFFIX: 1}, LARGE)
    settings = KafkaSettings(kafka.bootstrap)
    publisher = Publisher(settings, name="fx")
    await publisher.start()
    yield Ear(settings, topic, publisher)
    await publisher.stop()


@asynccontextmanager
async def looking(database: LedgerDatabase) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.admin)
    try:
        yield connection
    finally:
        await connection.close()


async def kept(database: LedgerDatabase) -> list[tuple[str, Decimal]]:
    async with looking(database) as connection:
        rows = await connection.fetch("select event_id, rate from rates order by known_at")
    return [(row["event_id"], row["rate"]) for row in rows]


async def test_rates_are_kept_once_and_a_restart_goes_on(books: Books, ear: Ear, database: LedgerDatabase) -> None:
    ignored = metrics.KAFKA_IGNORED_EVENTS.labels(ear.topic)
    async with running(ear.consumer(books).run):
        await ear.say(event("fx:1", RATE), event("fx:1", RATE), event("fx:2", b"?", type_="fx.quote-accepted.v1"))
        await ear.say(event("fx:3", {**RATE, "rate": "0"}), event("fx:4", {**RATE, "rate": "1.08"}))
        await eventually(lambda: _has(database, 2))
    assert await kept(database) == [("fx:1", Decimal("1.0765")), ("fx:4", Decimal("1.08"))]
    assert ignored._value.get() == 1
    async with running(ear.consumer(books).run):
        await ear.say(event("fx:1", RATE), event("fx:5", {**RATE, "rate": "1.09"}))
        await eventually(lambda: _has(database, 3))
    assert [id_ for id_, _ in await kept(database)] == ["fx:1", "fx:4", "fx:5"]
    async with looking(database) as connection:
        positions = await connection.fetch("select next_offset from consumer_offsets where topic = $1", ear.topic)
    assert sum(row["next_offset"] for row in positions) == 7
    letters = (await ear.kafka.cluster([ear.topic + DEAD_LETTER_SUFFIX])).topics
    assert letters
    assert metrics.KAFKA_DEAD_LETTERS.labels(ear.topic, "rate-not-positive")._value.get() == 1


async def _has(database: LedgerDatabase, count: int) -> bool:
    return len(await kept(database)) >= count


def heard(id_: str, rate: str, organization: str | None = None, **more: Any) -> HeardRate:
    return HeardRate(
        **{
            "organization": organization, "provider": "ecb",
            "base": "EUR", "counter": "USD", "rate": Decimal(rate), "on": date(2026, 11, 20), "published_at": NIGHT,
            "supersedes": None, "event_source": "fx", "event_id": id_, **more,
        }
    )  # fmt: skip


async def test_known_at_rises_even_when_the_clock_does_not(books: Books, database: LedgerDatabase) -> None:
    for id_ in ("1", "2"):
        async with books.pool.acquire() as connection, connection.transaction():
            assert await store_rates(connection, [heard(f"{id_}a", "1.1"), heard(f"{id_}b", "1.2")], NIGHT) == 2
    async with looking(database) as seen_by:
        instants = [row["known_at"] for row in await seen_by.fetch("select known_at from rates order by no")]
    assert instants == sorted(set(instants))
    assert instants[0] > NIGHT


async def test_a_rate_is_seen_by_its_organization_alone_and_as_it_was_known(
    books: Books, database: LedgerDatabase
) -> None:
    rates = [heard("1", "1.1"), heard("2", "1.2", "demo"), heard("3", "1.3", "other"), heard("4", "1.15")]
    async with books.pool.acquire() as connection, connection.transaction():
        await store_rates(connection, rates, NIGHT)
    reader = await create_pool(database.dsns.reader, name="reader", max_size=2)
    day = date(2026, 11, 20)
    try:
        async with reads.as_reader(reader, "demo") as reading:
            last = await financial_reads.read_known_at(reading)
            assert last == NIGHT + timedelta(microseconds=4)
            seen = await financial_reads.read_rates(reading, ["EUR", "USD"], day, day, last)
            before = await financial_reads.read_rates(
                reading, ["EUR", "USD"], day, day, NIGHT + timedelta(microseconds=1)
            )
            elsewhere = await financial_reads.read_rates(reading, ["EUR", "CHF"], day, day, last)
    finally:
        await reader.close()
    assert [(rate.rate, rate.own) for rate in seen] == [
        (Decimal("1.15"), False), (Decimal("1.2"), True), (Decimal("1.1"), False)
    ]  # fmt: skip
    assert [rate.rate for rate in before] == [Decimal("1.1")]
    assert elsewhere == []


@pytest.mark.parametrize("wish", ["update rates set rate = 2", "delete from rates", "truncate rates"])
async def test_rates_are_append_only(books: Books, database: LedgerDatabase, wish: str) -> None:
    async with looking(database) as owning:
        with pytest.raises(asyncpg.CheckViolationError, match="append-only"):
            await owning.execute(wish)
    async with books.pool.acquire() as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(wish)
