"""The loop that recognises deferred revenue when an accounting period ends, in any number of processes.

    look -> ledgers that defer something -> the last period end of each that has passed, by its calendar and the
            database's clock -> a batch of deferrals, of the latest ledgers first, each brought on by one period end, in
            one commit
         -> look again while there are more

A process that dies in between leaves nothing, and the next look does it. What the database refuses in a batch is tried
one by one, and what it refuses alone is put off like what cannot be recognised yet; the others go on. A ledger is left
alone while its setting says that revenue is recognised by hand, and until its calendar was heard; that it waits for
that the lag shows.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import asyncpg

from libs.common import metrics
from libs.common.clock import Clock
from libs.common.db import Pool, transaction, transient
from libs.common.periods import FiscalCalendar, accounting_day
from libs.common.telemetry import get_logger
from services.invoicing import deferral_store
from services.invoicing.deferral_store import DeferringLedger, PassedEnd
from services.invoicing.deferrals import Calendars, Outcome, recognise_passed, refuse_next
from services.invoicing.recognition import end_behind, passed_end
from services.invoicing.rejections import reject

log = get_logger(__name__)

LOOK_EVERY_S: Final = 10.0
BATCH: Final = 50
NOT_HEARD: Final = FiscalCalendar("01-01")
"""Stands in for a calendar that was not heard yet, in the lag alone."""

_REFUSED: Final = (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError)


class Standing(NamedTuple):
    """How a ledger stands: its last period end that has passed, and the days since the first one that is not done."""

    ledger: DeferringLedger
    calendar: FiscalCalendar
    passed: PassedEnd
    lag_days: int

    @property
    def is_due(self) -> bool:
        return self.lag_days > 0 and self.ledger.time_zone is not None


def standing(ledger: DeferringLedger) -> Standing:
    """Where a ledger's calendar was not heard yet, its days are UTC's and its months begin on the first."""
    calendar, today = NOT_HEARD, ledger.clock.date()
    if ledger.time_zone is not None and ledger.day_cut_off is not None and ledger.fiscal_year_start is not None:
        calendar = FiscalCalendar(ledger.fiscal_year_start)
        today = accounting_day(ledger.clock, ledger.time_zone, ledger.day_cut_off)
    lag = today - end_behind(calendar, ledger.recognised_through)
    passed = PassedEnd(ledger.organization, ledger.ledger, passed_end(calendar, today))
    return Standing(ledger, calendar, passed, max(lag.days, 0))


class Recognising:
    """`run` is a task of the runtime; `step` is one look. `pool` is the writer's, `wake` lets the outbox relay know."""

    def __init__(
        self,
        pool: Pool,
        clock: Clock,
        *,
        wake: Callable[[], None] = lambda: None,
        look_every_s: float = LOOK_EVERY_S,
        batch: int = BATCH,
    ) -> None:
        self._pool, self._clock, self._wake = pool, clock, wake
        self._look_every_s, self._batch = look_every_s, batch

    async def run(self, stopping: asyncio.Event) -> None:
        """Recognise until `stopping` is set. A database that is away is waited for."""
        while not stopping.is_set():
            try:
                brought_on = await self.step()
            except Exception as error:
                if not transient(error):
                    raise
                log.warning("recognising-waits", error=str(error) or repr(error))
                brought_on = 0
            if not brought_on:
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), self._look_every_s)

    async def step(self) -> int:
        """One look: gives how many deferrals were brought on, or refused, by a period end."""
        async with self._pool.acquire() as connection:
            found = [standing(each) for each in await deferral_store.deferring_ledgers(connection)]
        metrics.INVOICING_RECOGNITION_LAG_DAYS.set(max((each.lag_days for each in found), default=0))
        for each in found:
            if each.lag_days and each.ledger.time_zone is None:
                log.warning("calendar-unheard", organization=each.ledger.organization, ledger=each.ledger.ledger)
        due = sorted((each for each in found if each.is_due), key=lambda each: -each.lag_days)
        outcomes = await self._recognise(due)
        for outcome, count in Counter(outcomes).items():
            metrics.INVOICING_RECOGNITIONS.labels(outcome).inc(count)
        if outcomes:
            self._wake()
        return len(outcomes)

    async def _recognise(self, due: Sequence[Standing]) -> list[Outcome]:
        calendars = {each.passed[:2]: each.calendar for each in due}
        ends = [each.passed for each in due]
        if not ends:
            return []
        try:
            async with transaction(self._pool) as connection:
                return await recognise_passed(connection, calendars, ends, self._clock(), self._batch)
        except _REFUSED:
            return await self._one_by_one(calendars, ends)

    async def _one_by_one(self, calendars: Calendars, ends: Sequence[PassedEnd]) -> list[Outcome]:
        """As many as a batch has; the one that the database refuses alone is put off."""
        outcomes: list[Outcome] = []
        for _ in range(self._batch):
            try:
                async with transaction(self._pool) as connection:
                    done = await recognise_passed(connection, calendars, ends, self._clock(), 1)
            except _REFUSED as error:
                log.error("recognition-refused", error=str(error))
                why = reject("guard-refused", guard=getattr(error, "constraint_name", None))
                async with transaction(self._pool) as connection:
                    done = await refuse_next(connection, ends, why)
            outcomes += done
        return outcomes
