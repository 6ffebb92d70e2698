"""Early-payment discounts, from terms to rows: what payments take, and what is lost where a payment is taken back.

    early_payments  invoices                -> their terms, with what they allow
    short_by        what is left open of them, and the day the money came -> the discounts that settle them
    take            invoice, amount, payment -> discount, tax rows, allocation, posting
    lose            invoices opened again    -> the same for each discount that a payment took on them, turned

A discount is added up as a credit note of its amount after those before it, so all of them together have exactly the
invoice's tax, row by row. Nothing is stored but by `store_discounts`, whose rows go before the invoices' amounts; the
allocations go with the caller's own, for the guard compares them with the invoices all at once.
"""

from collections.abc import Mapping, MutableMapping, Sequence
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

import orjson

from libs.common.clock import derived_id
from libs.common.db import Connection
from libs.common.errors import Rejection
from libs.common.values import value
from services.invoicing import domain, entries, invoice_store, note_store, settlement_store
from services.invoicing.bookkeeping import BooksKey, bookkeeping_for
from services.invoicing.business_events import CreditNote, IssuedInvoice
from services.invoicing.cash_basis import TaxStanding
from services.invoicing.cash_standing import CashTax
from services.invoicing.crediting import CreditTotals, credit_amount
from services.invoicing.domain import Amounts, Standing
from services.invoicing.early_payment import EarlyPayment, Terms
from services.invoicing.entry_drafts import EntryDraft
from services.invoicing.invoice_store import InvoiceKey
from services.invoicing.invoices import issue_posting, tax_rows
from services.invoicing.issue_books import issue_books
from services.invoicing.kept_totals import invoice_of, kept_note, note_of
from services.invoicing.payment_store import AllocationRow
from services.invoicing.posting_requests import PostingWish, Prepared, document_name, posting_id, prepare
from services.invoicing.rows import Row
from services.invoicing.settlement_store import DiscountRow


@value(frozen=True, slots=True, kw_only=True)
class DiscountWish:
    """`amount` off an invoice, whose amounts are `before` it, for money that came on `paid_on`."""

    invoice: Row
    before: Amounts
    amount: int
    paid_on: date
    on: date
    payment: UUID | None = None


@value(frozen=True, slots=True)
class Cause:
    """What discounts are taken or lost for: when that was told, and its name. Their ids follow from it, so that they
    are the same in a replay."""

    at: datetime
    name: str


class Discounted(NamedTuple):
    """What a discount, or its loss, comes to."""

    row: DiscountRow
    totals: CreditTotals
    allocation: AllocationRow
    posting: Prepared

    @property
    def draft(self) -> EntryDraft:
        """The decision; a discount is not made without one."""
        draft = self.posting.wish.draft
        assert isinstance(draft, EntryDraft), draft
        return draft


async def early_payments(connection: Connection, rows: Mapping[InvoiceKey, Row]) -> dict[InvoiceKey, EarlyPayment]:
    """The terms of those invoices that have some. Where no rate of the invoice's day is known no discount is booked,
    so none is taken."""
    found = {
        (row["organization"], row["invoice"]): EarlyPayment(
            Terms(row["percent"], row["within_days"]),
            rows[row["organization"], row["invoice"]]["issued_on"],
            int(row["taken"]),
        )
        for row in await settlement_store.terms_of(connection, sorted(rows))
        if rows[row["organization"], row["invoice"]]["number"] is not None
    }
    if not found:
        return {}
    keys = {key: _books_key(rows[key]) for key in found}
    books = await bookkeeping_for(connection, keys.values())
    known: dict[InvoiceKey, EarlyPayment] = {}
    for key, early in found.items():
        of_day = books.books(keys[key])
        if not isinstance(of_day, Rejection) and {of_day.functional.code, *of_day.rates} >= {keys[key].currency}:
            known[key] = early
    return known


def _books_key(invoice: Row) -> BooksKey:
    return BooksKey(invoice["organization"], invoice["ledger"], invoice["currency"], invoice["issued_on"])


async def notes_before(connection: Connection, organization: str, invoice: UUID) -> list[CreditTotals]:
    """What lowered an invoice's lines and taxes so far: its credit notes, and the discounts that stand on it."""
    notes = await note_store.credit_notes_of(connection, organization, invoice)
    discounts = await settlement_store.discounts_of(connection, organization, [invoice])
    return [note_of(orjson.loads(row["content"])) for row in (*notes, *discounts)]


async def take(
    connection: Connection, wishes: Sequence[DiscountWish], tax: CashTax, cause: Cause, now: datetime
) -> list[Discounted] | Rejection:
    """Discounts on invoices that the caller holds, each on another one."""
    taken: list[Discounted] = []
    for wish in wishes:
        invoice, organization = wish.invoice, wish.invoice["organization"]
        issued = await _issued(connection, invoice)
        before = await notes_before(connection, organization, invoice["id"])
        noted = credit_amount(issued.totals, before, wish.amount)
        if isinstance(noted, Rejection):
            return noted
        row = DiscountRow(
            organization=organization,
            id=derived_id(cause.at, organization, "invoicing", f"discount/{cause.name}/{invoice['id']}"),
            ledger=invoice["ledger"],
            invoice=invoice["id"],
            kind="discount",
            payment=wish.payment,
            currency=invoice["currency"],
            net=noted.net,
            tax=noted.tax,
            total=noted.total,
            paid_on=wish.paid_on,
            on_date=wish.on,
            content=orjson.dumps(kept_note(noted, issued.totals.currency)).decode(),
            undoes=None,
            posting="requested",
            created_at=cause.at,
        )
        standing = tax.standing((organization, invoice["id"]), wish.before)
        made = await _discounted(connection, invoice, row, issued, noted, standing, None, now)
        if isinstance(made, Rejection):
            return made
        tax.booked((organization, invoice["id"]), made.draft)
        taken.append(made)
    return taken


async def take_where_short(
    connection: Connection,
    payment: Row,
    invoices: Mapping[InvoiceKey, Row],
    standings: MutableMapping[InvoiceKey, Standing],
    tax: CashTax,
    cause: Cause,
    on: date,
    now: datetime,
) -> list[Discounted] | Rejection:
    """What a payment that came in time leaves open and may take off, of invoices it was placed on later; `standings`
    are moved on."""
    early = await early_payments(connection, invoices)
    wishes = []
    for key, amount in short_by(early, standings, payment["received_on"]).items():
        before = standings[key].amounts
        wishes.append(
            DiscountWish(
                invoice=invoices[key], before=before, amount=amount, paid_on=payment["received_on"], on=on,
                payment=payment["id"],
            )
        )  # fmt: skip
        standings[key] = after_discount(standings[key], amount)
    return await take(connection, wishes, tax, cause, now)


async def lose(
    connection: Connection,
    invoices: Mapping[InvoiceKey, Row],
    standings: MutableMapping[InvoiceKey, Standing],
    tax: CashTax,
    cause: Cause,
    on: date,
    now: datetime,
) -> list[Discounted] | Rejection:
    """What payments took off invoices that are not settled any more is lost; `standings` are moved on. One that was
    granted by hand stays."""
    lost: list[Discounted] = []
    for key in sorted(standings):
        for taken in await settlement_store.discounts_of(connection, key[0], [key[1]]):
            if taken["payment"] is None:
                continue
            made = await take_back(connection, taken, invoices[key], standings[key], tax, cause, on, now)
            if isinstance(made, Rejection):
                return made
            lost.append(made)
            standings[key] = after_loss(standings[key], made)
    return lost


async def take_back(
    connection: Connection,
    taken: Row,
    invoice: Row,
    standing: Standing,
    tax: CashTax,
    cause: Cause,
    on: date,
    now: datetime,
) -> Discounted | Rejection:
    """One standing discount taken back from an invoice that stands at `standing` before it."""
    key = invoice["organization"], invoice["id"]
    refused = domain.take_back_discount(standing, int(taken["total"]))
    if isinstance(refused, Rejection):
        return refused
    noted = note_of(orjson.loads(taken["content"]))
    row = DiscountRow(
        organization=taken["organization"],
        id=derived_id(cause.at, taken["organization"], "invoicing", f"discount-lost/{cause.name}/{taken['id']}"),
        ledger=taken["ledger"],
        invoice=taken["invoice"],
        kind="taken-back",
        payment=taken["payment"],
        currency=taken["currency"],
        net=noted.net,
        tax=noted.tax,
        total=noted.total,
        paid_on=taken["paid_on"],
        on_date=on,
        content=taken["content"],
        undoes=taken["id"],
        posting="requested",
        created_at=cause.at,
    )
    issued, before = await _issued(connection, invoice), tax.standing(key, standing.amounts)
    made = await _discounted(connection, invoice, row, issued, noted, before, taken, now)
    if not isinstance(made, Rejection):
        tax.booked(key, made.draft)
    return made


def after_loss(standing: Standing, lost: Discounted) -> Standing:
    """How an invoice stands without the discount."""
    after = domain.take_back_discount(standing, lost.row.total)
    assert not isinstance(after, Rejection), "it was taken back by this rule"
    return Standing(domain.status_of(after, False, False), after, standing.currency)


def short_by(
    early: Mapping[InvoiceKey, EarlyPayment], standings: Mapping[InvoiceKey, Standing], paid_on: date
) -> dict[InvoiceKey, int]:
    """What is left open of invoices and may be taken off, for money that came on that day."""
    amounts = {key: standings[key].amounts for key in early if key in standings}
    return {key: left.open for key, left in amounts.items() if 0 < left.open == early[key].allowed(left, paid_on)}


def after_discount(standing: Standing, amount: int) -> Standing:
    """How an invoice stands with a discount more."""
    after = domain.credit(standing, amount)
    assert not isinstance(after, Rejection), "no more is taken off than is open"
    return Standing(domain.status_of(after, False, False), after, standing.currency)


async def _issued(connection: Connection, invoice: Row) -> IssuedInvoice:
    content = await invoice_store.read_content(connection, (invoice["organization"], invoice["id"]))
    found = invoice_of(orjson.loads(content)["totals"])
    return IssuedInvoice(invoice["number"], str(invoice["customer"]), invoice["issued_on"], found)


async def _discounted(
    connection: Connection,
    invoice: Row,
    row: DiscountRow,
    issued: IssuedInvoice,
    noted: CreditTotals,
    standing: TaxStanding | None,
    undoes: Row | None,
    now: datetime,
) -> Discounted | Rejection:
    """The allocation and the posting of a discount, or of the loss of the one that it `undoes`."""
    organization = row.organization
    key = BooksKey(organization, row.ledger, row.currency, invoice["issued_on"])
    books = await bookkeeping_for(connection, [key])
    note = CreditNote(
        number=issued.number,
        issued_on=row.on_date,
        invoice=issued,
        totals=noted,
        on_receivable=noted.total,
        deferred_left={},
        standing=standing,
    )
    purpose = "early_discount" if undoes is None else "discount_taken_back"
    draft = entries.discount_entry(purpose, note, await issue_books(connection, books, invoice))
    if isinstance(draft, Rejection):
        return draft
    before = issue_posting(organization, invoice["id"], invoice["created_at"])
    if undoes is not None:
        document = document_name("discount", undoes["id"])
        before = posting_id(organization, document, "early_discount", undoes["created_at"])
    wish = PostingWish(
        organization=organization,
        ledger=row.ledger,
        document=document_name("discount", row.id),
        purpose=purpose,
        created_at=row.created_at,
        draft=draft,
        depends_on=before,
    )
    allocation = AllocationRow(
        organization,
        derived_id(row.created_at, organization, "invoicing", f"allocation/discount/{row.id}"),
        "discount",
        row.id if undoes is None else undoes["id"],
        row.invoice,
        row.total,
        row.on_date,
        None if undoes is None else undoes["allocation"],
        now,
    )
    return Discounted(row, noted, allocation, prepare(wish, books))


async def store_discounts(connection: Connection, discounted: Sequence[Discounted]) -> None:
    """The documents with their tax rows; invoices, allocations and postings are their caller's to store."""
    await settlement_store.insert_discounts(connection, [each.row for each in discounted])
    taxes = [tax for each in discounted for tax in tax_rows(each.row.organization, each.row.id, each.totals)]
    await settlement_store.insert_discount_taxes(connection, taxes)
