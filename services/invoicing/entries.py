"""From stored documents to the accounting policy: which event of posting_rules.py a document is, in its words. Pure.

Books that are not known yet (no mapping) and rates that are missing pass through as the rejections they are: the
posting then waits, or needs attention, and the decision is made later.
"""

from collections.abc import Sequence
from datetime import date
from typing import Final
from uuid import UUID

from libs.common.errors import Rejection
from libs.common.journal import Rate
from libs.common.money import ISO_4217, Currency
from services.invoicing import posting_rules
from services.invoicing.arithmetic import Totals
from services.invoicing.business_events import (
    CreditNote,
    IssuedInvoice,
    MoneyBack,
    Occasion,
    Owed,
    Place,
    Placed,
    Receipt,
)
from services.invoicing.cash_basis import TaxRow, TaxStanding
from services.invoicing.entry_drafts import Books, EntryDraft, Part
from services.invoicing.rows import Row

__all__ = ["Placed"]

Answer = EntryDraft | Rejection
AnyBooks = Books | Rejection

AT_THE_BANK: Final = frozenset(
    {"bank", "bank-transfer", "transfer", "sepa", "wire", "cash", "cheque", "check", "manual"}
)
"""Methods by which money is at the bank at once, whoever tells of it."""


def place_of(account: str | None, provider: str, method: str) -> Place:
    """Where money is: on the account that is named, at the bank, or with the processor."""
    if account is not None:
        return Place("bank", account)
    at_the_bank = method.lower() in AT_THE_BANK or provider.lower() in AT_THE_BANK
    return Place("bank" if at_the_bank else "processor-clearing")


def unapplied_party(customer: UUID | None, payment: UUID) -> str:
    """Whom unapplied receipts are kept under: who paid, or the payment while nobody knows."""
    return str(customer or payment)


def issue_entry(totals: Totals, customer: UUID, number: str, issued_on: date, books: AnyBooks) -> Answer:
    """An invoice is owed from now on."""
    if isinstance(books, Rejection):
        return books
    return posting_rules.issue(IssuedInvoice(number, str(customer), issued_on, totals), books)


def stated_of(payment: Row) -> Rate | None:
    """The rate that a payment states between its currency and its invoices'."""
    if payment["stated_rate"] is None:
        return None
    return Rate(payment["stated_base"], payment["stated_counter"], f"{payment['stated_rate']:f}")


def owed_currency(payment: Row) -> Currency:
    """The currency of the invoices that a payment settles: its own, or the other one of the rate that it states."""
    if payment["stated_rate"] is None:
        return ISO_4217[payment["currency"]]
    here, pair = payment["currency"], (payment["stated_base"], payment["stated_counter"])
    return ISO_4217[pair[1] if pair[0] == here else pair[0]]


def payment_entry(row: Row, placed: Sequence[Placed], books: AnyBooks, due: Sequence[Part] = ()) -> Answer:
    """A payment of `row` came in and settled `placed`. `due` is the tax that this makes due, on cash basis."""
    if isinstance(books, Rejection):
        return books
    currency = ISO_4217[row["currency"]]
    customer, payment = row["customer"], row["id"]
    receipt = Receipt(
        place=place_of(row["account"], row["provider"], row["method"]),
        amount=int(row["amount"]),
        fee=int(row["fee"]),
        placed=placed,
        unapplied=int(row["unapplied"]),
        unapplied_party=unapplied_party(customer, payment) if row["unapplied"] else None,
        to_credit=int(row["to_credit"]),
        credit_party=str(customer) if row["to_credit"] else None,
        stated=stated_of(row),
        due=due,
    )  # fmt: skip
    occasion = Occasion(f"Payment {row['payment_id']}", row["received_on"], currency)
    return posting_rules.payment(occasion, receipt, books)


def allocation_entry(
    payment: Row, customer: UUID, amount: int, number: str, on: date, books: AnyBooks, due: Sequence[Part] = ()
) -> Answer:
    """What of a payment was not placed yet settles an invoice."""
    if isinstance(books, Rejection):
        return books
    source = Owed("unapplied-receipts", unapplied_party_of(payment), amount)
    return posting_rules.allocation(_occasion(payment, f"on invoice {number}", on), source, str(customer), books, due)


def unallocation_entry(
    payment: Row, owed: Owed, number: str, on: date, books: AnyBooks, due: Sequence[Part] = ()
) -> Answer:
    """What settled an invoice is unapplied again, and the invoice is open (`owed`)."""
    if isinstance(books, Rejection):
        return books
    target = Owed("unapplied-receipts", unapplied_party_of(payment), owed.money)
    return posting_rules.unallocation(
        _occasion(payment, f"off invoice {number}", on), owed, target, books, due, stated_of(payment)
    )


def unapplied_party_of(payment: Row) -> str:
    """Whom a stored payment's unapplied receipts are under; it stays what it was at receipt."""
    return str(payment["unapplied_party"] or unapplied_party(payment["customer"], payment["id"]))


def _occasion(payment: Row, words: str, on: date) -> Occasion:
    return Occasion(f"Payment {payment['payment_id']} {words}", on, ISO_4217[payment["currency"]])


def credit_applied_entry(
    customer: UUID, amount: int, currency: Currency, on: date, books: AnyBooks, due: Sequence[Part] = ()
) -> Answer:
    """A customer's credit settles its invoices."""
    if isinstance(books, Rejection):
        return books
    occasion = Occasion("Customer credit used", on, currency)
    return posting_rules.credit_applied(occasion, str(customer), amount, books, due)


def credit_taken_back_entry(
    customer: UUID, amount: int, occasion: Occasion, books: AnyBooks, due: Sequence[Part]
) -> Answer:
    """What a customer's credit had settled is credit again, and the invoices are open."""
    if isinstance(books, Rejection):
        return books
    target = Owed("customer-credit", str(customer), amount)
    return posting_rules.unallocation(occasion, Owed("receivable", str(customer), amount), target, books, due)


def kept_as_credit_entry(payment: Row, amount: int, on: date, books: AnyBooks) -> Answer:
    """What of a payment was not placed yet is its customer's credit."""
    if isinstance(books, Rejection):
        return books
    occasion = _occasion(payment, "kept as credit", on)
    return posting_rules.kept_as_credit(
        occasion, unapplied_party_of(payment), str(payment["customer"]), amount, books
    )  # fmt: skip


def promise_entry(event: str, customer: UUID, amount: int, occasion: Occasion, books: AnyBooks) -> Answer:
    """Customer credit is to be given back, or stays after all: `event` is refund_payable or its cancelling."""
    if isinstance(books, Rejection):
        return books
    rule = posting_rules.refund_payable if event == "refund_payable" else posting_rules.refund_payable_cancelled
    return rule(occasion, str(customer), amount, books)


def withheld_entry(
    event: str, customer: UUID, amount: int, occasion: Occasion, books: AnyBooks, due: Sequence[Part]
) -> Answer:
    """The customer withheld tax, or it is taken back: `event` is withheld or withheld_taken_back."""
    if isinstance(books, Rejection):
        return books
    rule = posting_rules.withheld if event == "withheld" else posting_rules.withheld_taken_back
    return rule(occasion, str(customer), amount, books, due)


def discount_entry(event: str, note: CreditNote, books: AnyBooks) -> Answer:
    """A discount for early payment, or its loss: `event` is early_discount or discount_taken_back."""
    if isinstance(books, Rejection):
        return books
    rule = posting_rules.early_discount if event == "early_discount" else posting_rules.discount_taken_back
    return rule(note, books)


def back_entry(event: str, occasion: Occasion, back: MoneyBack, books: AnyBooks) -> Answer:
    """Money went back: `event` is refund, returned, dispute_opened, dispute_won or refund_bounced."""
    if isinstance(books, Rejection):
        return books
    rules = {
        "refund": posting_rules.refund,
        "returned": posting_rules.returned,
        "dispute_opened": posting_rules.dispute_opened,
        "dispute_won": posting_rules.dispute_won,
        "refund_bounced": posting_rules.refund_bounced,
    }
    return rules[event](occasion, back, books)


def write_off_entry(
    customer: UUID, amount: int, occasion: Occasion, books: AnyBooks, standing: TaxStanding | None
) -> Answer:
    """What is open of an invoice is given up, with its tax."""
    if isinstance(books, Rejection):
        return books
    return posting_rules.write_off(occasion, str(customer), amount, books, standing)


def write_off_reversed_entry(
    customer: UUID,
    amount: int,
    occasion: Occasion,
    books: AnyBooks,
    standing: TaxStanding | None,
    not_due: Sequence[TaxRow],
) -> Answer:
    """What was given up is owed again, with the tax that went with it."""
    if isinstance(books, Rejection):
        return books
    return posting_rules.write_off_reversed(occasion, str(customer), amount, books, standing, not_due)
