"""The tie-out of one ledger at one sequence: what is read, compared, and told; and the gauge that does it for all.

    read in one snapshot -> compare (tie_out.py) -> Proof

A sequence that the log was not heard through yet has no proof. The gauge works in rounds over the ledgers whose log
moved on, and rests between them as long as `DUTY` asks, so that the proof never takes more than its share.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from libs.common import metrics
from libs.common.clock import monotonic_s
from libs.common.db import Connection, Pool, transaction, transient
from libs.common.telemetry import get_logger
from services.invoicing import parked_store, tie_out_reads
from services.invoicing.tie_out import PARTY_ROLES, Row, compare
from services.invoicing.tie_out_reads import ByOthers, HeardLedger, Unposted

log = get_logger(__name__)

LISTED_MAX: Final = 200
EVERY_S: Final = 5.0
DUTY: Final = 0.05
"""Share of the time that the gauge works at most."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What subledger and books say at a sequence; lists are cut at LISTED_MAX, counts are not."""

    sequence: int
    rows: Sequence[Row]
    unposted_count: int
    unposted: Sequence[Unposted]
    by_others: Sequence[ByOthers]

    @property
    def ties(self) -> bool:
        return all(row.ties for row in self.rows)

    @property
    def complete(self) -> bool:
        return all(row.complete for row in self.rows)


async def prove(connection: Connection, organization: str, ledger: str, sequence: int) -> Proof:
    """The tie-out at a sequence that was heard. Wants a transaction of one snapshot."""
    mapped = await tie_out_reads.mapped_accounts(connection, organization, ledger)
    movements = await tie_out_reads.movement_sums(connection, organization, ledger, sequence)
    books = await tie_out_reads.book_sums(connection, organization, ledger, sequence)
    count, unposted = await tie_out_reads.unposted(connection, organization, ledger, sequence, LISTED_MAX)
    controlled = sorted({each.account for each in mapped if each.role in PARTY_ROLES})
    by_others = await tie_out_reads.lines_by_others(connection, organization, ledger, sequence, controlled, LISTED_MAX)
    return Proof(sequence, compare(mapped, movements, books), count, unposted, by_others)


class TieOutGauge:
    """Proves every ledger again whenever its log moved on. `run` is a task of the runtime; `pool` is the auditor's."""

    def __init__(self, pool: Pool, *, every_s: float = EVERY_S, duty: float = DUTY) -> None:
        self._pool = pool
        self._every_s, self._duty = every_s, duty
        self._proven: dict[tuple[str, str], tuple[int, int, int]] = {}

    async def run(self, stopping: asyncio.Event) -> None:
        """Prove until `stopping` is set. A database that is away leaves the gauges as they were."""
        while not stopping.is_set():
            begun_s = monotonic_s()
            try:
                await self.step()
            except Exception as error:
                if not transient(error):
                    raise
                log.warning("tie-out-waits", error=str(error) or repr(error))
            rest_s = max(self._every_s, (monotonic_s() - begun_s) / self._duty)
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), rest_s)

    async def step(self) -> None:
        """One round over the ledgers that moved on, then the gauges."""
        async with self._pool.acquire() as connection:
            heard = await tie_out_reads.heard_ledgers(connection)
            metrics.INVOICING_PARKED_WAITING.set(await parked_store.count_waiting(connection))
        for each in heard:
            known = self._proven.get(each[:2])
            if known is None or known[0] != each.sequence or known[1]:
                self._proven[each[:2]] = await self._prove(each)
        metrics.INVOICING_TIE_OUT_DIFFERENCES.set(sum(differences for _, differences, _ in self._proven.values()))
        metrics.INVOICING_ENTRIES_BY_OTHERS.set(sum(by_others for _, _, by_others in self._proven.values()))

    async def _prove(self, heard: HeardLedger) -> tuple[int, int, int]:
        """(sequence, comparisons that do not tie, lines by other hands on controlled accounts)."""
        async with transaction(self._pool, readonly=True) as connection:
            await tie_out_reads.hold_snapshot(connection)
            proof = await prove(connection, heard.organization, heard.ledger, heard.sequence)
        broken = [row for row in proof.rows if row.complete and row.difference]
        for row in broken[:10]:
            log.error(
                "does-not-tie",
                organization=heard.organization,
                ledger=heard.ledger,
                sequence=heard.sequence,
                roles=row.roles,
                currency=row.currency,
                difference_minor=row.difference,
            )
        return heard.sequence, len(broken), len(proof.by_others)
