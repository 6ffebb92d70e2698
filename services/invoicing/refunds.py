"""Money that goes back: refunds we give, payments their bank returns, disputes that are opened.

    what is left of the payment -> unwind: unapplied first, then the customer's credit, then the newest allocations
    invoices that are open again -> the early-payment discounts that payments took on them are lost
    payment, invoices, allocations undone, credit, the document itself, postings: in one transaction

Each has a name of its own with its provider: the same one told twice is done once. Of a payment that nobody knows the
answer is `unknown-payment`; whoever hears of it keeps it until the payment comes.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from libs.common.clock import derived_id
from libs.common.db import Connection
from libs.common.errors import Fault, Rejection
from libs.common.money import ISO_4217
from libs.common.values import value
from services.invoicing import domain, entries, invoice_store, payment_store, settlement_store
from services.invoicing.allocating import Kept, unwind
from services.invoicing.allocations import money_wish, payment_posting
from services.invoicing.asking import CREATED, OK, Done
from services.invoicing.bookkeeping import BooksKey, bookkeeping_for
from services.invoicing.business_events import MoneyBack, Occasion, Owed
from services.invoicing.cash_standing import cash_tax
from services.invoicing.discounting import Cause, Discounted, lose, store_discounts
from services.invoicing.domain import Standing
from services.invoicing.exchanging import share
from services.invoicing.invoice_store import InvoiceKey
from services.invoicing.invoices import standing_of
from services.invoicing.payment_store import AllocationRow
from services.invoicing.payments import store_standings
from services.invoicing.posting_requests import prepare, want
from services.invoicing.rejections import reject
from services.invoicing.rows import Row
from services.invoicing.words import amount_text, instant

Event = Literal["refund", "returned", "dispute_opened"]


@value(frozen=True, slots=True, kw_only=True)
class BackWish:
    """So much of a payment goes back (None: all that is left). `name` is the refund's, return's or dispute's own id."""

    organization: str
    payment: UUID
    event: Event
    provider: str
    name: str
    amount: int | None
    currency: str | None
    on: date
    created_at: datetime
    fee: int = 0
    reason: str | None = None
    account: str | None = None

    @property
    def id(self) -> UUID:
        return derived_id(self.created_at, self.organization, "invoicing", f"{self.event}/{self.provider}/{self.name}")


@value(frozen=True, slots=True)
class _Taken:
    """Where the money is taken from, and how everything stands afterwards."""

    kept: Kept
    by_invoice: Sequence[tuple[UUID, int, int | None]]
    sources: Sequence[Owed]
    allocations: Sequence[AllocationRow]
    standings: Mapping[InvoiceKey, Standing]
    invoices: Mapping[InvoiceKey, Row]


async def take_back(connection: Connection, wish: BackWish, now: datetime) -> Done | Rejection:
    """Money of a payment goes back to who paid it."""
    row = await payment_store.lock_payment(connection, wish.organization, wish.payment)
    if row is None:
        return reject("unknown-payment", payment=str(wish.payment))
    if wish.currency is not None and wish.currency != row["currency"]:
        return reject("currency-mismatch", errors=[Fault("/currency", f"is {wish.currency}")], currency=row["currency"])
    known = await payment_store.known_back(connection, wish.organization, wish.event, wish.provider, wish.name)
    if known is not None:
        return _again(wish, known)
    taken = await _taken(connection, row, wish, now)
    if isinstance(taken, Rejection):
        return taken
    key = BooksKey(wish.organization, row["ledger"], row["currency"], wish.on)
    books = await bookkeeping_for(connection, [key, key._replace(currency=entries.owed_currency(row).code)])
    tax = await cash_tax(connection, books, taken.invoices.values())
    if (waits := tax.unknown(taken.invoices)) is not None:
        return waits
    due = tax.due_between(taken.invoices, taken.standings)
    said = f"{_SAID[wish.event]} {wish.name} of payment {row['payment_id']}"
    place = entries.place_of(wish.account or row["account"], row["provider"], row["method"])
    draft = entries.back_entry(
        wish.event,
        Occasion(said, wish.on, ISO_4217[row["currency"]]),
        MoneyBack(place, taken.sources, wish.fee, due, entries.stated_of(row)),
        books.books(key),
    )
    if isinstance(draft, Rejection):
        return draft
    posting = await money_wish(
        connection, row, f"{wish.event}/{wish.id}", wish.created_at, draft, [payment_posting(row)]
    )
    cause = Cause(wish.created_at, f"{wish.event}/{wish.id}")
    standings = dict(taken.standings)
    lost = await lose(connection, taken.invoices, standings, tax, cause, wish.on, now)
    if isinstance(lost, Rejection):
        return lost
    await _store(connection, row, wish, taken, standings, lost)
    await want(connection, [prepare(posting, books), *(each.posting for each in lost)], now)
    return Done(_words(_document(row, wish, taken)), CREATED)


def _again(wish: BackWish, known: Row) -> Done | Rejection:
    """What is stored under the name: the same, or something else."""
    same_kind = wish.event == "dispute_opened" or known["kind"] == _kind(wish)
    if same_kind and known["payment"] == wish.payment and wish.amount in (None, int(known["amount"])):
        return Done(_words(known), OK)
    code = "duplicate-dispute" if wish.event == "dispute_opened" else "duplicate-refund"
    there = amount_text(known["amount"], known["currency"])
    return reject(code, id=str(known["id"]), payment=str(known["payment"]), amount=there, name=wish.name)


_SAID = {"refund": "Refund", "returned": "Return", "dispute_opened": "Dispute"}


async def _taken(connection: Connection, row: Row, wish: BackWish, now: datetime) -> _Taken | Rejection:
    """Where it is taken from; the invoices that are open again are held."""
    organization = wish.organization
    standing = await payment_store.allocations_of(connection, organization, row["id"])
    invoices = await invoice_store.lock_invoices(connection, [(organization, each["invoice"]) for each in standing])
    credit = 0
    if row["customer"] is not None and row["to_credit"]:
        credit_key = organization, row["ledger"], row["customer"], row["currency"]
        credit = min(int(row["to_credit"]), await payment_store.lock_credit(connection, credit_key))
    kept = Kept(int(row["unapplied"]), credit, tuple((str(each["id"]), _money(each)) for each in standing))
    amount = kept.amount if wish.amount is None else wish.amount
    back = unwind(kept, amount, ISO_4217[row["currency"]])
    if isinstance(back, Rejection):
        return back
    by_id = {str(each["id"]): each for each in standing}
    standings: dict[InvoiceKey, Standing] = {}
    undone: list[AllocationRow] = []
    sources: list[Owed] = []
    by_invoice: list[tuple[UUID, int, int | None]] = []
    for allocation, part in back.allocations:
        of = by_id[allocation]
        key = organization, of["invoice"]
        settled = _settled(of, part, row, invoices[key])
        if isinstance(settled, Rejection):
            return settled
        standing_now = standings.get(key) or standing_of(invoices[key])
        after = domain.unallocate(standing_now, settled)
        if isinstance(after, Rejection):
            return after
        standings[key] = Standing(domain.status_of(after, False, False), after, standing_now.currency)
        undone += _undoing(of, part, settled, wish, now)
        crossed = of["paid"] is not None
        by_invoice.append((of["invoice"], part, settled if crossed else None))
        customer = str(invoices[key]["customer"])
        sources.append(Owed("receivable", customer, settled, standing_now.currency, part if crossed else None))
    if back.unapplied:
        sources.append(Owed("unapplied-receipts", entries.unapplied_party_of(row), back.unapplied))
    if back.credit:
        sources.append(Owed("customer-credit", str(row["customer"]), back.credit))
    touched = {key: invoices[key] for key in standings}
    return _Taken(back, by_invoice, sources, undone, standings, touched)


def _money(allocation: Row) -> int:
    """What of its payment an allocation took, in the payment's currency."""
    return int(allocation["amount"] if allocation["paid"] is None else allocation["paid"])


def _settled(of: Row, part: int, payment: Row, invoice: Row) -> int | Rejection:
    """What a part of an allocation's money had settled, in the invoice's currency."""
    whole = int(of["amount"])
    if of["paid"] is None:
        return part
    if part == of["paid"]:
        return whole
    settled = share(whole, part, int(of["paid"]))
    if 0 < settled < whole:
        return settled
    given, all_of_it = amount_text(part, payment["currency"]), amount_text(of["paid"], payment["currency"])
    said = f"is {given} {payment['currency']}, too small a part of what it settled in {invoice['currency']}"
    return reject(
        "rate-mismatch", errors=[Fault("/amount", said)], amount=given, paid=all_of_it,
        settled=amount_text(whole, invoice["currency"]), currency=invoice["currency"],
    )  # fmt: skip


def _undoing(of: Row, part: int, settled: int, wish: BackWish, now: datetime) -> list[AllocationRow]:
    """The row that takes an allocation back, and where only a part goes, the rest allocated anew."""
    organization, whole, money = wish.organization, int(of["amount"]), _money(of)

    def row(purpose: str, amount: int, undoes: UUID | None, paid: int) -> AllocationRow:
        id_ = derived_id(wish.created_at, organization, "invoicing", f"{purpose}/{wish.id}/{of['id']}")
        own = None if of["paid"] is None else paid
        return AllocationRow(
            organization, id_, "payment", of["source_id"], of["invoice"], amount, wish.on, undoes, now, own
        )  # fmt: skip

    rows = [row("undo", whole, of["id"], money)]
    if part < money:
        rows.append(row("rest", whole - settled, None, money - part))
    return rows


async def _store(
    connection: Connection,
    row: Row,
    wish: BackWish,
    taken: _Taken,
    standings: Mapping[InvoiceKey, Standing],
    lost: Sequence[Discounted],
) -> None:
    kept = taken.kept
    on_invoices = sum(part for _, part in kept.allocations)
    placing = {
        **dict(row),
        "allocated": int(row["allocated"]) - on_invoices,
        "unapplied": int(row["unapplied"]) - kept.unapplied,
        "to_credit": int(row["to_credit"]) - kept.credit,
        "refunded": int(row["refunded"]) + kept.amount,
        "posting": "requested",
    }
    document = _document(row, wish, taken)
    if wish.event == "dispute_opened":
        await payment_store.insert_dispute(connection, document)
        await settlement_store.insert_dispute_allocations(connection, _where_it_was(wish, taken))
    else:
        await payment_store.insert_refund(connection, document)
        await settlement_store.insert_refund_allocations(connection, _where_it_was(wish, taken))
    await payment_store.store_placing(connection, wish.organization, row["id"], placing)
    await store_discounts(connection, lost)
    await store_standings(connection, standings)
    await payment_store.insert_allocations(connection, [*taken.allocations, *(each.allocation for each in lost)])
    if kept.credit:
        credit_key = wish.organization, row["ledger"], row["customer"], row["currency"]
        await payment_store.move_credit(connection, {credit_key: -kept.credit})


def _where_it_was(wish: BackWish, taken: _Taken) -> list[tuple[str, UUID, int, UUID, int, int | None]]:
    """From which invoices the money was taken, for the day it comes back."""
    return [
        (wish.organization, wish.id, place, invoice, amount, settled)
        for place, (invoice, amount, settled) in enumerate(taken.by_invoice)
    ]


def _kind(wish: BackWish) -> str:
    return "return" if wish.event == "returned" else "refund"


def _document(row: Row, wish: BackWish, taken: _Taken) -> dict[str, Any]:
    kept = taken.kept
    return {
        "organization": wish.organization,
        "id": wish.id,
        "ledger": row["ledger"],
        "kind": _kind(wish),
        "provider": wish.provider,
        "refund_id": wish.name,
        "dispute_id": wish.name,
        "payment": row["id"],
        "customer": row["customer"],
        "currency": row["currency"],
        "amount": kept.amount,
        "fee": wish.fee,
        "from_unapplied": kept.unapplied,
        "from_credit": kept.credit,
        "from_allocated": sum(part for _, part in kept.allocations),
        "refunded_on": wish.on,
        "opened_on": wish.on,
        "status": "opened",
        "reason": wish.reason,
        "undoes": None,
        "posting": "requested",
        "created_at": wish.created_at,
    }


def _words(document: Row) -> dict[str, Any]:
    currency = document["currency"]
    return {
        "id": document["id"],
        "payment": document["payment"],
        "currency": currency,
        **{
            name: amount_text(document[name], currency)
            for name in ("amount", "fee", "from_unapplied", "from_credit", "from_allocated")
        },
        "posting": document["posting"],
        "created_at": instant(document["created_at"]),
    }
