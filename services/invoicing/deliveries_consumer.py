"""From our own events to deliveries: `invoicing.events.v1` into a row for each target that hears of the type.

    batches -> one transaction { the offset fences, deliveries of every event to every target of its organization }

What is delivered is made here once, so that every try sends the same bytes:

    {"id": event id, "type": "invoicing.invoice-paid.v1", "time": "...", "data": {the event's own value}}
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import uuid5

import orjson
from aiokafka import ConsumerRecord

from libs.common.bus import Batch, KafkaSettings, parse_headers
from libs.common.clock import Clock
from libs.common.db import Pool, transaction
from libs.common.dead_letters import DEFAULT_LIMITS, DeadLetterLimits
from libs.common.errors import Poison
from libs.common.events_invoicing import INVOICING
from libs.common.listening import Ear, Together, advance_all
from libs.common.messages import rfc3339
from services.invoicing import delivery_store
from services.invoicing.delivery_store import NewDelivery, Target

GROUP: Final = "invoicing-webhooks"
BATCH_RECORDS: Final = 2_000
PACE_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class OwnEvent:
    """An event of ours, as it was published."""

    organization: str
    event_id: str
    type: str
    time: datetime | None
    value: bytes

    @property
    def body(self) -> bytes:
        """What is delivered."""
        time = rfc3339(self.time) if self.time is not None else None
        return orjson.dumps({"id": self.event_id, "type": self.type, "time": time, "data": orjson.Fragment(self.value)})


def decode(record: ConsumerRecord) -> OwnEvent:
    """The event of a record. Raises Poison."""
    about = parse_headers(record.headers)
    if record.value is None:
        raise Poison("value-null", "an event has a value")
    try:
        value: Any = orjson.loads(record.value)
    except orjson.JSONDecodeError:
        raise Poison("schema", "is not JSON") from None
    organization = value.get("organization") if isinstance(value, dict) else None
    if not isinstance(organization, str):
        raise Poison("schema", "names no organization", "/organization")
    return OwnEvent(organization, about.id, about.type, about.time, record.value)


class DeliveriesConsumer:
    """Reads `invoicing.events.v1` as `member` of its group; `run` is a task of the runtime. `pool` is the writer's."""

    def __init__(
        self,
        pool: Pool,
        clock: Clock,
        kafka: KafkaSettings,
        *,
        committed: Callable[[], None] = lambda: None,
        member: str | None = None,
        group: str = GROUP,
        topic: str = INVOICING,
        limits: DeadLetterLimits = DEFAULT_LIMITS,
    ) -> None:
        self._pool, self._clock, self._committed = pool, clock, committed
        self._ear = Ear(
            kafka, pool, topic=topic, group=group, member=member, decode=decode, accept=Together(self._accept),
            limits=limits, max_records=BATCH_RECORDS, pace_s=PACE_S,
        )  # fmt: skip

    async def run(self, stopping: asyncio.Event) -> None:
        """Make deliveries until `stopping` is set. Raises what must stop the process."""
        await self._ear.run(stopping)

    async def _accept(self, batches: Sequence[Batch[OwnEvent]]) -> None:
        """The fences and the deliveries, in one transaction."""
        events = [item.value for batch in batches for item in batch.items]
        async with transaction(self._pool) as connection:
            await advance_all(connection, batches)
            targets = await delivery_store.active_targets(connection, sorted({each.organization for each in events}))
            if deliveries := _deliveries(events, targets):
                await delivery_store.insert_deliveries(connection, deliveries, self._clock())
        self._committed()


def _deliveries(events: Sequence[OwnEvent], targets: Sequence[Target]) -> list[NewDelivery]:
    return [
        NewDelivery(each.organization, uuid5(target.id, each.event_id), target.id, each.event_id, each.type, each.body)
        for each in events
        for target in targets
        if target.organization == each.organization and (not target.types or each.type in target.types)
    ]
