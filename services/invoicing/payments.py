"""Money in: recorded once, placed on what is owed, asked for at the ledger. One path for one payment and for thousands.

    known already (organization, provider, payment id)?        -> the payment as it is, nothing done
    customers and references looked up, set by set             -> the invoices that may be meant, held in their order
    each payment in its turn, in memory                        -> allocations, customer credit, unapplied with a reason
    payments, invoices, allocations, credit, postings, facts   -> one statement each

A payment waits for the issue of its invoice: its posting depends on the newest issue that is not posted yet. Ids are
derived from who speaks and the payment's own id, so a replay names the same payment and the same entry.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson

from libs.common.clock import derived_id
from libs.common.db import Connection
from libs.common.errors import Fault, Rejection
from libs.common.money import Currency, to_text
from libs.common.outbox import put
from services.invoicing import announcing, customer_store, domain, entries, invoice_store, payment_store
from services.invoicing.allocating import OpenInvoice, allocate, names_in
from services.invoicing.bookkeeping import Bookkeeping, BooksKey, bookkeeping_for
from services.invoicing.cash_standing import CashTax, cash_tax
from services.invoicing.customers import as_uuid
from services.invoicing.entry_drafts import Part
from services.invoicing.invoice_store import AmountsRow, InvoiceKey
from services.invoicing.invoices import issue_posting, standing_of
from services.invoicing.payment_store import AllocationRow, CreditKey, PaymentRow
from services.invoicing.posting_requests import PostingWish, Prepared, document_name, prepare, want
from services.invoicing.rejections import reject
from services.invoicing.rows import Row

CANDIDATES_MAX: Final = 200
"""Open invoices of one customer that a payment is tried on, oldest due first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedPayment:
    """Money that came in. `amount` is what the payer paid, in minor units, the fee inside it. `created_at` is when its
    event was made, from which ids are derived. `customer` is an id or an external id; `on_invoices` places it by hand.
    """

    organization: str
    ledger: str
    provider: str
    payment_id: str
    currency: Currency
    amount: int
    received_on: date
    method: str
    created_at: datetime
    fee: int = 0
    customer: str | None = None
    account: str | None = None
    reference: str = ""
    client_ref: str | None = None
    on_invoices: tuple[tuple[UUID, int | None], ...] = ()

    @property
    def name(self) -> tuple[str, str, str]:
        return self.organization, self.provider, self.payment_id

    @property
    def id(self) -> UUID:
        return derived_id(self.created_at, self.organization, "invoicing", f"{self.provider}/{self.payment_id}")


class Recorded(NamedTuple):
    """A payment as it is stored; `is_new` is False where it was recorded before."""

    row: Row
    allocations: Sequence[Row]
    is_new: bool


@dataclass(slots=True)
class _Placed:
    """One new payment on its way to its row."""

    payment: ReceivedPayment
    customer: UUID | None
    allocations: Sequence[tuple[UUID, int]]
    due: Sequence[Part]
    unapplied: int
    to_credit: int
    reason: str | None
    posting: Prepared | None = None


async def record_payments(
    connection: Connection, received: Sequence[ReceivedPayment], now: datetime
) -> list[Recorded | Rejection]:
    """Records payments in their order; an answer for each at its place."""
    await payment_store.hold_payments(connection, sorted({payment.name for payment in received}))
    known = await payment_store.known_payments(connection, sorted({payment.name for payment in received}))
    fresh: dict[tuple[str, str, str], ReceivedPayment] = {}
    refused: dict[int, Rejection] = {}
    for place, payment in enumerate(received):
        if payment.name in known or payment.name in fresh:
            continue
        if (fault := _fault(payment)) is not None:
            refused[place] = fault
        else:
            fresh[payment.name] = payment
    placed, receivables = await _place(connection, list(fresh.values()))
    recorded = await _store(connection, [each for each in placed if isinstance(each, _Placed)], receivables, now)
    answers: list[Recorded | Rejection] = []
    told: set[tuple[str, str, str]] = set()
    unplaced = {
        payment.name: each for payment, each in zip(fresh.values(), placed, strict=True) if isinstance(each, Rejection)
    }
    for place, payment in enumerate(received):
        if place in refused:
            answers.append(refused[place])
        elif payment.name in unplaced:
            answers.append(unplaced[payment.name])
        elif payment.name in recorded:
            first = recorded[payment.name]
            answers.append(first if payment.name not in told else first._replace(is_new=False))
            told.add(payment.name)
        else:
            answers.append(_again(payment, known[payment.name]))
    return answers


def _fault(payment: ReceivedPayment) -> Rejection | None:
    exponent = payment.currency.exponent
    if payment.amount <= 0:
        given = to_text(payment.amount, exponent)
        return reject("amount-not-positive", errors=[Fault("/amount", f"is {given}")], amount=given)
    if not 0 <= payment.fee <= payment.amount:
        fee, amount = to_text(payment.fee, exponent), to_text(payment.amount, exponent)
        return reject("fee-exceeds-amount", errors=[Fault("/fee", f"is {fee}")], fee=fee, amount=amount)
    return None


def _again(payment: ReceivedPayment, row: Row) -> Recorded | Rejection:
    """A payment that is recorded: the same one, or another one under its name."""
    if (row["ledger"], row["currency"], int(row["amount"])) != (
        payment.ledger, payment.currency.code, payment.amount,
    ):  # fmt: skip
        return reject("duplicate-payment", payment=str(row["id"]), payment_id=payment.payment_id)
    return Recorded(row, [], is_new=False)


# --- placing ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Receivables:
    """The invoices that payments of one batch may be on, as they stand after those before."""

    rows: dict[InvoiceKey, Row]
    standings: dict[InvoiceKey, domain.Standing]
    by_word: Mapping[tuple[str, str, str], Sequence[UUID]]
    by_customer: Mapping[tuple[str, str, UUID, str], Sequence[UUID]]
    tax: CashTax

    def candidates(self, payment: ReceivedPayment, customer: UUID | None) -> list[OpenInvoice]:
        """What the payment's reference names, and what its customer owes in its currency."""
        ids: dict[UUID, None] = {}
        for word in names_in(payment.reference):
            ids.update(dict.fromkeys(self.by_word.get((payment.organization, payment.ledger, word), ())))
        for invoice, _ in payment.on_invoices:
            ids[invoice] = None
        if customer is not None:
            key = (payment.organization, payment.ledger, customer, payment.currency.code)
            ids.update(dict.fromkeys(self.by_customer.get(key, ())))
        keys = [(payment.organization, invoice) for invoice in ids]
        return [self.open_invoice(key) for key in keys if self.standings[key].status in domain.OWED]

    def open_invoice(self, key: InvoiceKey) -> OpenInvoice:
        """An invoice as it is allocated to."""
        row = self.rows[key]
        return OpenInvoice(
            id=str(row["id"]),
            number=row["number"],
            creditor_reference=row["creditor_reference"],
            customer=str(row["customer"]),
            currency=row["currency"],
            open=self.open(key),
            due_on=row["due_on"],
            issued_on=row["issued_on"],
        )

    def open(self, key: InvoiceKey) -> int:
        """What is owed of an invoice; nothing of a draft or a void one."""
        standing = self.standings[key]
        return domain.receivable(standing.status, standing.amounts)

    def take(self, key: InvoiceKey, amount: int) -> list[Part] | Rejection:
        """Puts so much on an invoice; gives the tax that this makes due."""
        before = self.standings[key].amounts
        after = domain.allocate(self.standings[key], amount)
        if isinstance(after, Rejection):
            return after
        status = domain.status_of(after, is_draft=False, is_void=False)
        self.standings[key] = domain.Standing(status, after, self.standings[key].currency)
        return self.tax.due(key, before, after)


async def _place(
    connection: Connection, payments: Sequence[ReceivedPayment]
) -> tuple[list[_Placed | Rejection], _Receivables]:
    """Where each payment's money goes, in their order, each seeing what those before it left open."""
    customers = await _customers(connection, payments)
    books = await bookkeeping_for(connection, [_books_key(payment) for payment in payments])
    receivables = await _receivables(connection, payments, customers, books)
    placed: list[_Placed | Rejection] = []
    for payment in payments:
        customer = customers.get((payment.organization, payment.customer)) if payment.customer else None
        each = _placed(payment, customer, receivables)
        if isinstance(each, _Placed):
            each.posting = _posting(each, receivables, books)
        placed.append(each)
    return placed, receivables


def _placed(payment: ReceivedPayment, customer: UUID | None, receivables: _Receivables) -> _Placed | Rejection:
    """One payment placed: by hand on the invoices it names, else by its reference and its customer."""
    if payment.on_invoices:
        return _placed_by_hand(payment, customer, receivables)
    placement = allocate(
        payment.amount,
        payment.currency.code,
        payment.reference,
        None if customer is None else str(customer),
        receivables.candidates(payment, customer),
    )
    allocations = tuple((UUID(invoice), amount) for invoice, amount in placement.allocations)
    due: list[Part] = []
    for invoice, amount in allocations:
        moved = receivables.take((payment.organization, invoice), amount)
        assert not isinstance(moved, Rejection), "no more is allocated than is open"
        due += moved
    reason = placement.reason
    if payment.customer is not None and customer is None and placement.unapplied:
        reason = f"the payer is not known: {payment.customer[:200]}"
    whose = UUID(placement.customer) if placement.customer is not None else None
    return _Placed(payment, whose, allocations, due, placement.unapplied, placement.to_credit, reason)


def _placed_by_hand(payment: ReceivedPayment, customer: UUID | None, receivables: _Receivables) -> _Placed | Rejection:
    """A payment on invoices that its sender names: one without an amount takes what is open; what is left over is the
    customer's credit. All or nothing."""
    before = dict(receivables.standings)
    placed = _Placed(payment, customer, [], [], 0, payment.amount, None)
    allocations: list[tuple[UUID, int]] = []
    due: list[Part] = []
    for place, (invoice, wanted) in enumerate(payment.on_invoices):
        pointer = f"/allocations/{place}" if wanted is not None else "/invoice_id"
        found = _taken_by_hand(placed, invoice, wanted, receivables, pointer)
        if isinstance(found, Rejection):
            receivables.standings = before
            return found
        amount, moved = found
        if amount:
            allocations.append((invoice, amount))
        due += moved
        placed.customer = placed.customer or receivables.rows[payment.organization, invoice]["customer"]
        placed.to_credit -= amount
    placed.allocations, placed.due = allocations, due
    return placed


def _taken_by_hand(
    placed: _Placed, invoice: UUID, wanted: int | None, receivables: _Receivables, pointer: str
) -> tuple[int, list[Part]] | Rejection:
    """What of the payment one named invoice takes, and the tax that makes due. `to_credit` is what is left so far."""
    payment, key = placed.payment, (placed.payment.organization, invoice)
    refused = _not_for(payment, receivables.rows.get(key), placed.customer, pointer)
    if refused is not None:
        return refused
    amount = wanted if wanted is not None else min(placed.to_credit, receivables.open(key))
    refused = _more_than_left(payment, amount, placed.to_credit, pointer)
    if refused is not None:
        return refused
    if not amount and receivables.standings[key].status in domain.OWED:
        return 0, []
    moved = receivables.take(key, amount or placed.to_credit)
    return moved if isinstance(moved, Rejection) else (amount, moved)


def _not_for(payment: ReceivedPayment, row: Row | None, customer: UUID | None, pointer: str) -> Rejection | None:
    """Why this invoice takes nothing of this payment."""
    if row is None or row["ledger"] != payment.ledger:
        return reject("unknown-invoice", errors=[Fault(pointer, "is no invoice of this ledger")])
    if row["currency"] != payment.currency.code:
        fault = Fault("/currency", f"is {payment.currency.code}, the invoice is in {row['currency']}")
        return reject("currency-mismatch", errors=[fault], currency=row["currency"])
    if customer is not None and row["customer"] != customer:
        return reject("customer-differs", errors=[Fault(pointer, "is another customer's")])
    return None


def _more_than_left(payment: ReceivedPayment, amount: int, left: int, pointer: str) -> Rejection | None:
    if amount <= left:
        return None
    given, rest = (to_text(each, payment.currency.exponent) for each in (amount, left))
    said = f"is {given}, and {rest} is left of the payment"
    return reject("allocation-exceeds-payment", errors=[Fault(f"{pointer}/amount", said)], amount=given, left=rest)


async def _customers(connection: Connection, payments: Sequence[ReceivedPayment]) -> dict[tuple[str, str | None], UUID]:
    """Who the payers are, by (organization, id or external id)."""
    named = sorted({(payment.organization, payment.customer) for payment in payments if payment.customer})
    ids = [(organization, customer) for organization, text in named if (customer := as_uuid(text)) is not None]
    found: dict[tuple[str, str | None], UUID] = {}
    for row in await customer_store.customers_by_id(connection, ids) if ids else ():
        found[row["organization"], str(row["id"])] = row["id"]
    by_name = {(organization, text): as_uuid(text) for organization, text in named}
    for key, customer in by_name.items():
        if customer is not None and (key[0], str(customer)) in found:
            found[key] = customer
    others = [key for key in named if key not in found]
    for row in await customer_store.customers_by_external_id(connection, others) if others else ():
        found[row["organization"], row["external_id"]] = row["id"]
    return found


async def _receivables(
    connection: Connection,
    payments: Sequence[ReceivedPayment],
    customers: Mapping[tuple[str, str | None], UUID],
    books: Bookkeeping,
) -> _Receivables:
    """The invoices that may be meant, held until the commit."""
    words = sorted(
        {
            (payment.organization, payment.ledger, word)
            for payment in payments
            if not payment.on_invoices
            for word in names_in(payment.reference)
        }
    )
    by_word = await payment_store.find_by_reference(connection, words) if words else {}
    payers = sorted(
        {
            (payment.organization, payment.ledger, customer, payment.currency.code)
            for payment in payments
            if not payment.on_invoices
            and (customer := customers.get((payment.organization, payment.customer))) is not None
        }
    )
    by_customer = await payment_store.find_open(connection, payers, CANDIDATES_MAX) if payers else {}
    keys = {(key[0], invoice) for found in (by_word, by_customer) for key, ids in found.items() for invoice in ids}
    keys |= {(payment.organization, invoice) for payment in payments for invoice, _ in payment.on_invoices}
    rows = await invoice_store.lock_invoices(connection, sorted(keys))
    tax = await cash_tax(connection, books, rows.values())
    return _Receivables(dict(rows), {key: standing_of(row) for key, row in rows.items()}, by_word, by_customer, tax)


# --- storing ----------------------------------------------------------------------------------------------------------


def _books_key(payment: ReceivedPayment) -> BooksKey:
    return BooksKey(payment.organization, payment.ledger, payment.currency.code, payment.received_on)


def _posting(placed: _Placed, receivables: _Receivables, books: Bookkeeping) -> Prepared:
    """What the ledger is asked for a payment; it waits for the newest issue among its invoices."""
    payment, allocations = placed.payment, placed.allocations
    rows = [receivables.rows[payment.organization, invoice] for invoice, _ in allocations]
    newest = max(rows, key=lambda row: (row["created_at"], row["id"]), default=None)
    draft = entries.payment_entry(
        _row(placed, "none")._asdict(),
        allocations,
        [row["customer"] for row in rows],
        books.books(_books_key(payment)),
        placed.due,
    )
    before = None if newest is None else issue_posting(payment.organization, newest["id"], newest["created_at"])
    wish = PostingWish(
        organization=payment.organization,
        ledger=payment.ledger,
        document=document_name("payment", payment.id),
        purpose="payment",
        created_at=payment.created_at,
        draft=draft,
        depends_on=before,
    )
    return prepare(wish, books)


async def _store(
    connection: Connection, placed: Sequence[_Placed], receivables: _Receivables, now: datetime
) -> dict[tuple[str, str, str], Recorded]:
    """Payments, what stands on invoices, allocations, customer credit, postings, facts: in this order."""
    rows = [
        _row(each, each.posting.posting if each.posting else "none", _receipt(each, receivables)) for each in placed
    ]
    await payment_store.insert_payments(connection, rows)
    changed = {
        (each.payment.organization, invoice) for each in placed for invoice, _ in each.allocations
    }  # fmt: skip
    await store_standings(connection, {key: receivables.standings[key] for key in changed})
    allocations = [allocation for each in placed for allocation in _allocations(each, now)]
    await payment_store.insert_allocations(connection, allocations)
    credit: dict[CreditKey, int] = {}
    for each in placed:
        if each.to_credit:
            assert each.customer is not None, "credit is somebody's"
            payment = each.payment
            key = payment.organization, payment.ledger, each.customer, payment.currency.code
            credit[key] = credit.get(key, 0) + each.to_credit
    await payment_store.move_credit(connection, credit)
    await want(connection, [each.posting for each in placed if each.posting is not None], now)
    await put(connection, _facts(placed, receivables, now))
    by_payment: dict[UUID, list[Row]] = {}
    for allocation in allocations:
        by_payment.setdefault(allocation.source_id, []).append(allocation._asdict())
    return {
        each.payment.name: Recorded(
            {**row._asdict(), "refunded": 0, "version": 1}, by_payment.get(row.id, []), is_new=True
        )
        for each, row in zip(placed, rows, strict=True)
    }


def _row(placed: _Placed, posting: str, receipt: str | None = None) -> PaymentRow:
    payment = placed.payment
    return PaymentRow(
        organization=payment.organization,
        id=payment.id,
        ledger=payment.ledger,
        provider=payment.provider,
        payment_id=payment.payment_id,
        customer=placed.customer,
        currency=payment.currency.code,
        amount=payment.amount,
        fee=payment.fee,
        received_on=payment.received_on,
        method=payment.method,
        account=payment.account,
        reference=payment.reference or None,
        allocated=sum(amount for _, amount in placed.allocations),
        unapplied=placed.unapplied,
        to_credit=placed.to_credit,
        unapplied_party=entries.unapplied_party(placed.customer, payment.id) if placed.unapplied else None,
        receipt=receipt,
        reason=placed.reason,
        posting=posting,
        client_ref=payment.client_ref,
        created_at=payment.created_at,
    )


def _receipt(placed: _Placed, receivables: _Receivables) -> str | None:
    """Where the money went at first, where the ledger cannot be asked for it yet."""
    if placed.posting is None or not isinstance(placed.posting.wish.draft, Rejection):
        return None
    organization = placed.payment.organization
    return orjson.dumps(
        {
            "customer": placed.customer,
            "unapplied": str(placed.unapplied),
            "to_credit": str(placed.to_credit),
            "placed": [
                [invoice, str(amount), receivables.rows[organization, invoice]["customer"]]
                for invoice, amount in placed.allocations
            ],
        },
        default=str,
    ).decode()


def _allocations(placed: _Placed, now: datetime) -> list[AllocationRow]:
    payment = placed.payment
    return [
        AllocationRow(
            payment.organization,
            allocation_id(payment.created_at, payment.organization, payment.id, invoice, 0),
            "payment",
            payment.id,
            invoice,
            amount,
            payment.received_on,
            None,
            now,
        )
        for invoice, amount in placed.allocations
    ]


def allocation_id(created_at: datetime, organization: str, source: UUID, invoice: UUID, number: int) -> UUID:
    """The id of a source's allocation to an invoice, the same in a replay; `number` counts those of one pair."""
    return derived_id(created_at, organization, "invoicing", f"allocation/{source}/{invoice}", str(number))


async def store_standings(connection: Connection, standings: Mapping[InvoiceKey, domain.Standing]) -> None:
    """What stands on invoices after a change."""
    await invoice_store.store_amounts(
        connection,
        [
            AmountsRow(
                *key,
                standing.status,
                standing.amounts.paid,
                standing.amounts.credited,
                standing.amounts.written_off,
            )
            for key, standing in sorted(standings.items())
        ],
    )


def _facts(placed: Sequence[_Placed], receivables: _Receivables, now: datetime) -> list[Any]:
    """One invoice-paid for each invoice that a payment of the batch is on: all its amounts after the batch."""
    last: dict[InvoiceKey, tuple[_Placed, int]] = {}
    for each in placed:
        for invoice, amount in each.allocations:
            key = each.payment.organization, invoice
            before = last.get(key)
            last[key] = each, amount + (before[1] if before else 0)
    return [
        announcing.invoice_changed(
            "paid", changed_row(receivables.rows[key], receivables.standings[key]), now, amount,
            payment_id=each.payment.id,
        )
        for key, (each, amount) in last.items()
    ]  # fmt: skip


def changed_row(row: Row, standing: domain.Standing) -> dict[str, Any]:
    """An invoice's row as it is after its amounts were stored."""
    amounts = standing.amounts
    return {
        **dict(row),
        "status": standing.status,
        "paid": amounts.paid,
        "credited": amounts.credited,
        "written_off": amounts.written_off,
        "version": row["version"] + 1,
    }
