"""Invoicing's ear for exchange rates: `fx.events.v1` into its own table of rates.

    record -> decode -> a rate, nothing (not for us), or Poison (a dead letter)
    batch  -> one transaction { the offset fence, the rates not heard before, `stored` for those who waited }

The id of an event, with who speaks, is unique in the table, so that an event published twice is kept once. Types that
this service does not know are ignored and counted; of rates only mids are kept, a bid or an ask is nobody's worth.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from aiokafka import ConsumerRecord
from pydantic import ValidationError

from libs.common import metrics
from libs.common.bus import Batch, KafkaSettings, parse_headers
from libs.common.clock import Clock
from libs.common.db import Connection, Pool, transaction
from libs.common.dead_letters import DEFAULT_LIMITS, DeadLetterLimits
from libs.common.errors import Poison
from libs.common.events_fx import FX, RATE_PUBLISHED
from libs.common.inbox import advance
from libs.common.problems import faults_of
from libs.common.telemetry import start_span
from services.invoicing.listening import Ear
from services.invoicing.rates_store import HeardRate, store_rates

GROUP: Final = "invoicing-rates"
EVENT_BYTES_MAX: Final = 64 * 1024

Stored = Callable[[Connection, Sequence[HeardRate]], Awaitable[None]]
"""Told of the rates of a batch in its transaction: what waited for one may go on."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a record says; `rate` is None where it is nothing to keep, `known` whether the type is known."""

    rate: HeardRate | None
    known: bool


def decode(record: ConsumerRecord) -> Heard:
    """The rate of a record. Raises Poison."""
    event = parse_headers(record.headers)
    if event.type != RATE_PUBLISHED.name:
        return Heard(None, known=False)
    raw = record.value
    if raw is None:
        raise Poison("value-null", "a rate event has a value")
    if len(raw) > EVENT_BYTES_MAX:
        raise Poison("oversize", f"{len(raw)} bytes, at most {EVENT_BYTES_MAX} are taken")
    try:
        published = RATE_PUBLISHED.adapter.validate_json(raw)
    except ValidationError as error:
        fault = faults_of(error.errors(include_url=False), None)[0]
        raise Poison("schema", fault.detail, fault.pointer) from None
    rate = Decimal(published.rate)
    if rate == 0:
        raise Poison("rate-not-positive", "a rate is greater than zero", "/rate")
    if published.base == published.counter:
        raise Poison("one-currency", "a rate is between two currencies", "/counter")
    if published.published_at.tzinfo is None:
        raise Poison("schema", "has no zone", "/published_at")
    for pointer, text in (("/provider", published.provider), ("/supersedes", published.supersedes or ""),
                          ("ce_source", event.source), ("ce_id", event.id)):  # fmt: skip
        if "\0" in text:
            raise Poison("schema", "has a NUL character", pointer)
    if published.side != "mid":
        return Heard(None, known=True)
    heard = HeardRate(
        published.organization,
        published.provider,
        published.base,
        published.counter,
        rate,
        published.on,
        published.published_at,
        published.supersedes,
        event.source,
        event.id,
    )
    return Heard(heard, known=True)


class RatesConsumer:
    """Reads `fx.events.v1` as `member` of its group; `run` is a task of the runtime. `pool` is the writer's."""

    def __init__(
        self,
        pool: Pool,
        clock: Clock,
        kafka: KafkaSettings,
        *,
        stored: Stored | None = None,
        member: str | None = None,
        group: str = GROUP,
        topic: str = FX,
        limits: DeadLetterLimits = DEFAULT_LIMITS,
    ) -> None:
        self._pool, self._clock, self._stored = pool, clock, stored
        self._ear = Ear(
            kafka, pool, topic=topic, group=group, member=member, decode=decode, accept=self._accept, limits=limits
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """Keep rates until `stopping` is set. Raises what must stop the process."""
        await self._ear.run(stopping)

    async def _accept(self, batch: Batch[Heard]) -> None:
        """The fence and the rates, in one transaction."""
        rates = [item.value.rate for item in batch.items if item.value.rate is not None]
        with start_span(f"consume {batch.topic}", attributes={"messaging.batch.message_count": len(batch.items)}):
            async with transaction(self._pool) as connection:
                await advance(
                    connection, batch.cluster_id, batch.topic, batch.partition, batch.expected, batch.next_offset
                )
                await store_rates(connection, rates, self._clock())
                if rates and self._stored is not None:
                    await self._stored(connection, rates)
        ignored = sum(not item.value.known for item in batch.items)
        if ignored:
            metrics.KAFKA_IGNORED_EVENTS.labels(batch.topic).inc(ignored)
