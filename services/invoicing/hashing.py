"""The hash of each issued document, soon after its issue: rendered once as it was issued, in the background.

    step: invoices without a hash, held -> their parties opened -> rendered by today's form -> SHA-256, stored;
          then credit notes likewise, between the parties of their invoices

A page takes about 0.1 ms of the one core that issues, and at issue the number's lock would be held for it; so it
follows the commit, at a pace that leaves issuing its speed. Done twice is done once: what has a hash is passed over,
and the database keeps the first. A form that changes gets a new number (`html.FORM`), and the hash says which one it
is of.
"""

import asyncio
from contextlib import suppress
from hashlib import sha256
from typing import Final
from uuid import UUID

from libs.common.db import Connection, Pool, transaction, transient
from libs.common.sealing import Sealer
from libs.common.telemetry import get_logger
from services.invoicing import issued_parties, party_store
from services.invoicing.documents import html
from services.invoicing.documents.printed import PrintedInvoice
from services.invoicing.issued_parties import Parties
from services.invoicing.party_store import HashedRow
from services.invoicing.printing import as_issued, printed_note
from services.invoicing.rows import Row

log = get_logger(__name__)

BATCH: Final = 50
PACE_S: Final = 0.2
IDLE_S: Final = 1.0


def document_hash(printed: PrintedInvoice) -> bytes:
    """SHA-256 of the rendered page."""
    return sha256(html.render(printed).encode()).digest()


class Hashing:
    """`run` is a task of the runtime. `pool` is the writer's."""

    def __init__(self, pool: Pool, sealer: Sealer, *, batch: int = BATCH, pace_s: float = PACE_S) -> None:
        self._pool, self._sealer = pool, sealer
        self._batch, self._pace_s = batch, pace_s

    async def run(self, stopping: asyncio.Event) -> None:
        """Hash until `stopping` is set. A database that is away is tried again."""
        while not stopping.is_set():
            pause_s = IDLE_S
            try:
                if await self.step() == self._batch:
                    pause_s = self._pace_s
            except Exception as error:
                if not transient(error):
                    raise
                log.warning("hashing-waits", error=str(error) or repr(error))
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), pause_s)

    async def step(self) -> int:
        """One batch: gives how many documents were hashed."""
        async with transaction(self._pool) as connection:
            found = await party_store.unhashed(connection, self._batch)
            hashed = [await self._hashed(row, as_issued(row, *self._parties(row["id"], row))) for row in found]
            if hashed:
                await party_store.store_hashes(connection, hashed)
            return len(found) + await self._notes(connection, self._batch - len(found))

    async def _notes(self, connection: Connection, limit: int) -> int:
        """What is left of the batch, for credit notes."""
        found = await party_store.unhashed_notes(connection, limit)
        invoices = await party_store.corrected(connection, [(row["organization"], row["invoice"]) for row in found])
        hashed = []
        for row in found:
            invoice = invoices[row["organization"], row["invoice"]]
            printed = printed_note(row, invoice, *self._parties(row["invoice"], row))
            hashed.append(await self._hashed(row, printed))
        if hashed:
            await party_store.store_note_hashes(connection, hashed)
        return len(found)

    def _parties(self, invoice: UUID, row: Row) -> Parties:
        return issued_parties.known(self._sealer, row["organization"], invoice, row)

    async def _hashed(self, row: Row, printed: PrintedInvoice) -> HashedRow:
        """Others come in between: a page takes its time."""
        await asyncio.sleep(0)
        return HashedRow(row["organization"], row["id"], document_hash(printed), html.FORM)
