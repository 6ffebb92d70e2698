"""The background proof: every ledger in turn, slowly, for as long as the process lives.

    claim the ledger whose proof is oldest -> verify it slice by slice, resting between slices -> keep what was found

* A ledger is due when it was never proven, when its log moved, or when its last proof is a round old; quiet ledgers
  are left alone between rounds. What is due next is in the table `proofs`, so a restart goes on with the next ledger (a
  proof that was cut off begins again) and several processes share the work.
* It works a given share of the time (`duty`) and rests the remainder. Only the end of a ledger's proof, which compares
  sums in one snapshot, is not interrupted.
* What belongs to no ledger at all (`strays`) no ledger's proof would see; it is looked for every ten minutes.
* The gauges are read from that table: a ledger that does not verify counts until a later proof of it, by anybody,
  says otherwise. Which ledger it is, and where it differs first, is in the log line `books-do-not-verify`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from libs.common import metrics
from libs.common.clock import monotonic_s, now
from libs.common.db import Pool, transient
from libs.common.telemetry import get_logger
from services.ledger import books_store, proof_store
from services.ledger.replay import INVARIANTS
from services.ledger.state import Ledger
from services.ledger.verify import Pace, Report, rest_never, verify

log = get_logger(__name__)

DUTY: Final = 0.05
ROUND_HOURS: Final = 24
OBSERVE_S: Final = 10.0
IDLE_S: Final = 5.0
STRAYS_EVERY_S: Final = 600.0
REST_S_MAX: Final = 30.0
CLAIM: Final = timedelta(minutes=5)
KEEP_CLAIM_S: Final = 60.0
BACKOFF_S: Final = 5.0


async def prove(auditor: Pool, ledger: Ledger, *, pace: Pace = rest_never) -> Report:
    """Verifies one ledger, keeps what was found, and says it in the log where something differs."""
    report = await verify(auditor, ledger, pace=pace)
    violations = {found.name: found.violations for found in report.invariants if found.violations}
    await proof_store.store_proof(auditor, ledger.no, report.checked_through, violations)
    for found in report.invariants:
        if not found.ok:
            log.error(
                "books-do-not-verify",
                organization=ledger.organization,
                ledger=ledger.code,
                invariant=found.name,
                violations=found.violations,
                first_difference=found.detail,
            )
    return report


class Prover:
    """Proves all ledgers for ever; `run` is a task of the runtime. A `duty` of 0 proves nothing and only observes."""

    def __init__(
        self,
        auditor: Pool,
        *,
        duty: float = DUTY,
        round_every: timedelta = timedelta(hours=ROUND_HOURS),
        observe_s: float = OBSERVE_S,
        idle_s: float = IDLE_S,
    ) -> None:
        assert 0 <= duty <= 1, "a share of the time"
        self._auditor = auditor
        self._duty = duty
        self._round_every = round_every
        self._observe_s = observe_s
        self._idle_s = idle_s
        self._round_began_at: datetime = now()
        self._observed_s = 0.0
        self._strays_sought_s = 0.0
        self._claimed: int | None = None

    async def run(self, stopping: asyncio.Event) -> None:
        """Proves until `stopping` is set. Raises what must stop the process."""
        while not stopping.is_set():
            try:
                await self._observe()
                await self._seek_strays()
                rest_s = await self._prove_next(stopping)
            except Exception as error:
                if not transient(error):
                    raise
                log.warning("proof-waits", error=str(error) or repr(error))
                rest_s = BACKOFF_S
            await _rest(stopping, rest_s)

    async def _prove_next(self, stopping: asyncio.Event) -> float:
        """Proves the ledger that is due, if one is; returns how long to rest then, in seconds."""
        begun_s = monotonic_s()
        await self._give_back()
        claimed = await proof_store.claim_next(self._auditor, self._round_every, CLAIM) if self._duty else None
        if claimed is None:
            return self._idle_s
        no, organization, code = claimed
        self._claimed = no
        resting = _Resting(self._auditor, self._duty, no, stopping, self._observe, begun_s)
        try:
            async with self._auditor.acquire() as connection:
                ledger = await books_store.load_ledger(connection, organization, code)
            if ledger is None:
                log.error("ledger-is-gone", organization=organization, ledger=code)
                self._claimed = None
                return self._idle_s
            await prove(self._auditor, ledger, pace=resting)
        except _StoppedError:
            await self._give_back()
        self._claimed = None
        return resting.due_s()

    async def _give_back(self) -> None:
        """Drops the claim of a proof that was cut off, so that nobody waits until it is over."""
        if self._claimed is not None:
            await proof_store.drop_claim(self._auditor, self._claimed)
            self._claimed = None

    async def _seek_strays(self) -> None:
        """Looks for what no ledger's proof would see, once in `STRAYS_EVERY_S`."""
        if not self._duty or (self._strays_sought_s and monotonic_s() - self._strays_sought_s < STRAYS_EVERY_S):
            return
        self._strays_sought_s = monotonic_s()
        strays = await proof_store.find_strays(self._auditor)
        metrics.LEDGER_INVARIANT_VIOLATIONS.labels("strays").set(len(strays))
        for stray in strays:
            log.error(
                "books-do-not-verify", invariant="strays", table=stray.table, key=stray.key, missing=stray.expected
            )

    async def _observe(self) -> None:
        """Sets the gauges, at most once in `observe_s`."""
        if self._observed_s and monotonic_s() - self._observed_s < self._observe_s:
            return
        self._observed_s = monotonic_s()
        standing = await proof_store.load_standing(self._auditor)
        for name in INVARIANTS:
            metrics.LEDGER_INVARIANT_VIOLATIONS.labels(name).set(standing.violations.get(name, 0))
        metrics.LEDGER_PROOF_FAILED_LEDGERS.set(standing.failed_ledgers)
        metrics.LEDGER_PROOF_LAG_RECORDS.set(standing.lag_records)
        metrics.LEDGER_PROOF_AGE_SECONDS.set(standing.age_s)
        metrics.LEDGER_PROOF_LAST_SECONDS.set(standing.last_s)
        if standing.oldest_at is not None and standing.oldest_at >= self._round_began_at:
            metrics.LEDGER_PROOF_ROUND_SECONDS.set((now() - self._round_began_at).total_seconds())
            self._round_began_at = now()


class _StoppedError(Exception):
    """The process stops: the proof is given up between two slices."""


class _Resting:
    """The pace of one ledger's proof: rests so that the work is `duty` of the time, and keeps the claim alive."""

    def __init__(
        self,
        auditor: Pool,
        duty: float,
        ledger_no: int,
        stopping: asyncio.Event,
        observe: Callable[[], Awaitable[None]],
        begun_s: float,
    ) -> None:
        self._auditor = auditor
        self._duty = duty
        self._ledger_no = ledger_no
        self._stopping = stopping
        self._observe = observe
        self._since_s = self._kept_s = begun_s

    def due_s(self) -> float:
        """The rest that the work since the last one has earned."""
        return min(REST_S_MAX, (monotonic_s() - self._since_s) * (1 / self._duty - 1))

    async def __call__(self) -> None:
        await _rest(self._stopping, self.due_s())
        if self._stopping.is_set():
            raise _StoppedError
        self._since_s = monotonic_s()
        if self._since_s - self._kept_s > KEEP_CLAIM_S:
            self._kept_s = self._since_s
            await proof_store.keep_claim(self._auditor, self._ledger_no, CLAIM)
        await self._observe()


async def _rest(stopping: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stopping.wait(), seconds)
