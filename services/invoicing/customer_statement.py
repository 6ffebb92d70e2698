"""What a customer is told of its account: opening balance, each event with the balance after it, closing one. Pure.

The balance is all that stands between us: what is owed on invoices, less receipts that are not placed, customer credit
and promised refunds. So placing a receipt changes nothing here, and the events are those that do: invoices, credit
notes, payments, money that went back, write-offs. Debit positive, in minor units.
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
    "dispute_won": "dispute-won",
    "withheld": "tax-withheld",
    "early_discount": "discount",
}


@dataclass(frozen=True, slots=True)
class Event:
    """What one entry does to the customer's balance."""

    on: date
    kind: str
    description: str
    document: str
    amount: int
    sequence: int | None = None


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
        return sum(line.event.amount for line in self.lines if line.event.amount > 0)

    @property
    def credits(self) -> int:
        return -sum(line.event.amount for line in self.lines if line.event.amount < 0)


def kind_of(document: str, purpose: str) -> str:
    """What an entry is to a customer, by its document and purpose.

    >>> kind_of("invoice/1", "issue"), kind_of("invoice/1", "void"), kind_of("refund/1", "refund")
    ('invoice', 'void', 'refund')
    """
    kind = document.partition("/")[0]
    return _PURPOSES.get(purpose) or _KINDS.get(kind, kind)


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
