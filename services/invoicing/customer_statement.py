"""What a customer is told of its account: opening balance, each event with the balance after it, closing one. Pure.

The balance is all that stands between us: what is owed on invoices, less receipts that are not placed, customer credit
and promised refunds. So placing a receipt changes nothing here, and the events are those that do: invoices, credit
notes, discounts, payments, tax withheld, money that went back, write-offs, and what takes them back. Credit that is
used and refunds that are promised change nothing either, but the customer is told: they stand on both sides. Debit
positive, in minor units.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

ROLES: Final = ("receivable", "unapplied-receipts", "customer-credit", "refunds-payable")

_KINDS: Final = {"credit-note": "credit-note", "payment": "payment", "payment-event": "payment"}
_PURPOSES: Final = {
    "void": "void",
    "write_off": "write-off",
    "write_off_reversed": "write-off-reversed",
    "refund": "refund",
    "returned": "returned-payment",
    "dispute_opened": "dispute",
    "refund_bounced": "refund-bounced",
    "dispute_won": "dispute-won",
    "withheld": "tax-withheld",
    "withheld_taken_back": "tax-withheld-taken-back",
    "early_discount": "discount",
    "discount_taken_back": "discount-taken-back",
    "credit_applied": "credit-used",
    "refund_payable": "refund-promised",
    "refund_payable_cancelled": "refund-promise-cancelled",
}
_TAKEN_BACK: Final = {"credit-application": "credit-used-taken-back"}
"""What an unallocation is to a customer, where it is told of one."""
TOLD_AT_ALL: Final = ("credit-application", "refund-payable")
"""Documents whose entries are told though they leave the balance as it is."""


@dataclass(frozen=True, slots=True)
class Event:
    """What one entry does to the customer's balance; `moved` is what it carries from one part of it to another."""

    on: date
    kind: str
    description: str
    document: str
    amount: int
    sequence: int | None = None
    moved: int = 0

    @property
    def debit(self) -> int:
        return max(self.amount, 0) or self.moved

    @property
    def credit(self) -> int:
        return max(-self.amount, 0) or self.moved


@dataclass(frozen=True, slots=True)
class Line:
    """An event with the balance after it."""

    event: Event
    balance: int


@dataclass(frozen=True, slots=True)
class Statement:
    """The days from one to another."""

    opening: int
    lines: Sequence[Line]
    closing: int

    @property
    def debits(self) -> int:
        return sum(line.event.debit for line in self.lines)

    @property
    def credits(self) -> int:
        return sum(line.event.credit for line in self.lines)


def kind_of(document: str, purpose: str) -> str:
    """What an entry is to a customer, by its document and purpose.

    >>> kind_of("invoice/1", "issue"), kind_of("invoice/1", "void"), kind_of("refund/1", "refund")
    ('invoice', 'void', 'refund')
    """
    kind, what = document.partition("/")[0], purpose.partition("/")[0]
    if what == "unallocation" and kind in _TAKEN_BACK:
        return _TAKEN_BACK[kind]
    return _PURPOSES.get(what) or _KINDS.get(kind, kind)


def statement(events: Iterable[Event], since: date, until: date) -> Statement:
    """The statement of events in their order; those before the first day are in the opening balance."""
    opening = balance = 0
    lines: list[Line] = []
    for event in events:
        if event.on > until:
            continue
        balance += event.amount
        if event.on < since:
            opening += event.amount
            continue
        lines.append(Line(event, balance))
    return Statement(opening, lines, balance)
