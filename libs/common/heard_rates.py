"""A service's ear for exchange rates: `fx.events.v1` into the table of rates of its own database.

    record -> decode -> a rate, nothing (not for us), or Poison (a dead letter)
    batch  -> one transaction { the offset fence, `store`: the rates not heard before } -> `committed`

Each service keeps its own rates (`store` is its insert), so none asks another for one. The id of an event, with who
speaks, is unique in the table, so that an event published twice is kept once. Types that this service does not know are
ignored and counted; of rates only mids are kept, a bid or an ask is nobody's worth. A restart goes on from the fence.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Final, NamedTuple

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
from libs.common.listening import Ear
from libs.common.problems import faults_of
from libs.common.telemetry import start_span

EVENT_BYTES_MAX: Final = 64 * 1024


class HeardRate(NamedTuple):
    """A rate event; `organization` None is everybody's."""

    organization: str | None
    provider: str
    base: str
    counter: str
    rate: Decimal
    on: date
    published_at: datetime
    supersedes: str | None
    event_source: str
    event_id: str


Store = Callable[[Connection, Sequence[HeardRate], datetime], Awaitable[int]]
"""Stores those not heard before, in their order, in the transaction given; gives how many were new."""


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
    """Reads `fx.events.v1` as `member` of `group`; `run` is a task of the runtime. `pool` is the writer's.

    `committed` is called when rates are in the books that were not there before: what waited for one may be tried.
    """

    def __init__(
        self,
        pool: Pool,
        clock: Clock,
        kafka: KafkaSettings,
        *,
        store: Store,
        group: str,
        committed: Callable[[], None] = lambda: None,
        member: str | None = None,
        topic: str = FX,
        limits: DeadLetterLimits = DEFAULT_LIMITS,
    ) -> None:
        self._pool, self._clock, self._store, self._committed = pool, clock, store, committed
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
                new = await self._store(connection, rates, self._clock()) if rates else 0
        if new:
            self._committed()
        ignored = sum(not item.value.known for item in batch.items)
        if ignored:
            metrics.KAFKA_IGNORED_EVENTS.labels(batch.topic).inc(ignored)
