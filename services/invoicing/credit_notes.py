"""Credit notes: by lines, by an amount, or all that is left; off what is open, the rest the customer's credit.

What was deferred of a credited line and is not recognised yet goes first (it is no longer deferred), then revenue. Any
split of an invoice into credit notes totals the invoice, since each is made with all those before it at hand, and with
the early-payment discounts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson

from libs.common.clock import new_id
from libs.common.db import Connection
from libs.common.errors import Fault, Rejection
from libs.common.money import ISO_4217, to_minor
from libs.common.outbox import put
from services.invoicing import (
    announcing,
    deferral_store,
    domain,
    invoice_store,
    note_store,
    payment_store,
    posting_rules,
)
from services.invoicing.arithmetic import Totals
from services.invoicing.asking import CREATED, Done
from services.invoicing.bookkeeping import BooksKey, bookkeeping_for
from services.invoicing.business_events import CreditNote, IssuedInvoice
from services.invoicing.cash_standing import cash_tax
from services.invoicing.catalog_store import ledger_terms
from services.invoicing.crediting import CreditTotals, CreditWish, credit_amount, credit_lines, credit_rest, exceeds
from services.invoicing.deferrals import credited_rows, deferred_left
from services.invoicing.discounting import notes_before
from services.invoicing.domain import Standing
from services.invoicing.invoices import CREDIT_SERIES, issue_posting, number_of, standing_of, tax_rows
from services.invoicing.issue_books import issue_books
from services.invoicing.kept_totals import invoice_of, kept_note
from services.invoicing.payment_store import AllocationRow
from services.invoicing.payments import changed_row, store_standings
from services.invoicing.posting_requests import PostingWish, document_name, prepare, want
from services.invoicing.rejections import reject
from services.invoicing.rows import Row
from services.invoicing.words import credit_note_words


@dataclass(frozen=True, slots=True)
class LineCredit:
    """What is credited of a line (from 1), as texts."""

    line: int
    net: str | None
    quantity: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteWish:
    """A credit note as it is wanted; with neither lines nor amount all that is left."""

    organization: str
    invoice: UUID
    lines: Sequence[LineCredit] | None
    amount: str | None
    reason: str
    issued_on: date


async def issue_credit_note(connection: Connection, wish: NoteWish, now: datetime) -> Done | Rejection:
    """Credits an invoice, up to what was neither credited nor given up: a write-off is reversed first."""
    key = wish.organization, wish.invoice
    row = (await invoice_store.lock_invoices(connection, [key])).get(key)
    if row is None:
        return reject("unknown-invoice", errors=[Fault("/invoice_id", "is no invoice")], invoice=str(wish.invoice))
    standing = standing_of(row)
    if standing.status in ("draft", "void"):
        return reject("not-issued" if standing.status == "draft" else "invoice-void", status=standing.status)
    found = invoice_of(orjson.loads(await invoice_store.read_content(connection, key))["totals"])
    noted = _noted(wish, found, await notes_before(connection, wish.organization, wish.invoice))
    if isinstance(noted, Rejection):
        return noted
    if noted.total <= 0:
        return reject("amount-not-positive", errors=[Fault("/lines", "come to nothing")])
    left = await _left(connection, wish, standing)
    if noted.total > left:
        return exceeds(found, noted.total, left, "/lines" if wish.amount is None else "/amount")
    return await _store(connection, wish, row, standing, found, noted, now)


async def _left(connection: Connection, wish: NoteWish, standing: Standing) -> int:
    """What of the invoice is neither credited nor given up."""
    notes = await note_store.credit_notes_of(connection, wish.organization, wish.invoice)
    amounts, to_credit = standing.amounts, sum(int(each["to_credit"]) for each in notes)
    return amounts.total - amounts.credited - amounts.written_off - to_credit


def _noted(wish: NoteWish, found: Totals, before: Sequence[CreditTotals]) -> CreditTotals | Rejection:
    exponent = found.currency.exponent
    if wish.amount is not None:
        if wish.lines is not None:
            return reject("credited-twice", errors=[Fault("/amount", "stands beside lines; give one or the other")])
        minor = to_minor(wish.amount, exponent)
        if isinstance(minor, str):
            return reject(minor, errors=[Fault("/amount", f"is {wish.amount[:60]}")])
        return credit_amount(found, before, minor)
    if wish.lines is None:
        return credit_rest(found, before)
    credits_: list[CreditWish] = []
    for place, line in enumerate(wish.lines):
        net = None if line.net is None else to_minor(line.net, exponent)
        if isinstance(net, str):
            return reject(net, errors=[Fault(f"/lines/{place}/net", f"is {(line.net or '')[:60]}")])
        credits_.append(CreditWish(line.line - 1, net, None if line.quantity is None else Decimal(line.quantity)))
    return credit_lines(found, before, credits_)


async def _store(
    connection: Connection,
    wish: NoteWish,
    row: Row,
    standing: Standing,
    found: Totals,
    noted: CreditTotals,
    now: datetime,
) -> Done | Rejection:
    organization = wish.organization
    applied = min(noted.total, standing.amounts.open)
    books_key = BooksKey(organization, row["ledger"], row["currency"], row["issued_on"])
    books = await bookkeeping_for(connection, [books_key])
    invoice = IssuedInvoice(row["number"], str(row["customer"]), row["issued_on"], found)
    of_issue = await issue_books(connection, books, row)
    if isinstance(of_issue, Rejection):
        return of_issue
    left = await deferred_left(connection, organization, row["id"], invoice, of_issue)
    if isinstance(left, Rejection):
        return left
    tax = (await cash_tax(connection, books, [row])).standing((organization, row["id"]), standing.amounts)
    note = new_id()
    event = CreditNote(
        number="?", issued_on=wish.issued_on, invoice=invoice, totals=noted, on_receivable=applied, deferred_left=left,
        standing=tax,
    )  # fmt: skip
    taken = posting_rules.off_deferred(event, of_issue)
    if isinstance(taken, Rejection):
        return taken
    draft = posting_rules.credit_note(event, of_issue)
    if isinstance(draft, Rejection):
        return draft
    why = prepare(_posting(wish, row, note, draft, now), books).rejection
    if why is not None:
        return why
    document = await _numbered(connection, wish, row, note, noted, applied, now)
    draft = posting_rules.credit_note(replace(event, number=document["number"]), of_issue)
    taxes = tax_rows(organization, note, noted)
    await note_store.insert_credit_note(connection, document)
    await note_store.insert_credit_taxes(connection, taxes)
    facts = [announcing.credit_note_issued(document, [tax._asdict() for tax in taxes], now)]
    if applied:
        facts.append(await _apply(connection, wish, row, standing, note, applied, now))
    if noted.total > applied:
        credit_key = organization, row["ledger"], row["customer"], row["currency"]
        await payment_store.move_credit(connection, {credit_key: noted.total - applied})
    await deferral_store.insert_recognitions(
        connection, credited_rows(organization, row["ledger"], row["id"], taken, wish.issued_on, now)
    )
    await want(connection, [prepare(_posting(wish, row, note, draft, now), books)], now)
    await put(connection, facts)
    return Done(credit_note_words(document, [tax._asdict() for tax in taxes]), CREATED)


async def _numbered(
    connection: Connection, wish: NoteWish, row: Row, note: UUID, noted: CreditTotals, applied: int, now: datetime
) -> dict[str, Any]:
    """The document as it is stored; its number is drawn when nothing can be refused any more."""
    organization, ledger, year = wish.organization, row["ledger"], wish.issued_on.year
    terms = (await ledger_terms(connection, [(organization, ledger)]))[organization, ledger]
    series = organization, ledger, CREDIT_SERIES, year
    serial = (await invoice_store.draw_numbers(connection, {series: 1}))[series]
    return {
        "organization": organization,
        "id": note,
        "ledger": ledger,
        "invoice": row["id"],
        "customer": row["customer"],
        "series": CREDIT_SERIES,
        "year": year,
        "serial": serial,
        "number": number_of(CREDIT_SERIES, year, serial, terms.number_prefix),
        "currency": row["currency"],
        "issued_on": wish.issued_on,
        "reason": wish.reason,
        "net": noted.net,
        "tax": noted.tax,
        "total": noted.total,
        "applied": applied,
        "to_credit": noted.total - applied,
        "posting": "requested",
        "content": orjson.dumps(kept_note(noted, ISO_4217[row["currency"]])).decode(),
        "created_at": now,
    }


def _posting(wish: NoteWish, row: Row, note: UUID, draft: Any, now: datetime) -> PostingWish:
    return PostingWish(
        organization=wish.organization,
        ledger=row["ledger"],
        document=document_name("credit-note", note),
        purpose="credit_note",
        created_at=now,
        draft=draft,
        depends_on=issue_posting(wish.organization, row["id"], row["created_at"]),
    )


async def _apply(
    connection: Connection,
    wish: NoteWish,
    row: Row,
    standing: Standing,
    note: UUID,
    applied: int,
    now: datetime,
) -> Any:
    """Takes the note off what is open of its invoice; gives the fact that tells it."""
    after = domain.credit(standing, applied)
    assert not isinstance(after, Rejection), "no more is credited than is open"
    stands = Standing(domain.status_of(after, False, False), after, standing.currency)
    await store_standings(connection, {(wish.organization, row["id"]): stands})
    allocation = AllocationRow(
        wish.organization, new_id(), "credit-note", note, row["id"], applied, wish.issued_on, None, now
    )  # fmt: skip
    await payment_store.insert_allocations(connection, [allocation])
    told = changed_row(row, stands)
    return announcing.invoice_changed("credited", told, now, applied, credit_note_id=note)
