"""Drafts change and go: whole, by the version that the caller saw; what is issued does neither.

    change   the draft held -> may it -> planned anew, as a new wish is -> row and lines replaced
    remove   the draft held -> may it -> lines and row deleted; nothing was numbered, posted or told of it

The ledger of a draft stays. Neither draws a number, so a series has no gaps from drafts that were given up.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from libs.common.db import Connection
from libs.common.errors import Rejection
from libs.common.sealing import Sealer
from services.invoicing import domain, invoice_store, settlement_store
from services.invoicing.asking import OK, Done
from services.invoicing.catalog_store import ledger_terms
from services.invoicing.invoice_planning import plans
from services.invoicing.invoice_plans import InvoiceWish
from services.invoicing.invoices import Making, lines_of, row_of, standing_of, tax_rows, terms_rows
from services.invoicing.rejections import reject
from services.invoicing.rows import Row
from services.invoicing.words import invoice_words


async def change_draft(
    connection: Connection, sealer: Sealer, invoice: UUID, wish: InvoiceWish, version: int, now: datetime
) -> Done | Rejection:
    """Makes a draft what is wished now; `wish.ledger` has to be its own where the wish names one."""
    row = await _held(connection, wish.organization, invoice, version)
    if isinstance(row, Rejection):
        return row
    if wish.ledger != row["ledger"]:
        return reject("ledger-differs", f"The draft is of ledger {row['ledger']}.", ledger=row["ledger"])
    terms = await ledger_terms(connection, [(wish.organization, wish.ledger)])
    (planned,) = await plans(connection, sealer, [wish], terms, now)
    if isinstance(planned, Rejection):
        return planned
    prefix = terms[wish.organization, wish.ledger].number_prefix
    making = Making(0, planned, invoice, prefix, False, row["created_at"], version + 1)
    changed, lines = row_of(making, None, now), lines_of(making)
    await invoice_store.change_draft(connection, changed)
    await invoice_store.remove_draft_lines(connection, wish.organization, invoice)
    await invoice_store.insert_lines(connection, lines)
    await settlement_store.insert_terms(connection, terms_rows(making))
    told: dict[str, Any] = {
        **changed._asdict(), "paid": 0, "credited": 0, "written_off": 0, "version": making.version,
    }  # fmt: skip
    taxes = tax_rows(wish.organization, invoice, planned.totals)
    return Done(
        invoice_words(told, [tax._asdict() for tax in taxes], [line._asdict() for line in lines]), OK
    )  # fmt: skip


async def remove_draft(
    connection: Connection, organization: str, invoice: UUID, version: int | None
) -> Done | Rejection:  # fmt: skip
    """Deletes a draft, of whatever version where none is named."""
    row = await _held(connection, organization, invoice, version)
    if isinstance(row, Rejection):
        return row
    await invoice_store.remove_draft_lines(connection, organization, invoice)
    await invoice_store.remove_draft(connection, organization, invoice)
    return Done({"id": invoice, "deleted": True}, OK)


async def _held(
    connection: Connection, organization: str, invoice: UUID, version: int | None
) -> Row | Rejection:  # fmt: skip
    held = await invoice_store.lock_invoices(connection, [(organization, invoice)])
    row = held.get((organization, invoice))
    if row is None:
        return reject("unknown-invoice", invoice=str(invoice))
    refused = domain.redraw(standing_of(row))
    if isinstance(refused, Rejection):
        return refused
    if version is not None and version != row["version"]:
        return reject("version-conflict", version=row["version"], expected_version=version)
    return row
