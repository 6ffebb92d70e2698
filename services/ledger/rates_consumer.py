"""The ledger's ear for exchange rates: `fx.events.v1` into the table of rates, for translating reports.

    record -> decode -> a rate, nothing (not for us), or Poison (a dead letter)
    batch  -> one transaction { the offset fence, the rates not heard before }

The id of an event, with who speaks, is unique in the table, so that an event published twice is kept once. Types that
this service does not know are ignored and counted; of rates only mids are kept, a bid or an ask is nobody's worth. A
restart goes on from the fence. Posting never waits for this: an entry names its own rates.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from aiokafka import ConsumerRecord
from pydantic import ValidationError

from libs.common import metrics
from libs.common.bus import DEAD_LETTER_SUFFIX, Batch, Consumer, KafkaSettings, Publisher, parse_headers
from libs.common.clock import Clock
from libs.common.db import Pool
from libs.common.dead_letters import DEFAULT_LIMITS, VALUE_BYTES_MAX, DeadLetterLimits
from libs.common.errors import Poison, Transient
from libs.common.events_fx import FX, RATE_PUBLISHED
from libs.common.inbox import StoredPositions, advance
from libs.common.journal import organization_id
from libs.common.problems import faults_of
from libs.common.telemetry import get_logger, start_span
from services.ledger.rates_store import HeardRate, store_rates

log = get_logger(__name__)

GROUP: Final = "ledger-rates"
EVENT_BYTES_MAX: Final = 64 * 1024
RETRY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Heard:
    """What a record says; `rate` is None where it is nothing the ledger keeps, `known` whether it knows the type."""

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
        organization_id(published.organization) if published.organization is not None else None,
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
        member: str | None = None,
        group: str = GROUP,
        topic: str = FX,
        limits: DeadLetterLimits = DEFAULT_LIMITS,
    ) -> None:
        self._pool, self._clock = pool, clock
        self._topic = topic
        self._publisher = Publisher(
            kafka,
            name="ledger-rates",
            required_topics={topic + DEAD_LETTER_SUFFIX: VALUE_BYTES_MAX + 64 * 1024},
        )
        self._consumer: Consumer[Heard] = Consumer(
            kafka,
            topic=topic,
            group=group,
            member=member,
            positions=StoredPositions(pool),
            decode=decode,
            accept=self._accept,
            dead_letters=self._publisher,
            limits=limits,
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """Keep rates until `stopping` is set. Raises what must stop the process."""
        try:
            if await self._connected(stopping):
                await self._consumer.run(stopping)
        finally:
            await self._publisher.stop()

    async def _connected(self, stopping: asyncio.Event) -> bool:
        """Waits for Kafka; False where the stop came first."""
        while not stopping.is_set():
            try:
                await self._publisher.start()
            except Transient as error:
                log.warning("rates-wait-for-kafka", error=str(error))
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), RETRY_S)
            else:
                return True
        return False

    async def _accept(self, batch: Batch[Heard]) -> None:
        """The fence and the rates, in one transaction."""
        rates = [item.value.rate for item in batch.items if item.value.rate is not None]
        with start_span(f"consume {batch.topic}", attributes={"messaging.batch.message_count": len(batch.items)}):
            async with self._pool.acquire() as connection, connection.transaction():
                await advance(
                    connection, batch.cluster_id, batch.topic, batch.partition, batch.expected, batch.next_offset
                )
                await store_rates(connection, rates, self._clock())
        ignored = sum(not item.value.known for item in batch.items)
        if ignored:
            metrics.KAFKA_IGNORED_EVENTS.labels(batch.topic).inc(ignored)
