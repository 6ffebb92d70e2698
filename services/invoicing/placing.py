"""Where payments go: which invoices may be meant, and how much of each payment is on which, in memory.

    place_payments  -> customers, references and open invoices looked up, set by set; the invoices held in their order
                    -> each payment in its turn: by hand on what it names, else by its reference and its payer

Each payment sees what those before it left open. Nothing is written here; `Receivables` holds how the invoices stand
after the last one, and each `Placed` where its payment's money is.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final, NamedTuple
from uuid import UUID

from libs.common.clock import derived_id
from libs.common.db import Connection
from libs.common.errors import Fault, Rejection
from libs.common.journal import Rate
from libs.common.money import ISO_4217, Currency, to_text
from libs.common.values import value
from services.invoicing import customer_store, domain, invoice_store, payment_store
from services.invoicing.allocating import OpenInvoice, allocate, numbers_in
from services.invoicing.bookkeeping import Bookkeeping, BooksKey, bookkeeping_for
from services.invoicing.cash_standing import CashTax, cash_tax
from services.invoicing.customers import as_uuid
from services.invoicing.discounting import after_discount, early_payments, short_by
from services.invoicing.early_payment import EarlyPayment
from services.invoicing.entry_drafts import Part
from services.invoicing.exchanging import fitted, most, pair_of, worth
from services.invoicing.invoice_store import InvoiceKey
from services.invoicing.invoices import standing_of
from services.invoicing.rejections import reject
from services.invoicing.rows import Row

CANDIDATES_MAX: Final = 200
"""Open invoices of one customer that a payment is tried on, oldest due first."""


@value(frozen=True, slots=True, kw_only=True)
class ReceivedPayment:
    """Money that came in. `amount` is what the payer paid, in minor units, the fee inside it. `created_at` is when its
    event was made, from which ids are derived. `customer` is an id or an external id; `on_invoices` places it by hand.
    At the rate that is `stated` it settles invoices in another currency: amounts of `on_invoices` are in that, and
    `paid` beside them what of the payment each is, where that is said.
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
    paid: tuple[int | None, ...] = ()
    stated: Rate | None = None
    name: tuple[str, str, str] = field(init=False)
    id: UUID = field(init=False)
    document: str = field(init=False)

    def __post_init__(self) -> None:
        """Name and id follow from the rest; they are asked for often, so they are made once."""
        id_ = derived_id(self.created_at, self.organization, "invoicing", f"{self.provider}/{self.payment_id}")
        object.__setattr__(self, "name", (self.organization, self.provider, self.payment_id))
        object.__setattr__(self, "id", id_)
        object.__setattr__(self, "document", f"payment/{id_}")


@dataclass(slots=True)
class Placed:
    """One new payment on its way to its row. `paid_before` is what was paid of each allocation's invoice before it;
    `discounts` are what it takes off by invoice, paid early; `paid` is what of it each allocation took, where that is
    on an invoice in another currency."""

    payment: ReceivedPayment
    customer: UUID | None
    allocations: Sequence[tuple[UUID, int]]
    due: Sequence[Part]
    unapplied: int
    to_credit: int
    reason: str | None
    paid_before: Sequence[int] = ()
    discounts: Sequence[tuple[UUID, int]] = ()
    paid: Sequence[int | None] = ()

    @property
    def allocated(self) -> int:
        """What of the payment is on invoices, in its own currency."""
        paid = self.paid or [None] * len(self.allocations)
        return sum(
            amount if own is None else own for (_, amount), own in zip(self.allocations, paid, strict=True)
        )  # fmt: skip


@dataclass(slots=True)
class Receivables:
    """The invoices that payments of one batch may be on, as they stand after those before."""

    rows: dict[InvoiceKey, Row]
    standings: dict[InvoiceKey, domain.Standing]
    words: Mapping[str, Collection[str]]
    by_word: Mapping[tuple[str, str, str], Sequence[UUID]]
    by_customer: Mapping[tuple[str, str, UUID, str], Sequence[UUID]]
    tax: CashTax
    early: Mapping[InvoiceKey, EarlyPayment]
    ids: Mapping[str, UUID]
    """Of these invoices and their customers, by their text: that is how `allocating` names them."""

    def candidates(self, payment: ReceivedPayment, customer: UUID | None) -> list[OpenInvoice]:
        """What the payment's reference names, and what its customer owes in its currency."""
        ids: dict[UUID, None] = {}
        for word in self.words.get(payment.reference, ()):
            ids.update(dict.fromkeys(self.by_word.get((payment.organization, payment.ledger, word), ())))
        for invoice, _ in payment.on_invoices:
            ids[invoice] = None
        if customer is not None:
            key = (payment.organization, payment.ledger, customer, payment.currency.code)
            ids.update(dict.fromkeys(self.by_customer.get(key, ())))
        keys = [(payment.organization, invoice) for invoice in ids]
        return [
            self.open_invoice(key, payment.received_on)
            for key in keys
            if self.standings[key].status in domain.OWED
        ]  # fmt: skip

    def open_invoice(self, key: InvoiceKey, paid_on: date) -> OpenInvoice:
        """An invoice as it is allocated to by money that came on a day."""
        row, early = self.rows[key], self.early.get(key)
        return OpenInvoice(
            id=str(row["id"]),
            number=row["number"],
            creditor_reference=row["creditor_reference"],
            customer=str(row["customer"]),
            currency=row["currency"],
            open=self.open(key),
            due_on=row["due_on"],
            issued_on=row["issued_on"],
            discount=0 if early is None else early.allowed(self.standings[key].amounts, paid_on),
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

    def discount(self, key: InvoiceKey, amount: int) -> None:
        """Takes so much off an invoice, which is paid early."""
        self.standings[key] = after_discount(self.standings[key], amount)


async def place_payments(
    connection: Connection, payments: Sequence[ReceivedPayment]
) -> tuple[list[Placed | Rejection], Receivables, Bookkeeping]:
    """Where each payment's money goes, in their order, each seeing what those before it left open."""
    customers = await _customers(connection, payments)
    books = await bookkeeping_for(connection, [key for payment in payments for key in books_keys(payment)])
    receivables = await _receivables(connection, payments, customers, books)
    placed: list[Placed | Rejection] = []
    for payment in payments:
        customer = customers.get((payment.organization, payment.customer)) if payment.customer else None
        placed.append(_placed(payment, customer, receivables))
    return placed, receivables, books


def _placed(payment: ReceivedPayment, customer: UUID | None, receivables: Receivables) -> Placed | Rejection:
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
    ids = receivables.ids
    allocations = tuple((ids[invoice], amount) for invoice, amount in placement.allocations)
    due: list[Part] = []
    paid_before: list[int] = []
    for invoice, amount in allocations:
        paid_before.append(receivables.standings[payment.organization, invoice].amounts.paid)
        moved = receivables.take((payment.organization, invoice), amount)
        assert not isinstance(moved, Rejection), "no more is allocated than is open"
        due += moved
    reason = placement.reason
    if payment.customer is not None and customer is None and placement.unapplied:
        reason = f"the payer is not known: {payment.customer[:200]}"
    whose = customer if placement.customer is None or customer is not None else ids[placement.customer]
    discounts = tuple((ids[invoice], amount) for invoice, amount in placement.discounts)
    for invoice, amount in discounts:
        receivables.discount((payment.organization, invoice), amount)
    return Placed(
        payment, whose, allocations, due, placement.unapplied, placement.to_credit, reason, paid_before, discounts
    )  # fmt: skip


def _placed_by_hand(payment: ReceivedPayment, customer: UUID | None, receivables: Receivables) -> Placed | Rejection:
    """A payment on invoices that its sender names: one without an amount takes what is open; what is left over is the
    customer's credit. All or nothing."""
    before = dict(receivables.standings)
    placed = Placed(payment, customer, [], [], 0, payment.amount, None)
    allocations: list[tuple[UUID, int]] = []
    paid: list[int | None] = []
    paid_before: list[int] = []
    due: list[Part] = []
    for place, (invoice, wanted) in enumerate(payment.on_invoices):
        pointer = f"/allocations/{place}" if wanted is not None else "/invoice_id"
        wish = _Wanted(invoice, wanted, payment.paid[place] if payment.paid else None, pointer)
        found = _taken_by_hand(placed, wish, receivables)
        if isinstance(found, Rejection):
            receivables.standings = before
            return found
        amount, own, moved = found
        if amount:
            allocations.append((invoice, amount))
            paid.append(own if payment.stated is not None else None)
            paid_before.append(receivables.standings[payment.organization, invoice].amounts.paid - amount)
        due += moved
        placed.customer = placed.customer or receivables.rows[payment.organization, invoice]["customer"]
        placed.to_credit -= own
    placed.allocations, placed.due, placed.paid_before, placed.paid = allocations, due, paid_before, paid
    keys = {(payment.organization, invoice) for invoice, _ in allocations}
    early = {key: terms for key, terms in receivables.early.items() if key in keys}
    short = short_by(early, receivables.standings, payment.received_on)
    for key, amount in short.items():
        receivables.discount(key, amount)
    placed.discounts = [(invoice, amount) for (_, invoice), amount in short.items()]
    return placed


class _Wanted(NamedTuple):
    """So much on one invoice, in its currency, for so much of the payment; None is as much as there is."""

    invoice: UUID
    amount: int | None
    paid: int | None
    pointer: str


def _taken_by_hand(
    placed: Placed, wanted: _Wanted, receivables: Receivables
) -> tuple[int, int, list[Part]] | Rejection:
    """What one named invoice takes, in its currency and in the payment's, and the tax that makes due. `to_credit` is
    what is left so far."""
    payment, key = placed.payment, (placed.payment.organization, wanted.invoice)
    row = receivables.rows.get(key)
    refused = _not_for(payment, row, placed.customer, wanted.pointer)
    if refused is not None:
        return refused
    assert row is not None, "it is an invoice of this ledger"
    found = _amounts(placed, wanted, ISO_4217[row["currency"]], receivables.open(key))
    if isinstance(found, Rejection):
        return found
    amount, paid = found
    refused = _more_than_left(payment, paid, placed.to_credit, wanted.pointer)
    if refused is not None:
        return refused
    if not amount and receivables.standings[key].status in domain.OWED:
        return 0, 0, []
    moved = receivables.take(key, amount or placed.to_credit)
    return moved if isinstance(moved, Rejection) else (amount, paid, moved)


def _amounts(placed: Placed, wanted: _Wanted, owed: Currency, open_: int) -> tuple[int, int] | Rejection:
    """What is settled of an invoice, in its currency, and what of the payment that takes."""
    payment, left = placed.payment, placed.to_credit
    if payment.stated is None:
        amount = wanted.amount if wanted.amount is not None else min(left, open_)
        return amount, amount
    if wanted.amount is None:
        paid, settled = most((payment.currency, left), (owed, open_), payment.stated)
        return settled, paid
    paid = worth(wanted.amount, owed, payment.currency, payment.stated) if wanted.paid is None else wanted.paid
    unfit = fitted((payment.currency, paid), (owed, wanted.amount), payment.stated, wanted.pointer)
    return (wanted.amount, paid) if unfit is None else unfit


def _not_for(payment: ReceivedPayment, row: Row | None, customer: UUID | None, pointer: str) -> Rejection | None:
    """Why this invoice takes nothing of this payment."""
    if row is None or row["ledger"] != payment.ledger:
        return reject("unknown-invoice", errors=[Fault(pointer, "is no invoice of this ledger")])
    if payment.stated is not None:
        refused = pair_of(payment.stated, payment.currency, ISO_4217[row["currency"]])
        if refused is not None:
            return refused
    elif row["currency"] != payment.currency.code:
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
) -> Receivables:
    """The invoices that may be meant, held until the commit."""
    words = {payment.reference: numbers_in(payment.reference) for payment in payments if not payment.on_invoices}
    wanted = sorted(
        {
            (payment.organization, payment.ledger, word)
            for payment in payments
            if not payment.on_invoices
            for word in words[payment.reference]
        }
    )
    by_word = await payment_store.find_by_reference(connection, wanted) if wanted else {}
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
    early = await early_payments(connection, rows)
    standings = {key: standing_of(row) for key, row in rows.items()}
    ids = {str(id_): id_ for row in rows.values() for id_ in (row["id"], row["customer"])}
    return Receivables(dict(rows), standings, words, by_word, by_customer, tax, early, ids)


def books_key(payment: ReceivedPayment) -> BooksKey:
    return BooksKey(payment.organization, payment.ledger, payment.currency.code, payment.received_on)


def books_keys(payment: ReceivedPayment) -> list[BooksKey]:
    """What of the books a payment needs: with a rate between two foreign currencies, the day's rates of both."""
    key = books_key(payment)
    if payment.stated is None:
        return [key]
    return [key._replace(currency=code) for code in (payment.stated.base, payment.stated.counter)]
