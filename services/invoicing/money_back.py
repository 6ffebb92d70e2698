"""Money that goes back to who paid it: refunded by us, returned by a bank, disputed; and what a won dispute brings.

    the payment, held -> taken from what is unapplied, then credit, then the newest allocations (allocating.unwind)
    payment, refund or dispute, invoices open again, allocations undone, credit, the entry that is wanted, in this order

What is known already (a refund, return or dispute by its provider's id) is done already. An undoing is of a whole
allocation, so where only a part goes back the rest is allocated again at once. A dispute that is won puts the money
where it was as far as that still is: on the invoices it was taken off, as far as they are open, else unapplied. One
that is lost stays as it was opened. Everything here is decided before anything is written.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final, Literal
from uuid import UUID

from libs.common.clock import derived_id
from libs.common.db import Connection
from libs.common.errors import Fault, Rejection
from libs.common.money import Currency, to_text
from services.invoicing import domain, entries, invoice_store, money_back_store, payment_store
from services.invoicing.allocating import Kept, unwind
from services.invoicing.bookkeeping import BooksKey, bookkeeping_for
from services.invoicing.business_events import Occasion, Owed
from services.invoicing.invoice_store import InvoiceKey
from services.invoicing.invoices import standing_of
from services.invoicing.payment_store import AllocationRow
from services.invoicing.payments import allocation_id, store_standings
from services.invoicing.posting_requests import PostingWish, document_name, posting_id, prepare, want
from services.invoicing.rejections import reject

Kind = Literal["refund", "return", "dispute"]

EVENTS: Final[Mapping[Kind, str]] = {"refund": "refund", "return": "returned", "dispute": "dispute_opened"}
"""The accounting policy's name of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Back:
    """Money that went back; `id` is the provider's of the refund, return or dispute. Amounts in minor units."""

    kind: Kind
    organization: str
    ledger: str
    provider: str
    id: str
    payment_id: str
    currency: Currency
    amount: int
    fee: int
    on: date
    created_at: datetime
    reason: str | None = None

    @property
    def own_id(self) -> UUID:
        return derived_id(self.created_at, self.organization, "invoicing", f"{self.provider}/{self.kind}/{self.id}")


@dataclass(slots=True)
class _Change:
    """What becomes of one payment: amounts that move, allocations that come and go, invoices as they stand then."""

    payment: Mapping[str, Any]
    now: datetime
    numbers: dict[UUID, int]
    standings: dict[InvoiceKey, domain.Standing] = field(default_factory=dict)
    parties: dict[UUID, UUID] = field(default_factory=dict)
    rows: list[AllocationRow] = field(default_factory=list)
    unapplied: int = 0
    to_credit: int = 0
    allocated: int = 0
    owed: dict[UUID, int] = field(default_factory=dict)
    """What is owed again (or, negative, no more) by each customer."""

    def add(self, invoice: UUID, amount: int, on: date, undoes: UUID | None = None) -> None:
        """One allocation row more."""
        organization, payment = self.payment["organization"], self.payment["id"]
        number = self.numbers.get(invoice, 0)
        self.numbers[invoice] = number + 1
        id_ = allocation_id(self.payment["created_at"], organization, payment, invoice, number)
        self.rows.append(AllocationRow(organization, id_, "payment", payment, invoice, amount, on, undoes, self.now))

    def placing(self, went: int) -> dict[str, Any]:
        """The payment's columns after it; `went` is what left it, negative for what came back."""
        row = self.payment
        return {
            **row,
            "unapplied": int(row["unapplied"]) + self.unapplied,
            "to_credit": int(row["to_credit"]) + self.to_credit,
            "allocated": int(row["allocated"]) + self.allocated,
            "refunded": int(row["refunded"]) + went,
        }


async def give_back(connection: Connection, back: Back, now: datetime) -> Rejection | None:
    """Takes back what a provider says went back. What is known already changes nothing."""
    known = await _known(connection, back)
    if known is not None:
        return None if known == (back.currency.code, back.amount) else reject("duplicate-refund", id=back.id)
    found = await _held(connection, back.organization, back.ledger, back.provider, back.payment_id, back.currency)
    if isinstance(found, Rejection):
        return found
    credit_key = (back.organization, back.ledger, found["customer"], back.currency.code)
    credit = 0
    if found["to_credit"]:
        credit = min(int(found["to_credit"]), await payment_store.lock_credit(connection, credit_key))
    standing = await payment_store.allocations_of(connection, back.organization, found["id"])
    kept = Kept(int(found["unapplied"]), credit, tuple((str(each["id"]), int(each["amount"])) for each in standing))
    taken = unwind(kept, back.amount, back.currency)
    if isinstance(taken, Rejection):
        return taken
    change = await _change(connection, found, now, [each["invoice"] for each in standing])
    change.unapplied, change.to_credit = -taken.unapplied, -taken.credit
    by_id = {str(each["id"]): each for each in standing}
    for id_, part in taken.allocations:
        refused = _take_off(change, by_id[id_], part, back.on)
        if refused is not None:
            return refused
    await payment_store.store_placing(connection, back.organization, found["id"], change.placing(back.amount))
    posting = await _store_back(connection, back, found, change)
    await store_standings(connection, change.standings)
    await payment_store.insert_allocations(connection, change.rows)
    if taken.credit:
        await payment_store.move_credit(connection, {credit_key: -taken.credit})
    await want(connection, [posting], now)
    return None


async def _known(connection: Connection, back: Back) -> tuple[str, int] | None:
    find = money_back_store.lock_dispute if back.kind == "dispute" else money_back_store.find_refund
    row = await find(connection, back.organization, back.provider, back.id)
    return None if row is None else (row["currency"], int(row["amount"]))


async def _held(
    connection: Connection, organization: str, ledger: str, provider: str, payment_id: str, currency: Currency
) -> Mapping[str, Any] | Rejection:
    """The payment, held until the commit."""
    name = (organization, provider, payment_id)
    known = (await payment_store.known_payments(connection, [name])).get(name)
    if known is None:
        return reject("unknown-payment", provider=provider, payment_id=payment_id)
    row = await payment_store.lock_payment(connection, organization, known["id"])
    assert row is not None, "a payment is never removed"
    if row["ledger"] != ledger:
        return reject("ledger-differs", errors=[Fault("/ledger", f"is {ledger}")], ledger=row["ledger"])
    if row["currency"] != currency.code:
        fault = Fault("/currency", f"is {currency.code}, the payment is in {row['currency']}")
        return reject("currency-mismatch", errors=[fault], currency=row["currency"])
    return row


async def _change(connection: Connection, payment: Mapping[str, Any], now: datetime, invoices: list[UUID]) -> _Change:
    """A change of a payment, with the invoices it may touch held."""
    organization = payment["organization"]
    numbers = await money_back_store.count_allocations(connection, organization, payment["id"])
    rows = await invoice_store.lock_invoices(connection, [(organization, invoice) for invoice in invoices])
    change = _Change(payment, now, numbers)
    change.parties = {row["id"]: row["customer"] for row in rows.values()}
    change.standings = {key: standing_of(row) for key, row in rows.items()}
    return change


def _take_off(change: _Change, allocation: Mapping[str, Any], part: int, on: date) -> Rejection | None:
    """Undoes an allocation whole, and allocates again what of it stays."""
    invoice, amount = allocation["invoice"], int(allocation["amount"])
    key = (change.payment["organization"], invoice)
    standing = change.standings[key]
    after = domain.unallocate(standing, part)
    if isinstance(after, Rejection):
        return after
    status = domain.status_of(after, is_draft=False, is_void=False)
    change.standings[key] = domain.Standing(status, after, standing.currency)
    change.add(invoice, amount, on, undoes=allocation["id"])
    if amount > part:
        change.add(invoice, amount - part, on)
    change.allocated -= part
    party = change.parties[invoice]
    change.owed[party] = change.owed.get(party, 0) + part
    return None


async def _store_back(connection: Connection, back: Back, payment: Mapping[str, Any], change: _Change) -> Any:
    """The refund, return or dispute with the entry it asks for."""
    sources = _sources(change, 1)
    words = {"refund": "refunded", "return": "returned", "dispute": "disputed"}[back.kind]
    occasion = Occasion(f"Payment {payment['payment_id']} {words}", back.on, back.currency)
    document = document_name("dispute" if back.kind == "dispute" else "refund", back.own_id)
    prepared = await _prepared(connection, payment, document, EVENTS[back.kind], back.created_at, occasion, sources,
                               back.fee)  # fmt: skip
    taken = {
        "from_unapplied": -change.unapplied,
        "from_credit": -change.to_credit,
        "from_allocated": -change.allocated,
    }
    row: dict[str, Any] = {
        "organization": back.organization, "id": back.own_id, "ledger": back.ledger, "provider": back.provider,
        "payment": payment["id"], "customer": payment["customer"], "currency": back.currency.code,
        "amount": back.amount, "fee": back.fee, "posting": prepared.posting, "created_at": back.created_at, **taken,
    }  # fmt: skip
    if back.kind == "dispute":
        more = {"dispute_id": back.id, "status": "opened", "opened_on": back.on, "settled_on": None}
        await money_back_store.insert_dispute(connection, row | more)
    else:
        more = {"kind": back.kind, "refund_id": back.id, "refunded_on": back.on, "reason": back.reason}
        await payment_store.insert_refund(connection, row | more)
    return prepared


def _sources(change: _Change, sign: int) -> list[Owed]:
    """Where the money was (sign 1) or goes to again (sign -1), as the accounting policy is told."""
    payment = change.payment
    owed = [Owed("receivable", str(party), sign * amount) for party, amount in sorted(change.owed.items()) if amount]
    if change.unapplied:
        owed.append(Owed("unapplied-receipts", entries.unapplied_party_of(payment), -sign * change.unapplied))
    if change.to_credit:
        owed.append(Owed("customer-credit", str(payment["customer"]), -sign * change.to_credit))
    return owed


async def _prepared(
    connection: Connection, payment: Mapping[str, Any], document: str, event: str, created_at: datetime,
    occasion: Occasion, sources: list[Owed], fee: int,
) -> Any:  # fmt: skip
    organization, ledger = payment["organization"], payment["ledger"]
    key = BooksKey(organization, ledger, payment["currency"], occasion.on)
    books = await bookkeeping_for(connection, [key])
    place = entries.place_of(payment["account"], payment["provider"], payment["method"])
    first = document_name("payment", payment["id"])
    wish = PostingWish(
        organization=organization,
        ledger=ledger,
        document=document,
        purpose=event,
        created_at=created_at,
        draft=entries.back_entry(event, occasion, place, sources, fee, books.books(key)),
        depends_on=posting_id(organization, first, "payment", payment["created_at"]),
    )
    return prepare(wish, books)


# --- how a dispute ends -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A dispute that ended. Of one that was won, `amount` comes back, and `fee` of what it cost."""

    organization: str
    ledger: str
    provider: str
    dispute_id: str
    payment_id: str
    status: Literal["won", "lost"]
    currency: Currency
    amount: int
    fee: int
    on: date


async def settle(connection: Connection, settled: Settled, now: datetime) -> Rejection | None:
    """Takes in how a dispute ended. One that ended like this already changes nothing."""
    organization = settled.organization
    dispute = await money_back_store.lock_dispute(connection, organization, settled.provider, settled.dispute_id)
    if dispute is None:
        return reject("unknown-dispute", provider=settled.provider, dispute_id=settled.dispute_id)
    if dispute["status"] != "opened":
        same = dispute["status"] == settled.status
        return None if same else reject("dispute-settled", status=dispute["status"])
    if settled.status == "lost":
        await money_back_store.settle_dispute(
            connection, organization, dispute["id"], "lost", settled.on, dispute["posting"]
        )
        return None
    if settled.amount > dispute["amount"]:
        return _too_much(settled, int(dispute["amount"]))
    payment = await _held(
        connection, organization, settled.ledger, settled.provider, settled.payment_id, settled.currency
    )
    if isinstance(payment, Rejection):
        return payment
    numbers = await money_back_store.count_allocations(connection, organization, payment["id"])
    change = await _change(connection, payment, now, list(numbers))
    _put_back(change, dispute, settled)
    occasion = Occasion(f"Dispute of payment {settled.payment_id} won", settled.on, settled.currency)
    document = document_name("dispute", dispute["id"])
    prepared = await _prepared(
        connection, payment, document, "dispute_won", dispute["created_at"], occasion, _sources(change, -1), settled.fee
    )
    await payment_store.store_placing(connection, organization, payment["id"], change.placing(-settled.amount))
    await money_back_store.settle_dispute(connection, organization, dispute["id"], "won", settled.on, prepared.posting)
    await store_standings(connection, change.standings)
    await payment_store.insert_allocations(connection, change.rows)
    if change.to_credit:
        key = (organization, payment["ledger"], payment["customer"], payment["currency"])
        await payment_store.move_credit(connection, {key: change.to_credit})
    await want(connection, [prepared], now)
    return None


def _put_back(change: _Change, dispute: Mapping[str, Any], settled: Settled) -> None:
    """The money where it was: on invoices as far as they are open, in the customer's credit, else unapplied."""
    left = settled.amount
    on_invoices = min(left, int(dispute["from_allocated"]))
    for invoice in list(change.numbers):
        key = (settled.organization, invoice)
        standing = change.standings[key]
        part = min(on_invoices, domain.receivable(standing.status, standing.amounts))
        if not part:
            continue
        after = domain.allocate(standing, part)
        assert not isinstance(after, Rejection), "no more is allocated than is open"
        status = domain.status_of(after, is_draft=False, is_void=False)
        change.standings[key] = domain.Standing(status, after, standing.currency)
        change.add(invoice, part, settled.on)
        party = change.parties[invoice]
        change.owed[party] = change.owed.get(party, 0) - part
        change.allocated += part
        on_invoices -= part
        left -= part
    change.to_credit = min(left, int(dispute["from_credit"]))
    change.unapplied = left - change.to_credit


def _too_much(settled: Settled, most: int) -> Rejection:
    given, there = (to_text(each, settled.currency.exponent) for each in (settled.amount, most))
    said = f"{given} {settled.currency.code} is more than the {there} that was disputed"
    return reject("refund-exceeds-payment", f"{said}.", [Fault("/amount", said)], amount=given, left=there)
