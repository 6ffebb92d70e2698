"""The loop that asks again: what the ledger did not answer in time is sent once more, what waits for a rate is tried.

Sent are the stored bytes, and each time the posting is put off for twice as long. While the ledger has not read what
was sent before (`lags` says so) nothing is sent: the answers are on their way, more requests make the queue longer.
What waits for a rate is tried when one comes (`rates_came`), and every now and then for what came otherwise.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

from libs.common.clock import Clock
from libs.common.db import Pool, transaction, transient
from libs.common.telemetry import get_logger
from services.invoicing import waiting_store
from services.invoicing.posting_requests import RESEND_FIRST, Redraft, resend_due, retry

log = get_logger(__name__)

LOOK_EVERY_S: Final = 5.0
RETRY_EVERY: Final = 6
"""Of so many looks one tries what waits for a rate."""
BATCH: Final = 500

Lags = Callable[[datetime], Awaitable[bool]]
"""Whether the ledger has not yet read all requests that were sent before an instant."""


class Resending:
    """`run` is a task of the runtime; `step` is one look. `wake` lets the outbox relay know."""

    def __init__(
        self,
        pool: Pool,
        clock: Clock,
        *,
        wake: Callable[[], None],
        redraft: Redraft,
        lags: Lags,
        look_every_s: float = LOOK_EVERY_S,
        batch: int = BATCH,
    ) -> None:
        self._pool, self._clock, self._wake, self._lags, self._redraft = pool, clock, wake, lags, redraft
        self._look_every_s, self._batch = look_every_s, batch
        self._looks = 0
        self._awake = asyncio.Event()

    def rates_came(self) -> None:
        """There are new rates: call it after the commit, and what waits for one is tried soon."""
        self._looks = 0
        self._awake.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Ask again until `stopping` is set."""
        while not stopping.is_set():
            self._awake.clear()
            try:
                sent = await self.step()
            except Exception as error:
                if not transient(error):
                    raise
                log.warning("resending-waits", error=str(error) or repr(error))
                sent = 0
            if sent < self._batch:
                await self._sleep(stopping)

    async def step(self) -> int:
        """One look: gives how many were sent again."""
        looks, self._looks = self._looks, self._looks + 1
        sent = await self._resend()
        if looks % RETRY_EVERY == 0:
            await self._retry_waiting()
        return sent

    async def _resend(self) -> int:
        now = self._clock()
        async with transaction(self._pool, readonly=True) as connection:
            if not await waiting_store.is_any_due(connection, now):
                return 0
        if await self._lags(now - RESEND_FIRST / 2):
            log.info("requests-not-read-yet")
            return 0
        async with transaction(self._pool) as connection:
            sent = await resend_due(connection, now, self._batch)
        if sent:
            log.info("requests-sent-again", count=sent)
            self._wake()
        return sent

    async def _retry_waiting(self) -> None:
        """Every posting that waits, a batch at a time, each in a transaction of its own."""
        after = waiting_store.FIRST
        while True:
            async with transaction(self._pool, readonly=True) as connection:
                rows = await waiting_store.waiting_without_value(connection, after, self._batch)
            for row in rows:
                async with transaction(self._pool) as connection:
                    await retry(connection, row["organization"], row["id"], self._clock(), self._redraft)
            if rows:
                self._wake()
            if len(rows) < self._batch:
                return
            after = rows[-1]["created_at"], rows[-1]["id"]

    async def _sleep(self, stopping: asyncio.Event) -> None:
        """Until it is time to look, or rates came, or told to stop."""
        waits = [asyncio.create_task(self._awake.wait()), asyncio.create_task(stopping.wait())]
        await asyncio.wait(waits, timeout=self._look_every_s, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
