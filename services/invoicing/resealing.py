"""After a rotation of the sealing keys: what older keys sealed is sealed again with the newest, in the background.

Once at the start, since keys are read at the start alone; batch by batch, each its own transaction, beside everything
else. The gauge says 1 when nothing is left that an older key opens: then older keys may be dropped from the file.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

from libs.common import metrics
from libs.common.db import Pool, transient
from libs.common.sealing import Sealer
from libs.common.telemetry import get_logger

log = get_logger(__name__)

AGAIN_S: Final = 10.0

Reseal = Callable[[Pool, Sealer], Awaitable[int]]
"""Seals again what one table has of older keys, until nothing is left; gives how many."""


class Resealing:
    """`run` is a task of the runtime. `pool` is the writer's."""

    def __init__(self, pool: Pool, sealer: Sealer, tables: Sequence[Reseal], *, again_s: float = AGAIN_S) -> None:
        self._pool, self._sealer, self._tables = pool, sealer, tables
        self._again_s = again_s

    async def run(self, stopping: asyncio.Event) -> None:
        """Seal again until all is done, then wait for the end. A database that is away is tried again."""
        metrics.INVOICING_RESEALED.set(0)
        while not stopping.is_set():
            try:
                await self.step()
            except Exception as error:
                if not transient(error):
                    raise
                log.warning("resealing-waits", error=str(error) or repr(error))
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), self._again_s)
            else:
                metrics.INVOICING_RESEALED.set(1)
                await stopping.wait()

    async def step(self) -> int:
        """All tables once: gives how many values were sealed again."""
        count = sum([await reseal(self._pool, self._sealer) for reseal in self._tables])
        if count:
            log.info("sealed-again", count=count, key_id=self._sealer.key_id)
        return count
