"""Money that goes back: refunds we give, payments their bank returns, disputes; and payouts, where it comes to us.

    what is left of the payment -> unwind: unapplied first, then the customer's credit, then the newest allocations
    payment, invoices (open again), allocations undone, credit, the document itself, posting: in one transaction

Each has a name of its own with its provider: the same one told twice is done once. Of a payment that nobody knows the
answer is `unknown-payment`; whoever hears of it keeps it until the payment comes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from libs.common.clock import derived_id
from libs.common.db import Connection
from libs.common.errors import Fault, Rejection
from libs.common.money import ISO_4217, to_text
from services.invoicing import domain, entries, invoice_store, payment_store
from services.invoicing.allocating import Kept, unwind
from services.invoicing.allocations import money_wish, payment_posting
from services.invoicing.asking import CREATED, OK, Done
from services.invoicing.bookkeeping import BooksKey, bookkeeping_for
from services.invoicing.business_events import MoneyBack, Occasion, Owed
from services.invoicing.cash_standing import cash_tax
from services.invoicing.domain import Standing
from services.invoicing.invoice_store import InvoiceKey
from services.invoicing.invoices import standing_of
from services.invoicing.payment_store import AllocationRow
from services.invoicing.payments import store_standings
from services.invoicing.posting_requests import prepare, want
from services.invoicing.rejections import reject
from services.invoicing.rows import Row
from services.invoicing.words import amount_text, instant

Event = Literal["refund", "returned", "dispute_opened"]


@dataclass(frozen=True, slots=True, kw_only=True)
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


@dataclass(frozen=True, slots=True)
class _Taken:
    """Where the money is taken from, and how everything stands afterwards."""

    kept: Kept
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
        return Done(_words(known), OK)
    taken = await _taken(connection, row, wish, now)
    if isinstance(taken, Rejection):
        return taken
    key = BooksKey(wish.organization, row["ledger"], row["currency"], wish.on)
    books = await bookkeeping_for(connection, [key])
    tax = await cash_tax(connection, books, taken.invoices.values())
    due = [
        part
        for of, standing in taken.standings.items()
        for part in tax.due(of, standing_of(taken.invoices[of]).amounts, standing.amounts)
    ]
    said = f"{_SAID[wish.event]} {wish.name} of payment {row['payment_id']}"
    place = entries.place_of(wish.account or row["account"], row["provider"], row["method"])
    draft = entries.back_entry(
        wish.event,
        Occasion(said, wish.on, ISO_4217[row["currency"]]),
        MoneyBack(place, taken.sources, wish.fee, due),
        books.books(key),
    )
    if isinstance(draft, Rejection):
        return draft
    posting = await money_wish(
        connection, row, f"{wish.event}/{wish.id}", wish.created_at, draft, [payment_posting(row)]
    )
    await _store(connection, row, wish, taken)
    await want(connection, [prepare(posting, books)], now)
    return Done(_words(_document(row, wish, taken)), CREATED)


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
    kept = Kept(int(row["unapplied"]), credit, tuple((str(each["id"]), int(each["amount"])) for each in standing))
    amount = kept.amount if wish.amount is None else wish.amount
    back = unwind(kept, amount, ISO_4217[row["currency"]])
    if isinstance(back, Rejection):
        return back
    by_id = {str(each["id"]): each for each in standing}
    standings: dict[InvoiceKey, Standing] = {}
    undone: list[AllocationRow] = []
    owed: dict[UUID, int] = {}
    for allocation, part in back.allocations:
        of = by_id[allocation]
        key = organization, of["invoice"]
        after = domain.unallocate(standings.get(key) or standing_of(invoices[key]), part)
        if isinstance(after, Rejection):
            return after
        standings[key] = Standing(domain.status_of(after, False, False), after, ISO_4217[row["currency"]])
        undone += _undoing(of, part, wish, organization, now)
        customer = invoices[key]["customer"]
        owed[customer] = owed.get(customer, 0) + part
    sources = [Owed("receivable", str(customer), part) for customer, part in owed.items()]
    if back.unapplied:
        sources.append(Owed("unapplied-receipts", entries.unapplied_party_of(row), back.unapplied))
    if back.credit:
        sources.append(Owed("customer-credit", str(row["customer"]), back.credit))
    touched = {key: invoices[key] for key in standings}
    return _Taken(back, sources, undone, standings, touched)


def _undoing(of: Row, part: int, wish: BackWish, organization: str, now: datetime) -> list[AllocationRow]:
    """The row that takes an allocation back, and where only a part goes, the rest allocated anew."""
    whole = int(of["amount"])

    def row(purpose: str, amount: int, undoes: UUID | None) -> AllocationRow:
        id_ = derived_id(wish.created_at, organization, "invoicing", f"{purpose}/{wish.id}/{of['id']}")
        return AllocationRow(
            organization, id_, "payment", of["source_id"], of["invoice"], amount, wish.on, undoes, now
        )  # fmt: skip

    rows = [row("undo", whole, of["id"])]
    if part < whole:
        rows.append(row("rest", whole - part, None))
    return rows


async def _store(connection: Connection, row: Row, wish: BackWish, taken: _Taken) -> None:
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
    else:
        await payment_store.insert_refund(connection, document)
    await payment_store.store_placing(connection, wish.organization, row["id"], placing)
    await store_standings(connection, taken.standings)
    await payment_store.insert_allocations(connection, taken.allocations)
    if kept.credit:
        credit_key = wish.organization, row["ledger"], row["customer"], row["currency"]
        await payment_store.move_credit(connection, {credit_key: -kept.credit})


def _document(row: Row, wish: BackWish, taken: _Taken) -> dict[str, Any]:
    kept = taken.kept
    return {
        "organization": wish.organization,
        "id": wish.id,
        "ledger": row["ledger"],
        "kind": "return" if wish.event == "returned" else "refund",
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


# --- disputes end -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DisputeEnd:
    """How a dispute ended; `fee` is what of its fee was given back."""

    organization: str
    provider: str
    dispute_id: str
    status: Literal["won", "lost"]
    on: date
    created_at: datetime
    fee: int = 0


async def end_dispute(connection: Connection, end: DisputeEnd, now: datetime) -> Done | Rejection:
    """Lost: the money stays away. Won: it is back, unapplied, to be placed again by hand where it was."""
    dispute = await payment_store.lock_dispute(connection, end.organization, end.provider, end.dispute_id)
    if dispute is None:
        return reject("unknown-dispute", dispute_id=end.dispute_id)
    if dispute["status"] != "opened":
        return Done({"id": dispute["id"], "status": dispute["status"]}, OK)
    await payment_store.settle_dispute(connection, end.organization, dispute["id"], end.status, end.on)
    if end.status == "won":
        row = await payment_store.lock_payment(connection, end.organization, dispute["payment"])
        assert row is not None, "a dispute is of a payment"
        refused = await _won(connection, row, dispute, end, now)
        if refused is not None:
            return refused
    return Done({"id": dispute["id"], "status": end.status}, OK)


async def _won(connection: Connection, row: Row, dispute: Row, end: DisputeEnd, now: datetime) -> Rejection | None:
    amount, currency = int(dispute["amount"]), ISO_4217[row["currency"]]
    key = BooksKey(end.organization, row["ledger"], row["currency"], end.on)
    books = await bookkeeping_for(connection, [key])
    draft = entries.back_entry(
        "dispute_won",
        Occasion(f"Dispute {end.dispute_id} of payment {row['payment_id']} won", end.on, currency),
        MoneyBack(
            entries.place_of(row["account"], row["provider"], row["method"]),
            [Owed("unapplied-receipts", entries.unapplied_party_of(row), amount)],
            end.fee,
        ),
        books.books(key),
    )
    if isinstance(draft, Rejection):
        return draft
    said = f"a dispute of {to_text(amount, currency.exponent)} was won; place it again"
    placing = {
        **dict(row),
        "unapplied": int(row["unapplied"]) + amount,
        "refunded": int(row["refunded"]) - amount,
        "reason": said,
        "posting": "requested",
    }
    wish = await money_wish(
        connection, row, f"dispute_won/{dispute['id']}", end.created_at, draft, [payment_posting(row)]
    )  # fmt: skip
    await payment_store.store_placing(connection, end.organization, row["id"], placing)
    await want(connection, [prepare(wish, books)], now)
    return None
