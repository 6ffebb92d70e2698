"""Invoicing's entrance for money: `payments.events.v1` into payments, refunds, returns, disputes and payouts.

    record -> decode -> a payment event, nothing (a type we do not know), or Poison (a dead letter)
    batches -> one transaction { the offset fences, event ids in the inbox, the effects, what is parked, the outbox }

Publish `payment-received` and never think of it again: doubled, it is known by its event id, and under another event
id by its payment id; a refund that comes before its payment waits for it; what cannot be (a currency that is none, more
refunded than paid) is parked with the reason, and only what concerns the same payment waits behind it. Everything of a
batch is one transaction, whatever its size, so a payment is stored with its request to the ledger or not at all.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from aiokafka import ConsumerRecord

from libs.common import metrics
from libs.common.bus import Batch, Decoded, KafkaSettings, parse_headers
from libs.common.clock import Clock
from libs.common.db import Pool, transaction
from libs.common.dead_letters import DEFAULT_LIMITS, DeadLetterLimits
from libs.common.errors import Poison
from libs.common.events_payments import PAYMENTS, AnyPaymentEvent, payment_key
from libs.common.listening import Ear, Together, advance_all
from libs.common.telemetry import get_logger, start_span
from libs.common.values import value
from services.invoicing.parking import Apply, Taken, take
from services.invoicing.payment_messages import TYPES, ToldPayment, id_in_key, read_event

log = get_logger(__name__)

GROUP: Final = "invoicing-payments"
BATCH_RECORDS: Final = 1_000
LINKS_MAX: Final = 100


@value(frozen=True, slots=True)
class HeardPayment:
    """A payment event and the attributes it came with; `event` is None where the type is not known."""

    event: AnyPaymentEvent | None
    type: str
    source: str
    event_id: str
    told_at: datetime
    traceparent: str | None


def decode(record: ConsumerRecord) -> HeardPayment:
    """The payment event of a record. Raises Poison, also for one under another document's key: its order is lost."""
    about = parse_headers(record.headers)
    told_at = about.time or datetime.fromtimestamp(record.timestamp / 1000, UTC)
    if about.type not in TYPES:
        return HeardPayment(None, about.type, about.source, about.id, told_at, about.traceparent)
    if "\0" in about.source or "\0" in about.id:
        raise Poison("schema", "has a NUL character", "ce_id")
    event = read_event(about.type, record.value)
    expected = payment_key(event.organization, id_in_key(event))
    if record.key != expected:
        raise Poison("key-differs", f"the Kafka key of this event is {expected.decode()}")
    return HeardPayment(event, about.type, about.source, about.id, told_at, about.traceparent)


class PaymentsConsumer:
    """Reads `payments.events.v1` as `member` of its group; `run` is a task of the runtime. `pool` is the writer's.

    `committed` is called after each batch, so that the outbox need not wait for its poll.
    """

    def __init__(
        self,
        pool: Pool,
        clock: Clock,
        kafka: KafkaSettings,
        apply: Apply,
        *,
        committed: Callable[[], None] = lambda: None,
        member: str | None = None,
        group: str = GROUP,
        topic: str = PAYMENTS,
        limits: DeadLetterLimits = DEFAULT_LIMITS,
        max_records: int = BATCH_RECORDS,
    ) -> None:
        self._pool, self._clock, self._apply, self._committed = pool, clock, apply, committed
        self._ear = Ear(
            kafka, pool, topic=topic, group=group, member=member, decode=decode, accept=Together(self._accept),
            limits=limits, max_records=max_records,
        )  # fmt: skip

    async def run(self, stopping: asyncio.Event) -> None:
        """Take payment events until `stopping` is set. Raises what must stop the process."""
        await self._ear.run(stopping)

    async def _accept(self, batches: Sequence[Batch[HeardPayment]]) -> None:
        """The fences and the effects, in one transaction."""
        items = [item for batch in batches for item in batch.items]
        told = [each for item in items if (each := _told(item)) is not None]
        traceparents = [each.traceparent for each in told if each.traceparent is not None]
        with start_span(
            f"consume {batches[0].topic}",
            traceparent=traceparents[0] if len(traceparents) == 1 else None,
            links=traceparents[:LINKS_MAX],
            attributes={"messaging.system": "kafka", "messaging.batch.message_count": len(items)},
        ):
            async with transaction(self._pool) as connection:
                await advance_all(connection, batches)
                taken = await take(connection, told, self._clock(), self._apply)
        self._committed()
        _count(batches[0].topic, len(items) - len(told), taken)


def _told(item: Decoded[HeardPayment]) -> ToldPayment | None:
    heard, record = item.value, item.record
    if heard.event is None:
        return None
    return ToldPayment(
        heard.event, heard.type, heard.source, heard.event_id, heard.told_at, record.value, record.topic,
        record.partition, record.offset, record.headers, heard.traceparent,
    )  # fmt: skip


def _count(topic: str, ignored: int, taken: Taken) -> None:
    if ignored:
        metrics.KAFKA_IGNORED_EVENTS.labels(topic).inc(ignored)
    for outcome, count in (("applied", taken.applied), ("known", taken.known), ("released", taken.released)):
        if count:
            metrics.INVOICING_PAYMENT_EVENTS.labels(outcome).inc(count)
    for reason, count in taken.reasons.items():
        metrics.INVOICING_PAYMENT_EVENTS.labels("parked").inc(count)
        metrics.INVOICING_PARKED.labels(reason).inc(count)
        log.warning("payment-events-parked", reason=reason, count=count)
