"""The loop that makes recurring invoices when they are due, by the database's clock, in any number of processes.

    look -> a batch of recurrences that are due, each with its next day -> one commit -> look again while there are more

A process that dies in between leaves nothing: the days are due still, and the next look makes them. What the database
refuses in a batch is tried one by one; the one that it refuses alone needs attention, and the others are made.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import asyncpg

from libs.common import metrics
from libs.common.db import Pool, transaction, transient
from libs.common.sealing import Sealer
from libs.common.telemetry import get_logger
from services.invoicing import recurring_store
from services.invoicing.recurring import ReadTemplate, make_due, refuse_due
from services.invoicing.recurring_store import OccurrenceRow
from services.invoicing.rejections import reject

log = get_logger(__name__)

LOOK_EVERY_S: Final = 10.0
BATCH: Final = 50

_REFUSED: Final = (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError)


class Repeating:
    """`run` is a task of the runtime; `step` is one look. `wake` lets the outbox relay know."""

    def __init__(
        self,
        pool: Pool,
        sealer: Sealer,
        read: ReadTemplate,
        *,
        wake: Callable[[], None] = lambda: None,
        look_every_s: float = LOOK_EVERY_S,
        batch: int = BATCH,
    ) -> None:
        self._pool, self._sealer, self._read, self._wake = pool, sealer, read, wake
        self._look_every_s, self._batch = look_every_s, batch

    async def run(self, stopping: asyncio.Event) -> None:
        """Make what is due until `stopping` is set. A database that is away is waited for."""
        while not stopping.is_set():
            try:
                made = await self.step()
            except Exception as error:
                if not transient(error):
                    raise
                log.warning("repeating-waits", error=str(error) or repr(error))
                made = 0
            if not made:
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), self._look_every_s)

    async def step(self) -> int:
        """One look: gives how many occurrences there are more."""
        try:
            settled = await self._make()
        except _REFUSED:
            settled = await self._one_by_one()
        for row in settled:
            metrics.INVOICING_OCCURRENCES.labels(row.state).inc()
            if row.state == "needs-attention":
                log.warning("occurrence-needs-attention", recurrence=str(row.recurrence), on=str(row.on_date))
        if settled:
            self._wake()
        return len(settled)

    async def _make(self) -> Sequence[OccurrenceRow]:
        async with transaction(self._pool) as connection:
            return await make_due(connection, self._sealer, self._read, self._batch)

    async def _one_by_one(self) -> Sequence[OccurrenceRow]:
        async with transaction(self._pool) as connection:
            due = await recurring_store.claim_due(connection, self._batch)
        settled: list[OccurrenceRow] = []
        for row in due:
            try:
                async with transaction(self._pool) as connection:
                    settled += await make_due(connection, self._sealer, self._read, 1, row["id"])
            except _REFUSED as error:
                log.error("occurrence-refused", recurrence=str(row["id"]), error=str(error))
                why = reject("guard-refused", guard=getattr(error, "constraint_name", None))
                async with transaction(self._pool) as connection:
                    settled += await refuse_due(connection, row["id"], why)
        return settled
