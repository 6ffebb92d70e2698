"""What the payers of a round do: invoices that are owed beforehand, payments of them, and what must come of both.

    exact     one payment of all of it, by the number or by the creditor reference
    parts     two payments that come to the total
    under     one payment of less
    over      one payment of more: the rest is the customer's credit
    unknown   a payment whose reference names nothing: unapplied

The invoices of those who pay too much have a customer each, so that what is too much goes to no other invoice. Thereby
what comes of a payment does not depend on the order in which the payments come, and a shuffle may decide over it.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import orjson

from libs.common.bus import Message, cloud_event_headers
from libs.common.clock import now
from libs.common.events_payments import PAYMENT_RECEIVED, PAYMENTS, payment_key
from tests.reliability.wishes import LEDGER

PROVIDER = "reliability"
CURRENCY = "USD"
SHARED_CUSTOMERS = 12
SAME_EVENT_AGAIN, SAME_PAYMENT_AGAIN = 0.1, 0.05
"""Shares of the payments that are told twice: by the same event, and by another event about the same payment."""

Kind = Literal["exact", "parts", "under", "over", "unknown"]
WEIGHTS: dict[Kind, int] = {"exact": 60, "parts": 15, "under": 10, "over": 8, "unknown": 7}


@dataclass(slots=True)
class Invoice:
    """An invoice of `total` cents; `id`, `number` and `reference` are known when it is issued."""

    customer: str
    total: int
    paid: int = 0
    id: str = ""
    number: str = ""
    reference: str = ""

    @property
    def status(self) -> str:
        """What it has to be in the end."""
        if self.paid == 0:
            return "issued"
        return "paid" if self.paid == self.total else "part-paid"


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment of so many cents, and where they have to go."""

    id: str
    amount: int
    invoice: Invoice | None
    by_reference: bool
    allocated: int
    unapplied: int
    to_credit: int


@dataclass(slots=True)
class Trade:
    """All of a round: what is owed, what is paid."""

    invoices: list[Invoice] = field(default_factory=list)
    payments: list[Payment] = field(default_factory=list)


def draw_trade(count: int, chosen: random.Random) -> Trade:
    """`count` payments (or one more), and the invoices they are for."""
    trade = Trade()
    kinds, weights = get_args(Kind), [WEIGHTS[kind] for kind in get_args(Kind)]
    while len(trade.payments) < count:
        _pay(trade, chosen.choices(kinds, weights)[0], chosen)
    return trade


def _pay(trade: Trade, kind: Kind, chosen: random.Random) -> None:
    total = chosen.randrange(200, 500_000)
    if kind == "unknown":
        _add(trade, None, total, chosen)
        return
    own = f"own-{len(trade.invoices)}" if kind == "over" else f"shared-{chosen.randrange(SHARED_CUSTOMERS)}"
    invoice = Invoice(own, total)
    trade.invoices.append(invoice)
    first = chosen.randrange(1, total)
    amounts = {"exact": [total], "parts": [first, total - first], "under": [first], "over": [total + first]}[kind]
    for amount in amounts:
        _add(trade, invoice, amount, chosen)


def _add(trade: Trade, invoice: Invoice | None, amount: int, chosen: random.Random) -> None:
    placed = min(amount, invoice.total - invoice.paid) if invoice is not None else 0
    left = amount - placed
    if invoice is not None:
        invoice.paid += placed
    unapplied, credit = (left, 0) if invoice is None else (0, left)
    id_ = f"py-{len(trade.payments):05}"
    trade.payments.append(Payment(id_, amount, invoice, chosen.random() < 0.3, placed, unapplied, credit))


def events(organization: str, payments: Sequence[Payment], chosen: random.Random) -> list[Message]:
    """The payments as they are told: in no order, some of them twice."""
    told = [(payment, f"{payment.id}/1") for payment in payments]
    told += [(payment, f"{payment.id}/1") for payment in payments if chosen.random() < SAME_EVENT_AGAIN]
    told += [(payment, f"{payment.id}/2") for payment in payments if chosen.random() < SAME_PAYMENT_AGAIN]
    chosen.shuffle(told)
    return [_event(organization, payment, event_id) for payment, event_id in told]


def _event(organization: str, payment: Payment, event_id: str) -> Message:
    if payment.invoice is None:
        reference = "for the thing we spoke about"
    elif payment.by_reference:
        reference = payment.invoice.reference
    else:
        reference = f"Invoice {payment.invoice.number}, thank you"
    body: dict[str, Any] = {
        "organization": organization,
        "ledger": LEDGER,
        "provider": PROVIDER,
        "currency": CURRENCY,
        "payment_id": payment.id,
        "amount": text(payment.amount),
        "received_on": "2026-02-01",
        "method": "card",
        "reference": reference,
    }
    headers = cloud_event_headers(PAYMENT_RECEIVED.name, PROVIDER, f"{organization}/{event_id}", now())
    return Message(PAYMENTS, payment_key(organization, payment.id), orjson.dumps(body), headers)


def text(cents: int) -> str:
    """An amount as JSON has it."""
    return f"{cents // 100}.{cents % 100:02d}"
