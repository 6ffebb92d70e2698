"""Rates as invoicing hears them, on real parts: kept once, poison set aside, and the right one found for a day."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from libs.common.clock import now
from libs.common.db import Pool
from libs.common.events_fx import RATE_PUBLISHED
from libs.common.heard_rates import HeardRate, RatesConsumer
from services.invoicing.rates_store import rates_on, store_rates
from tests.invoicing.conftest import InvoicingDatabase
from tests.invoicing.hearing import event, eventually, execute, rows, running, telling
from tests.support.kafka import KafkaBroker

DAY = date(2026, 11, 20)
NIGHT = datetime(2026, 11, 20, 15, tzinfo=UTC)
RATE: dict[str, Any] = {
    "provider": "ecb", "base": "EUR", "counter": "USD", "rate": "1.0765", "on": "2026-11-20",
    "published_at": "2026-11-20T15:00:00Z",
}  # fmt: skip
TYPE = RATE_PUBLISHED.name


async def test_rates_are_kept_once_and_it_is_said_when_new_ones_came(
    writer: Pool, kafka: KafkaBroker, receivables: InvoicingDatabase
) -> None:
    came: list[int] = []

    async def has(count: int) -> bool:
        return await rows(receivables.admin, "select count(*) from rates") == [(count,)]

    async def is_at(place: int) -> bool:
        return await rows(receivables.admin, "select next_offset from consumer_offsets") == [(place,)]

    def committed() -> None:
        came.append(1)

    async with telling(kafka, "fx", partitions=1) as told:
        consumer = RatesConsumer(
            writer, now, told.kafka, store=store_rates, group=told.topic, committed=committed, topic=told.topic
        )
        async with running(consumer.run):
            await told.say(event(TYPE, RATE, "1"), event(TYPE, {**RATE, "rate": "0"}, "2"))
            await eventually(lambda: has(1))
            await told.say(event(TYPE, RATE, "1"))
            await eventually(lambda: is_at(3))
            await told.say(event(TYPE, {**RATE, "rate": "1.08"}, "3"))
            await eventually(lambda: has(2))
    kept = await rows(receivables.admin, "select event_id, rate, organization from rates order by known_at")
    assert kept == [("1", Decimal("1.0765"), None), ("3", Decimal("1.08"), None)]
    assert len(came) == 2, "an event that comes again is no new rate"


def heard(id_: str, rate: str, organization: str | None = None, **more: Any) -> HeardRate:
    known = {
        "organization": organization, "provider": "ecb", "base": "EUR", "counter": "USD", "rate": Decimal(rate),
        "on": DAY, "published_at": NIGHT, "supersedes": None, "event_source": "fx", "event_id": id_,
    }  # fmt: skip
    return HeardRate(**{**known, **more})


@pytest.mark.parametrize(
    ("organization", "pair", "on", "expected"),
    [
        ("other", ("EUR", "USD"), DAY, ("1.15", 20, False)),  # a correction was published later
        ("demo", ("EUR", "USD"), DAY, ("1.2", 20, False)),  # its own comes first
        ("other", ("EUR", "USD"), date(2026, 11, 25), ("1.15", 20, False)),  # the last one before
        ("other", ("EUR", "USD"), date(2026, 11, 19), ("1.05", 19, False)),
        ("other", ("USD", "EUR"), DAY, ("0.869565217391", 20, True)),  # turned
        ("other", ("EUR", "USD"), date(2026, 11, 18), None),
        ("other", ("EUR", "CHF"), DAY, None),
        ("other", ("GBP", "USD"), DAY, ("1.3", 20, False)),  # as published before turned
    ],
)
async def test_the_rate_of_a_day(
    writer: Pool, organization: str, pair: tuple[str, str], on: date, expected: tuple[str, int, bool] | None
) -> None:
    rates = [
        heard("0", "1.05", on=date(2026, 11, 19)),
        heard("1", "1.1"),
        heard("2", "1.2", "demo"),
        heard("3", "1.15", published_at=datetime(2026, 11, 20, 16, tzinfo=UTC)),
        heard("4", "0.7", base="USD", counter="GBP", published_at=datetime(2026, 11, 20, 17, tzinfo=UTC)),
        heard("5", "1.3", base="GBP"),
    ]
    async with writer.acquire() as connection, connection.transaction():
        assert await store_rates(connection, rates, NIGHT) == 6
        assert await store_rates(connection, rates, NIGHT) == 0
        found = (await rates_on(connection, organization, [pair, ("JPY", "USD")], on)).get(pair)
    shown = None if found is None else (str(found.rate), found.on.day, found.inverted)
    assert shown == expected


async def test_known_at_rises_even_when_the_clock_does_not(writer: Pool, receivables: InvoicingDatabase) -> None:
    for id_ in ("1", "2"):
        async with writer.acquire() as connection, connection.transaction():
            assert await store_rates(connection, [heard(f"{id_}a", "1.1"), heard(f"{id_}b", "1.2")], NIGHT) == 2
    instants = [at for (at,) in await rows(receivables.admin, "select known_at from rates order by no")]
    assert instants == sorted(set(instants))


@pytest.mark.parametrize("wish", ["update rates set rate = 2", "delete from rates", "truncate rates"])
async def test_rates_are_append_only(writer: Pool, receivables: InvoicingDatabase, wish: str) -> None:
    with pytest.raises(asyncpg.CheckViolationError, match="append-only"):
        await execute(receivables.admin, wish)
    async with writer.acquire() as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(wish)
