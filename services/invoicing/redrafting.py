"""Decisions that could not be made when their document came, made again from what is stored: issues and payments.

They alone may wait for a rate (everything else is refused until there is one), and their entries are a function of the
stored document: an invoice's frozen content, a payment with its first allocations and the tax that they made due.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

import orjson

from libs.common.db import Connection
from libs.common.errors import Rejection
from services.invoicing import entries, invoice_store, payment_store
from services.invoicing.bookkeeping import Bookkeeping, BooksKey, bookkeeping_for
from services.invoicing.cash_standing import cash_tax
from services.invoicing.domain import Amounts
from services.invoicing.entry_drafts import EntryDraft, Part
from services.invoicing.kept_totals import invoice_of
from services.invoicing.posting_requests import PARTS
from services.invoicing.rejections import reject
from services.invoicing.rows import Row


async def redraft(connection: Connection, organization: str, document: str, purpose: str) -> EntryDraft | Rejection:
    """The decision of a document that had none."""
    kind, _, text = document.partition("/")
    if kind == "invoice" and purpose == "issue":
        return await _issue(connection, organization, UUID(text))
    if kind == "payment" and purpose == "payment":
        return await _payment(connection, organization, UUID(text))
    return reject("unknown-posting", f"{purpose} of {document} is not made again.")


async def _issue(connection: Connection, organization: str, invoice: UUID) -> EntryDraft | Rejection:
    row = (await invoice_store.lock_invoices(connection, [(organization, invoice)]))[organization, invoice]
    key = BooksKey(organization, row["ledger"], row["currency"], row["issued_on"])
    books = (await bookkeeping_for(connection, [key])).books(key)
    found = invoice_of(orjson.loads(await invoice_store.read_content(connection, (organization, invoice)))["totals"])
    return entries.issue_entry(found, row["customer"], row["number"], row["issued_on"], books)


async def _payment(connection: Connection, organization: str, payment: UUID) -> EntryDraft | Rejection:
    row = await payment_store.lock_payment(connection, organization, payment)
    assert row is not None, "a posting's document is there"
    receipt = orjson.loads(row["receipt"])
    owed = entries.owed_currency(row)
    placed = [
        entries.Placed(party, int(amount), owed, *(own or None for own in paid))
        for _, amount, party, _, *paid in receipt["placed"]
    ]
    customer = receipt["customer"]
    at_receipt = {
        **dict(row),
        "customer": None if customer is None else UUID(customer),
        "unapplied": int(receipt["unapplied"]),
        "to_credit": int(receipt["to_credit"]),
    }
    key = BooksKey(organization, row["ledger"], row["currency"], row["received_on"])
    pair = [key._replace(currency=code) for code in (row["stated_base"], row["stated_counter"]) if code is not None]
    known = await bookkeeping_for(connection, [key, *pair])
    due = await _due(connection, row, receipt, known)
    if isinstance(due, Rejection):
        return due
    return entries.payment_entry(at_receipt, placed, known.books(key), due)


async def _due(
    connection: Connection, payment: Row, receipt: Mapping[str, Any], books: Bookkeeping
) -> list[Part] | Rejection:
    """The tax that the payment made due when it came, on cash basis: known then, or of issues that waited themselves.

    Until such an issue is booked nothing but payments happens to its invoice, so its standing is the issue's tax, the
    whole total, and what was paid before.
    """
    if receipt["due"] is not None:
        return PARTS.validate_python(receipt["due"])
    organization = payment["organization"]
    rows = await invoice_store.lock_invoices(
        connection, [(organization, UUID(invoice)) for invoice, *_ in receipt["placed"]]
    )  # fmt: skip
    tax = await cash_tax(connection, books, rows.values(), issues_alone=True)
    if (waits := tax.unknown(rows)) is not None:
        return waits
    due: list[Part] = []
    for invoice, amount, _, paid, *_ in receipt["placed"]:
        key = organization, UUID(invoice)
        before = Amounts(int(rows[key]["total"]), int(paid))
        due += tax.due(key, before, replace(before, paid=before.paid + int(amount)))
    return due
