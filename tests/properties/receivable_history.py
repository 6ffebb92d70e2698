"""A receivables department in memory: what is drawn happens to invoices and payments, by the rules, and is posted.

It keeps what the documents say (amounts, allocations, credit, promises, what is deferred, tax) and asks the posting
rules for each entry, which goes through the ledger's own rules. `check` compares the two, cent by cent.
A step that the documents do not allow at the moment does nothing. Money that goes back, write-offs and the check are in
`receivable_endings`.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import TypeVar
from uuid import UUID

from libs.common.errors import Rejection
from libs.common.money import Currency, Rounding, convert
from services.invoicing import domain
from services.invoicing import posting_rules as rules
from services.invoicing.allocating import Kept, OpenInvoice, allocate
from services.invoicing.arithmetic import Totals, totals
from services.invoicing.business_events import CreditNote, IssuedInvoice, Occasion, Owed, Place, Receipt
from services.invoicing.cash_basis import TaxRow, TaxStanding, tax_parts
from services.invoicing.crediting import CreditTotals, credit_amount
from services.invoicing.domain import Amounts, Standing, may_follow, status_of
from services.invoicing.drafts import Draft, LineDraft, TaxTerms
from services.invoicing.entry_drafts import Books, Part, TaxBasis, mirrored, movements
from services.invoicing.recognition import Deferral, left, to_recognise, to_take_back
from tests.invoicing.books_in_memory import EUR, USD, Ledger, books

T = TypeVar("T")
Step = Callable[["History", int, int, int], bool]
ON = date(2026, 1, 1)
CUSTOMERS = ("acme", "globex", "initech")
TERMS = (TaxTerms("S", Decimal(20)), TaxTerms("S", Decimal("9.975")), TaxTerms("Z", Decimal(0)))
PLACES = (Place("bank"), Place("processor-clearing"))
EURO_RATES = (Decimal("1.08"), Decimal("0.9137"), Decimal("1.23456789"))


@dataclass
class Invoice:
    """One invoice and everything that happened to it."""

    issued: IssuedInvoice
    books: Books
    entry: UUID
    amounts: Amounts
    deferrals: dict[int, Deferral]
    is_void: bool = False
    notes: list[CreditTotals] = field(default_factory=list)
    discounts: list[CreditTotals] = field(default_factory=list)
    withheld: list[int] = field(default_factory=list)
    credit_used: list[int] = field(default_factory=list)
    left_to_credit: int = 0
    recognised: Counter[int] = field(default_factory=Counter)
    off_deferred: Counter[int] = field(default_factory=Counter)
    rows_left: dict[TaxTerms, int] = field(default_factory=dict)
    write_offs: list[tuple[int, tuple[TaxRow, ...]]] = field(default_factory=list)
    relieved: int = 0
    repaid: int = 0

    @property
    def currency(self) -> Currency:
        return self.issued.totals.currency

    @property
    def customer(self) -> str:
        return self.issued.customer

    @property
    def status(self) -> domain.Status:
        return status_of(self.amounts, False, self.is_void)

    def standing(self) -> TaxStanding:
        """Its tax on cash basis, from the documents."""
        rows = tuple(TaxRow(terms, amount, USD) for terms, amount in self.rows_left.items())
        total = self.amounts.total - sum(note.total for note in self.notes) - self.amounts.written_off
        return TaxStanding(rows, total, self.amounts.paid - self.left_to_credit)

    def take(self, after: Amounts | Rejection) -> bool:
        """Moves the amounts where the rule allows it; the step must be one of the table."""
        if isinstance(after, Rejection):
            return False
        before, self.amounts = self.status, after
        assert may_follow(before, self.status), f"{before} to {self.status}"
        return True

    def at(self) -> Standing:
        return Standing(self.status, self.amounts, self.currency)


@dataclass
class Payment:
    """One payment: amount = on invoices + unapplied + to credit + gone back."""

    amount: int
    currency: Currency
    party: str
    unapplied: int
    to_credit: int
    credit_party: str | None
    placed: dict[int, tuple[Invoice, int]] = field(default_factory=dict)
    gone_back: int = 0
    disputes: list[tuple[Kept, dict[str, Invoice]]] = field(default_factory=list)


def pick(found: Sequence[T], number: int) -> T | None:
    """One of them, None where there is none."""
    return found[number % len(found)] if found else None


def part(limit: int, percent: int) -> int:
    """So much of `limit`, at least one minor unit of it; zero where there is none."""
    return max(1, limit * percent // 100) if limit > 0 else 0


def in_usd(amount: int, currency: Currency, rate: Decimal) -> int:
    """Minor units of USD, as an amount of tax is booked."""
    return amount if currency == USD else convert(amount, currency, USD, rate, Rounding.HALF_EVEN)


@dataclass
class History:
    """Everything there is; `taken` counts the steps that did something."""

    tax_basis: TaxBasis
    ledger: Ledger = field(init=False)
    invoices: list[Invoice] = field(default_factory=list)
    payments: list[Payment] = field(default_factory=list)
    credit: Counter[tuple[str, str]] = field(default_factory=Counter)
    promised: Counter[tuple[str, str]] = field(default_factory=Counter)
    clearing: Counter[str] = field(default_factory=Counter)
    relief: int = 0
    allocations: int = 0
    day: date = ON
    euro_rate: Decimal = EURO_RATES[0]
    taken: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.books)

    @property
    def books(self) -> Books:
        return books(self.tax_basis, {"EUR": self.euro_rate})

    def told(self, currency: Currency) -> Occasion:
        return Occasion("told", self.day, currency)

    def step(self, name: str, act: "Step", first: int, second: int, percent: int) -> None:
        """One thing that happens; the numbers say to what, and how much of it."""
        self.day += timedelta(days=first % 3)
        self.euro_rate = EURO_RATES[second % len(EURO_RATES)]
        if act(self, first, second, percent):
            self.taken[name] += 1

    # --- documents ---

    def issue(self, first: int, second: int, percent: int) -> bool:
        currency = (USD, EUR)[second % 2]
        lines = tuple(
            LineDraft(
                description="drawn",
                quantity=Decimal(-1 if place and (first + place) % 7 == 0 else 1 + place),
                unit_price=Decimal(1 + first * percent % 5000).scaleb(-2),
                tax=TERMS[(first + place) % len(TERMS)],
                service_from=self.day if place % 2 else None,
                service_to=self.day + timedelta(days=second % 40) if place % 2 else None,
            )
            for place in range(1 + second % 4)
        )
        found = totals(Draft(currency=currency, lines=lines, cash_rounding=5 if first % 5 == 0 else 0))
        if not isinstance(found, Totals):
            return False
        number = f"2026-{len(self.invoices):06}"
        issued = IssuedInvoice(number, CUSTOMERS[first % len(CUSTOMERS)], self.day, found)
        deferred = rules.deferrals(issued, self.books)
        assert isinstance(deferred, tuple)
        if found.total == 0:
            return False
        record = self.ledger.post(rules.issue(issued, self.books))
        assert record.id is not None
        deferrals = {deferral.line: deferral for deferral in deferred}
        invoice = Invoice(issued, self.books, record.id, Amounts(found.total), deferrals)
        for row in found.taxes:
            invoice.rows_left[row.terms] = in_usd(row.amount, currency, self.euro_rate)
        self.invoices.append(invoice)
        return True

    def void(self, first: int, second: int, percent: int) -> bool:
        invoice = pick(self.invoices, first)
        if invoice is None or isinstance(domain.void(invoice.at()), Rejection):
            return False
        rows = [(invoice.deferrals[line], amount) for line, amount in invoice.recognised.items()]
        taken_back = rules.recognition(invoice.issued.number, self.day, to_take_back(rows), self.books)
        if taken_back is not None:
            self.ledger.post(taken_back)
        draft = rules.issue(invoice.issued, invoice.books)
        assert not isinstance(draft, Rejection)
        self.ledger.reverse(invoice.entry, mirrored(movements(draft)))
        invoice.is_void = True
        return True

    def recognise(self, first: int, second: int, percent: int) -> bool:
        invoice = pick([each for each in self.invoices if not each.is_void], first)
        if invoice is None:
            return False
        rows = [
            (deferral, invoice.off_deferred[line], invoice.recognised[line])
            for line, deferral in invoice.deferrals.items()
        ]
        found = to_recognise(rows, self.day)
        draft = rules.recognition(invoice.issued.number, self.day, found, self.books)
        if draft is None:
            return False
        self.ledger.post(draft)
        for deferral, amount in found:
            invoice.recognised[deferral.line] += amount
        return True

    def note(self, first: int, second: int, percent: int) -> bool:
        return self._credit(first, percent, is_discount=False)

    def discount(self, first: int, second: int, percent: int) -> bool:
        return self._credit(first, max(1, percent // 20), is_discount=True)

    def _credit(self, first: int, percent: int, *, is_discount: bool) -> bool:
        invoice = pick([each for each in self.invoices if not each.is_void], first)
        if invoice is None:
            return False
        limit = invoice.amounts.open if is_discount else invoice.amounts.total
        limit = min(
            limit, invoice.amounts.total - sum(each.total for each in invoice.notes) - invoice.amounts.written_off
        )
        amount = part(limit, percent)
        found = credit_amount(invoice.issued.totals, invoice.notes, amount) if amount else None
        if not isinstance(found, CreditTotals) or found.total == 0:
            return False
        on_receivable = min(found.total, invoice.amounts.open)
        lefts = {
            line: left(deferral, invoice.off_deferred[line], invoice.recognised[line])
            for line, deferral in invoice.deferrals.items()
        }
        standing = invoice.standing() if self.tax_basis == "cash" else None
        note = CreditNote(
            number="C-1",
            issued_on=self.day,
            invoice=invoice.issued,
            totals=found,
            on_receivable=on_receivable,
            deferred_left=lefts,
            standing=standing,
        )
        draft = rules.early_discount(note, invoice.books) if is_discount else rules.credit_note(note, invoice.books)
        taken = {} if is_discount else rules.off_deferred(note, invoice.books)
        assert isinstance(taken, dict), taken
        invoice.off_deferred.update(taken)
        self.ledger.post(draft)
        if on_receivable:
            assert invoice.take(domain.credit(invoice.at(), on_receivable))
        self.credit[invoice.customer, invoice.currency.code] += found.total - on_receivable
        invoice.left_to_credit += found.total - on_receivable
        invoice.notes.append(found)
        if is_discount:
            invoice.discounts.append(found)
        rate = invoice.books.rates["EUR"]
        for row in found.taxes:
            invoice.rows_left[row.terms] -= in_usd(row.amount, invoice.currency, rate)
        return True

    # --- money ---

    def pay(self, first: int, second: int, percent: int) -> bool:
        invoice = pick(self.invoices, first)
        currency = invoice.currency if invoice is not None and second % 5 else (USD, EUR)[first % 2]
        amount = part(invoice.amounts.total * 3 // 2 if invoice is not None else 5000, percent)
        if not amount:
            return False
        customer = None if second % 3 == 0 else CUSTOMERS[first % len(CUSTOMERS)]
        reference = invoice.issued.number if invoice is not None and second % 2 else None
        placement = allocate(amount, currency.code, reference, customer, self._open())
        party = placement.customer or f"payment/{len(self.payments)}"
        payment = Payment(amount, currency, party, placement.unapplied, placement.to_credit, placement.customer)
        due: list[Part] = []
        placed = []
        for number, settled in placement.allocations:
            target = self.invoices[int(number)]
            due += self.paid(target, settled)
            placed.append(rules.Placed(target.customer, settled, currency))
            self.place(payment, target, settled)
        fee = amount * (second % 4) // 100
        receipt = Receipt(
            place=PLACES[second % 2],
            amount=amount,
            fee=fee,
            placed=placed,
            unapplied=payment.unapplied,
            unapplied_party=party,
            to_credit=payment.to_credit,
            credit_party=placement.customer,
            due=due,
        )
        self.ledger.post(rules.payment(self.told(currency), receipt, self.books))
        self.hold(receipt.place, currency, amount - fee)
        if placement.customer is not None:
            self.credit[placement.customer, currency.code] += payment.to_credit
        self.payments.append(payment)
        return True

    def _open(self) -> list[OpenInvoice]:
        return [
            OpenInvoice(
                str(place), each.issued.number, None, each.customer, each.currency.code, each.amounts.open,
                each.issued.issued_on, each.issued.issued_on,
            )
            for place, each in enumerate(self.invoices)
            if domain.receivable(each.status, each.amounts)
        ]  # fmt: skip

    def paid(self, invoice: Invoice, amount: int) -> list[Part]:
        """Moves what is paid of an invoice, by a negative amount too; what that makes due."""
        before = invoice.standing()
        rule = domain.allocate if amount > 0 else domain.unallocate
        assert invoice.take(rule(invoice.at(), abs(amount)))
        return tax_parts(before, before.moved(paid=amount)) if self.tax_basis == "cash" else []

    def place(self, payment: Payment, invoice: Invoice, amount: int) -> None:
        self.allocations += 1
        payment.placed[self.allocations] = (invoice, amount)

    def hold(self, place: Place, currency: Currency, amount: int) -> None:
        if place.role == "processor-clearing":
            self.clearing[currency.code] += amount

    def allocate(self, first: int, second: int, percent: int) -> bool:
        payment = pick([each for each in self.payments if each.unapplied], first)
        if payment is None:
            return False
        owed = [each for each in self.invoices if domain.receivable(each.status, each.amounts)]
        invoice = pick([each for each in owed if each.currency == payment.currency], second)
        if invoice is None:
            return False
        amount = part(min(payment.unapplied, invoice.amounts.open), percent)
        due = self.paid(invoice, amount)
        source = Owed("unapplied-receipts", payment.party, amount)
        self.ledger.post(rules.allocation(self.told(payment.currency), source, invoice.customer, self.books, due))
        payment.unapplied -= amount
        self.place(payment, invoice, amount)
        return True

    def unallocate(self, first: int, second: int, percent: int) -> bool:
        payment = pick([each for each in self.payments if each.placed], first)
        if payment is None:
            return False
        key = sorted(payment.placed)[second % len(payment.placed)]
        invoice, amount = payment.placed.pop(key)
        due = self.paid(invoice, -amount)
        target = Owed("unapplied-receipts", payment.party, amount)
        owed = Owed("receivable", invoice.customer, amount)
        self.ledger.post(
            rules.unallocation(
                self.told(payment.currency),
                owed,
                target,
                self.books,
                due,
            )
        )
        payment.unapplied += amount
        return True

    def keep_as_credit(self, first: int, second: int, percent: int) -> bool:
        payment = pick([each for each in self.payments if each.unapplied and each.credit_party], first)
        if payment is None or payment.credit_party is None:
            return False
        amount = part(payment.unapplied, percent)
        occasion = self.told(payment.currency)
        self.ledger.post(rules.kept_as_credit(occasion, payment.party, payment.credit_party, amount, self.books))
        payment.unapplied -= amount
        payment.to_credit += amount
        self.credit[payment.credit_party, payment.currency.code] += amount
        return True

    def apply_credit(self, first: int, second: int, percent: int) -> bool:
        invoice = pick([each for each in self.invoices if domain.receivable(each.status, each.amounts)], first)
        if invoice is None:
            return False
        key = (invoice.customer, invoice.currency.code)
        amount = part(min(invoice.amounts.open, self.credit[key]), percent)
        if not amount:
            return False
        due = self.paid(invoice, amount)
        occasion = self.told(invoice.currency)
        self.ledger.post(rules.credit_applied(occasion, invoice.customer, amount, self.books, due))
        self.credit[key] -= amount
        invoice.credit_used.append(amount)
        return True

    def take_back_credit(self, first: int, second: int, percent: int) -> bool:
        invoice = pick([each for each in self.invoices if each.credit_used], first)
        if invoice is None or isinstance(domain.unallocate(invoice.at(), invoice.credit_used[-1]), Rejection):
            return False
        amount = invoice.credit_used.pop()
        due = self.paid(invoice, -amount)
        target = Owed("customer-credit", invoice.customer, amount)
        owed = Owed("receivable", invoice.customer, amount)
        occasion = self.told(invoice.currency)
        self.ledger.post(rules.unallocation(occasion, owed, target, self.books, due))
        self.credit[invoice.customer, invoice.currency.code] += amount
        return True
