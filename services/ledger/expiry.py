"""Holds whose time is over, ended by a record each.

    due holds of all ledgers, in slices, by the database's clock -> the writer of each, under the key expire/<hold id>

* One query over the partial index `holds_by_expiry` finds what is due, and one says when the next is: nothing is read
  per ledger, so a hundred thousand quiet ones cost nothing. It looks again at the next expiry, and every `poll_s`, for
  a hold that was placed meanwhile may end sooner.
* Every process of the ledger does this. The key is the same in all of them, so a hold is ended once, and who captures
  or releases it in the same moment is either before that or refused.
* A writer whose clock is behind the database's says "not yet", which nobody remembers; it is asked again.
* What cannot be ended now (a full queue, a lost connection, a defect in one ledger) is told to the log and tried again
  in the next round; the others go on.
"""

import asyncio
from contextlib import suppress
from typing import Final

from libs.common import metrics
from libs.common.db import Pool, transient
from libs.common.errors import Failure
from libs.common.holds import ExpireRequest
from libs.common.telemetry import get_logger
from services.ledger import hold_reads
from services.ledger.commands import Asker, Books, Wish, ask, fingerprint_of
from services.ledger.hold_reads import DueHold

log = get_logger(__name__)

SLICE: Final = 500
POLL_S: Final = 2.0
SCOPE: Final = "/expiry"
"""A scope that no asker has: theirs begin with a service."""


class HoldExpiry:
    """Ends the holds of all ledgers in time. `run` is a task of the runtime; `auditor` reads all ledgers."""

    def __init__(self, books: Books, auditor: Pool, *, poll_s: float = POLL_S, slice_holds: int = SLICE) -> None:
        self._books = books
        self._auditor = auditor
        self._poll_s = poll_s
        self._slice_holds = slice_holds

    async def run(self, stopping: asyncio.Event) -> None:
        """Ends what is due until `stopping` is set. Raises what must stop the process."""
        while not stopping.is_set():
            try:
                await self.end_due(stopping)
                wait_s = await self._next_s()
            except Exception as error:
                if not transient(error):
                    raise
                log.warning("expiry-waits", error=str(error) or repr(error))
                wait_s = self._poll_s
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), wait_s)

    async def end_due(self, stopping: asyncio.Event | None = None) -> int:
        """One round over everything that is due now; how many holds it ended."""
        after: DueHold | None = None
        ended = 0
        while stopping is None or not stopping.is_set():
            due = await self._due(after)
            if due:
                ended += sum(await asyncio.gather(*map(self._end, due)))
                after = due[-1]
            if len(due) < self._slice_holds:
                break
        return ended

    async def _end(self, due: DueHold) -> bool:
        asker = Asker(due.organization, "ledger", "ledger", SCOPE)
        wanted = ExpireRequest(hold_id=due.id)
        key = f"expire/{due.id}"
        wish = Wish(asker, due.ledger, wanted, key, fingerprint_of(key), len(key), lookup=True, traceparent=None)
        try:
            answer = await ask(self._books, wish)
        except Exception as error:
            if not (transient(error) or isinstance(error, Failure)):
                raise
            log.warning("hold-not-expired", organization=due.organization, ledger=due.ledger, hold=str(due.id),
                        error=str(error) or repr(error))  # fmt: skip
            return False
        ended = answer.rejection is None and not answer.replayed
        metrics.LEDGER_TX.labels("expire", "posted" if ended else "replayed" if answer.replayed else "rejected").inc()
        return ended

    async def _due(self, after: DueHold | None) -> list[DueHold]:
        async with self._auditor.acquire() as connection:
            return await hold_reads.list_due(connection, after, self._slice_holds)

    async def _next_s(self) -> float:
        """Seconds until something is due that is not yet, `poll_s` at most."""
        async with self._auditor.acquire() as connection:
            seconds = await hold_reads.seconds_to_next(connection)
        return self._poll_s if seconds is None else min(self._poll_s, max(0.01, seconds))
