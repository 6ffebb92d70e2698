"""What the consumers of events have in common: one topic, dead letters of its own, a start that waits for Kafka.

Each consumer brings `decode` (a record's value, or Poison) and `accept` (a batch in one transaction that moves the
offset fence); positions are in its service's database.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Generic, TypeVar

from aiokafka import ConsumerRecord

from libs.common.bus import DEAD_LETTER_SUFFIX, Batch, Consumer, KafkaSettings, Publisher
from libs.common.db import Pool
from libs.common.dead_letters import DEFAULT_LIMITS, VALUE_BYTES_MAX, DeadLetterLimits
from libs.common.errors import Transient
from libs.common.inbox import StoredPositions
from libs.common.telemetry import get_logger

log = get_logger(__name__)

T = TypeVar("T")

RETRY_S: Final = 1.0
BATCH_RECORDS: Final = 500


class Ear(Generic[T]):
    """One topic, read as `member` of `group`. `run` as a task of the runtime."""

    def __init__(
        self,
        kafka: KafkaSettings,
        pool: Pool,
        *,
        topic: str,
        group: str,
        member: str | None,
        decode: Callable[[ConsumerRecord], T],
        accept: Callable[[Batch[T]], Awaitable[None]],
        limits: DeadLetterLimits = DEFAULT_LIMITS,
        max_records: int = BATCH_RECORDS,
    ) -> None:
        self._group = group
        self._publisher = Publisher(
            kafka, name=group, required_topics={topic + DEAD_LETTER_SUFFIX: VALUE_BYTES_MAX + 64 * 1024}
        )
        self._consumer: Consumer[T] = Consumer(
            kafka,
            topic=topic,
            group=group,
            member=member,
            positions=StoredPositions(pool),
            decode=decode,
            accept=accept,
            dead_letters=self._publisher,
            limits=limits,
            max_records=max_records,
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """Read until `stopping` is set, the batch in hand finished. Raises what must stop the process."""
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
                log.warning("ear-waits-for-kafka", group=self._group, error=str(error))
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), RETRY_S)
            else:
                return True
        return False
