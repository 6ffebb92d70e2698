"""The loop that asks again: what the ledger did not answer in time is sent once more, what waits for a rate is tried.

Sent are the stored bytes, and each time the posting is put off for twice as long. While the request topic is behind
(`lags` says so) nothing is sent: the answers are on their way, and more requests only make the queue longer.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from libs.common.clock import Clock
from libs.common.db import Pool, transaction, transient
from libs.common.telemetry import get_logger
from services.invoicing import posting_store
from services.invoicing.posting_requests import Redraft, resend_due, retry

log = get_logger(__name__)

LOOK_EVERY_S: Final = 5.0
RETRY_EVERY: Final = 6
"""Of so many looks one tries what waits for a rate."""
BATCH: Final = 500


async def _never_lags() -> bool:
    return False


class Resending:
    """`run` is a task of the runtime; `step` is one look. `wake` lets the outbox relay know."""

    def __init__(
        self,
        pool: Pool,
        clock: Clock,
        *,
        wake: Callable[[], None],
        redraft: Redraft,
        lags: Callable[[], Awaitable[bool]] = _never_lags,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._pool, self._clock, self._wake, self._lags, self._redraft = pool, clock, wake, lags, redraft
        self._look_every_s = look_every_s
        self._looks = 0

    async def run(self, stopping: asyncio.Event) -> None:
        """Ask again until `stopping` is set."""
        while not stopping.is_set():
            try:
                sent = await self.step()
            except Exception as error:
                if not transient(error):
                    raise
                log.warning("resending-waits", error=str(error) or repr(error))
                sent = 0
            if sent < BATCH:
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), self._look_every_s)

    async def step(self) -> int:
        """One look: gives how many were sent again."""
        sent = 0
        if not await self._lags():
            async with transaction(self._pool) as connection:
                sent = await resend_due(connection, self._clock(), BATCH)
        if self._looks % RETRY_EVERY == 0:
            await self._retry_waiting()
        self._looks += 1
        if sent:
            log.info("requests-sent-again", count=sent)
            self._wake()
        return sent

    async def _retry_waiting(self) -> None:
        async with transaction(self._pool, readonly=True) as connection:
            rows = await posting_store.waiting_without_value(connection, BATCH)
        for row in rows:
            async with transaction(self._pool) as connection:
                await retry(connection, row["organization"], row["id"], self._clock(), self._redraft)
        if rows:
            self._wake()
