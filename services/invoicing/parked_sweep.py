"""The loop that releases what waits for a payment that came another way: by a request, not by an event.

Events release what waits for them themselves (parking.py); this finds the rest, a few seconds later.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from libs.common import metrics
from libs.common.clock import Clock
from libs.common.db import Pool, transaction, transient
from libs.common.telemetry import get_logger
from services.invoicing import parked_store, parking
from services.invoicing.parking import Apply

log = get_logger(__name__)

EVERY_S: Final = 5.0
DOCUMENTS: Final = 100


class ParkedSweep:
    """Releases documents whose payment is there. `run` is a task of the runtime; `pool` is the writer's."""

    def __init__(self, pool: Pool, clock: Clock, apply: Apply, *, committed: Callable[[], None] = lambda: None) -> None:
        self._pool, self._clock, self._apply, self._committed = pool, clock, apply, committed

    async def run(self, stopping: asyncio.Event) -> None:
        """Release until `stopping` is set. A database that is away is waited for."""
        while not stopping.is_set():
            try:
                await self.step()
            except Exception as error:
                if not transient(error):
                    raise
                log.warning("parked-sweep-waits", error=str(error) or repr(error))
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), EVERY_S)

    async def step(self) -> int:
        """One round: gives how many messages wait no more."""
        async with self._pool.acquire() as connection:
            documents = await parked_store.releasable_documents(connection, DOCUMENTS)
        released = 0
        for document in documents:
            async with transaction(self._pool) as connection:
                released += await parking.release(connection, document, self._clock(), self._apply, by="arrival")
        if released:
            metrics.INVOICING_PAYMENT_EVENTS.labels("released").inc(released)
            self._committed()
        return released
