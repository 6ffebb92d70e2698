"""On cash basis: the tax of invoices as it stands in the books, read from what the ledger was asked for them.

    issue, credit notes, write-offs of an invoice (their drafts) -> its rows of tax, as booked
    its amounts                                                  -> how far each row is due

On accrual basis nothing is read and nothing moves. `CashTax.due` is what settling (or opening again) an amount moves
between "tax not yet due" and "tax due"; it goes into the entry of whatever settles it. While an invoice's issue waits
for a rate, its tax is not booked and nobody can say what of it is due: what settles it waits too (`CashTax.unknown`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import field
from uuid import UUID

from libs.common.db import Connection
from libs.common.errors import Rejection
from libs.common.values import value
from services.invoicing.bookkeeping import Bookkeeping
from services.invoicing.cash_basis import TaxRow, TaxStanding, tax_parts
from services.invoicing.domain import Amounts, Standing
from services.invoicing.drafts import TaxTerms
from services.invoicing.entry_drafts import EntryDraft, Part
from services.invoicing.invoice_store import InvoiceKey
from services.invoicing.invoices import standing_of
from services.invoicing.note_store import tax_drafts
from services.invoicing.posting_requests import DRAFT
from services.invoicing.rejections import reject
from services.invoicing.rows import Row


@value(frozen=True, slots=True)
class CashTax:
    """Rows of tax by invoice, and what of its credit notes became customer credit; empty on accrual basis.

    `waiting` has the number of each invoice whose tax is not booked yet.
    """

    rows: dict[InvoiceKey, tuple[TaxRow, ...]] = field(default_factory=dict)
    noted: dict[InvoiceKey, int] = field(default_factory=dict)
    waiting: dict[InvoiceKey, str] = field(default_factory=dict)

    def standing(self, key: InvoiceKey, amounts: Amounts) -> TaxStanding | None:
        """An invoice's tax as it stands; None on accrual basis."""
        rows = self.rows.get(key)
        if rows is None:
            return None
        noted = self.noted.get(key, 0)
        total = amounts.total - amounts.credited - amounts.written_off - noted
        return TaxStanding(rows, total, amounts.paid - noted)

    def due(self, key: InvoiceKey, before: Amounts, after: Amounts) -> list[Part]:
        """What moves when an invoice's paid amount does."""
        if not self.rows:
            return []
        one, other = self.standing(key, before), self.standing(key, after)
        return [] if one is None or other is None else tax_parts(one, other)

    def due_between(self, rows: Mapping[InvoiceKey, Row], standings: Mapping[InvoiceKey, Standing]) -> list[Part]:
        """What moves when invoices come from their rows to these standings."""
        moved = ((key, standing_of(rows[key]).amounts, standing.amounts) for key, standing in standings.items())
        return [part for key, before, after in moved for part in self.due(key, before, after)]

    def booked(self, key: InvoiceKey, draft: EntryDraft) -> None:
        """One more decision that changed an invoice's tax, within the same transaction."""
        if key in self.rows:
            self.rows[key] = TaxStanding(self.rows[key], 0).moved(booked_tax([draft])).rows

    def unknown(self, keys: Iterable[InvoiceKey]) -> Rejection | None:
        """Why nobody can say yet what is due of these invoices."""
        number = next((self.waiting[key] for key in keys if key in self.waiting), None)
        if number is None:
            return None
        return reject("rate-missing", f"The issue of invoice {number} waits for it, and so its tax.", number=number)


async def cash_tax(
    connection: Connection, books: Bookkeeping, invoices: Iterable[Row], *, issues_alone: bool = False
) -> CashTax:
    """The tax of those invoices whose ledgers are on cash basis; with `issues_alone` what their issues alone booked."""
    found = CashTax()
    for invoice in invoices:
        organization: str = invoice["organization"]
        terms = books.terms.get((organization, invoice["ledger"]))
        if terms is None or terms.tax_basis != "cash":
            continue
        key = organization, invoice["id"]
        rows = await tax_drafts(connection, organization, invoice["id"], "issue" if issues_alone else "invoice")
        if any(row["draft"] is None for row in rows):
            found.waiting[key] = invoice["number"]
            continue
        drafts = [DRAFT.validate_json(row["draft"]) for row in rows]
        found.rows[key] = booked_tax(drafts)
        found.noted[key] = sum(int(row["to_credit"] or 0) for row in rows)
    return found


def booked_tax(drafts: Iterable[EntryDraft]) -> tuple[TaxRow, ...]:
    """What of each kind of tax is on the two tax accounts, due or not, after these entries."""
    sums: dict[TaxTerms, TaxRow] = {}
    for draft in drafts:
        for line in draft.lines:
            if line.tax is not None:
                amount = line.amount if line.side == "credit" else -line.amount
                before = sums.get(line.tax)
                sums[line.tax] = TaxRow(line.tax, amount + (before.amount if before else 0), line.currency)
    return tuple(sums.values())


async def given_up_tax(connection: Connection, organization: str, write_off: UUID) -> tuple[TaxRow, ...]:
    """The tax that a write-off took with it, row by row."""
    rows = await tax_drafts(connection, organization, write_off, "write-off")
    taken = booked_tax(DRAFT.validate_json(row["draft"]) for row in rows if row["draft"] is not None)
    return tuple(TaxRow(row.terms, -row.amount, row.currency) for row in taken)
