"""What the consumers of events have in common: one topic, dead letters of its own, a start that waits for Kafka.

Each consumer brings `decode` (a record's value, or Poison) and `accept` (a batch in one transaction that moves the
offset fence); positions are in its service's database. Where many small batches come, `Together` makes one transaction
of those that come at once, from several partitions; what fails together is tried again one by one, so that a
partition's trouble stays its own.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, Generic, TypeVar

from aiokafka import ConsumerRecord

from libs.common.bus import DEAD_LETTER_SUFFIX, Batch, Consumer, KafkaSettings, Publisher
from libs.common.db import Connection, Pool
from libs.common.dead_letters import DEFAULT_LIMITS, VALUE_BYTES_MAX, DeadLetterLimits
from libs.common.errors import Transient
from libs.common.inbox import Move, StoredPositions, advance_each
from libs.common.telemetry import get_logger

log = get_logger(__name__)

T = TypeVar("T")

RETRY_S: Final = 1.0
BATCH_RECORDS: Final = 500
PACE_S: Final = 0.05
TOGETHER_RECORDS: Final = 500
"""As many make a transaction's fixed cost small; more than that do better side by side."""


class Together(Generic[T]):
    """An `accept` for each batch, made of one for several; every batch is of another partition."""

    def __init__(self, accept: Callable[[Sequence[Batch[T]]], Awaitable[None]]) -> None:
        self._accept = accept
        self._waiting: list[tuple[Batch[T], asyncio.Future[None]]] = []
        self._under_way: set[asyncio.Task[None]] = set()

    async def accept(self, batch: Batch[T]) -> None:
        """Returns when the batch is committed. Raises what kept it from that."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._waiting.append((batch, done))
        if len(self._waiting) == 1:
            loop.call_soon(self._begin)  # after those who are about to ask in this turn of the loop
        await done

    async def stop(self) -> None:
        """What is under way is given up: nobody waits for it any more."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _begin(self) -> None:
        waiting, self._waiting = self._waiting, []
        while waiting:
            group = [waiting.pop(0)]
            records = len(group[0][0].items)
            while waiting and records + len(waiting[0][0].items) <= TOGETHER_RECORDS:
                group.append(waiting.pop(0))
                records += len(group[-1][0].items)
            task = asyncio.create_task(self._settle(group))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _settle(self, group: Sequence[tuple[Batch[T], "asyncio.Future[None]"]]) -> None:
        try:
            await self._accept([batch for batch, _ in group])
        except Exception as error:  # noqa: BLE001 - it is told to whoever brought the batch
            if len(group) == 1:
                _tell(group[0][1], error)
            else:
                for each in group:
                    await self._settle([each])
        else:
            for _, done in group:
                _tell(done, None)


def _tell(done: "asyncio.Future[None]", error: Exception | None) -> None:
    if done.done():
        return  # who asked was cancelled
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)


async def advance_all(connection: Connection, batches: Sequence[Batch[T]]) -> None:
    """Moves the fences of batches inside their effects' transaction, in the order of partitions. Raises FenceLost."""
    await advance_each(
        connection,
        [
            Move(batch.cluster_id, batch.topic, batch.partition, batch.expected, batch.next_offset)
            for batch in sorted(batches, key=lambda batch: batch.partition)
        ],
    )


class Ear(Generic[T]):
    """One topic, read as `member` of `group`. `run` as a task of the runtime.

    `pace_s`: what nobody waits for may gather for longer.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        pool: Pool,
        *,
        topic: str,
        group: str,
        member: str | None,
        decode: Callable[[ConsumerRecord], T],
        accept: Callable[[Batch[T]], Awaitable[None]] | Together[T],
        limits: DeadLetterLimits = DEFAULT_LIMITS,
        max_records: int = BATCH_RECORDS,
        pace_s: float = PACE_S,
    ) -> None:
        self._group = group
        self._together = accept if isinstance(accept, Together) else None
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
            accept=accept.accept if isinstance(accept, Together) else accept,
            dead_letters=self._publisher,
            limits=limits,
            max_records=max_records,
            pace_s=pace_s,
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """Read until `stopping` is set, the batch in hand finished. Raises what must stop the process."""
        try:
            if await self._connected(stopping):
                await self._consumer.run(stopping)
        finally:
            if self._together is not None:
                await self._together.stop()
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
