"""The loop that forgets what nobody asks for any more: kept answers and event ids that are older than any retry.

An idempotency key is remembered for 30 days, an event id as long; topics are kept shorter than that. Deleted is little
at a time, so that nothing else waits.
"""

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Final

from libs.common import inbox
from libs.common.clock import Clock
from libs.common.db import Pool, transaction, transient
from libs.common.telemetry import get_logger
from services.invoicing import request_store

log = get_logger(__name__)

RETENTION: Final = timedelta(days=30)
BATCH: Final = 5_000
LOOK_EVERY_S: Final = 300.0


class Tidying:
    """`run` is a task of the runtime; `step` is one look."""

    def __init__(self, pool: Pool, clock: Clock, *, retention: timedelta = RETENTION) -> None:
        self._pool, self._clock, self._retention = pool, clock, retention

    async def run(self, stopping: asyncio.Event) -> None:
        """Forget until `stopping` is set."""
        while not stopping.is_set():
            try:
                forgotten = await self.step()
            except Exception as error:
                if not transient(error):
                    raise
                log.warning("tidying-waits", error=str(error) or repr(error))
                forgotten = 0
            if forgotten < BATCH:
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), LOOK_EVERY_S)

    async def step(self) -> int:
        """One look: gives how many rows were forgotten."""
        now = self._clock()
        async with transaction(self._pool) as connection:
            answers = await request_store.forget(connection, now, self._retention, BATCH)
            events = await inbox.forget(connection, now - self._retention, BATCH)
        return max(answers, events)
