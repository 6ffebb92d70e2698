"""What payment services say happened: facts on `payments.events.v1`, keyed by organization and payment.

    payment-received   a payer paid; `amount` is what the payer paid, the fee is inside it
    payment-refunded   some or all of it went back
    payment-returned   the payer's bank took it back
    payment-disputed   the payer disputes it: opened, then won or lost
    payout-paid        a processor paid out what it held, keyed by organization and payout

`provider` names whose payment id it is: two providers may use the same one. Amounts are positive, in major units. A
customer is named by invoicing's id of it or by the id that the publisher knows it by, never by a name. Fields that a
reader does not know are ignored, so that the producer may go first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final, Literal

from pydantic import TypeAdapter

from libs.common.event_shapes import Open
from libs.common.event_type import EventType
from libs.common.journal import AmountText, CurrencyText, LongText, ShortText, SlugText

PAYMENTS: Final = "payments.events.v1"


@dataclass(slots=True, kw_only=True)
class PaymentEvent(Open):
    """What every payment event says: for whose books, by whose word, in which currency."""

    organization: SlugText
    ledger: SlugText
    provider: ShortText
    currency: CurrencyText


@dataclass(slots=True, kw_only=True)
class PaymentReceived(PaymentEvent):
    """A payer paid. `account` is the code of the ledger's account that has the money, else the provider's clearing.

    `reference` is the payer's own text; an invoice's number or creditor reference is looked for in it.
    """

    payment_id: ShortText
    amount: AmountText
    received_on: date
    method: ShortText
    reference: LongText = ""
    fee: AmountText | None = None
    customer: ShortText | None = None
    payer: ShortText | None = None
    account: ShortText | None = None


@dataclass(slots=True, kw_only=True)
class PaymentRefunded(PaymentEvent):
    """Some or all of a payment went back to the payer. `fee` is what the provider took for it."""

    refund_id: ShortText
    payment_id: ShortText
    amount: AmountText
    refunded_on: date
    fee: AmountText | None = None


@dataclass(slots=True, kw_only=True)
class PaymentReturned(PaymentEvent):
    """The payer's bank took a payment back: a direct debit without funds, a recalled transfer."""

    return_id: ShortText
    payment_id: ShortText
    amount: AmountText
    returned_on: date
    reason: LongText = ""
    fee: AmountText | None = None


@dataclass(slots=True, kw_only=True)
class PaymentDisputed(PaymentEvent):
    """The payer disputes a payment (opened), and how that ended (won: the amount comes back; lost: it stays away)."""

    dispute_id: ShortText
    payment_id: ShortText
    status: Literal["opened", "won", "lost"]
    amount: AmountText
    occurred_on: date
    fee: AmountText | None = None


@dataclass(slots=True, kw_only=True)
class PayoutItem(Open):
    """What a payout is made of: a payment, a refund, or a fee, whose amount is taken off."""

    amount: AmountText
    payment_id: ShortText | None = None
    refund_id: ShortText | None = None
    fee: ShortText | None = None


@dataclass(slots=True, kw_only=True)
class PayoutPaid(PaymentEvent):
    """A provider paid out what it held. `account` is the code of the bank account that has the money, where known."""

    payout_id: ShortText
    amount: AmountText
    paid_on: date
    items: list[PayoutItem] = field(default_factory=list)
    account: ShortText | None = None


AnyPaymentEvent = PaymentReceived | PaymentRefunded | PaymentReturned | PaymentDisputed | PayoutPaid

PAYMENT_RECEIVED: Final = EventType(
    "payments.payment-received.v1", PAYMENTS, TypeAdapter(PaymentReceived), "A payer paid."
)
PAYMENT_REFUNDED: Final = EventType(
    "payments.payment-refunded.v1", PAYMENTS, TypeAdapter(PaymentRefunded), "Some or all of a payment went back."
)
PAYMENT_RETURNED: Final = EventType(
    "payments.payment-returned.v1", PAYMENTS, TypeAdapter(PaymentReturned), "The payer's bank took a payment back."
)
PAYMENT_DISPUTED: Final = EventType(
    "payments.payment-disputed.v1", PAYMENTS, TypeAdapter(PaymentDisputed), "A payment is disputed, or was no more."
)
PAYOUT_PAID: Final = EventType(
    "payments.payout-paid.v1", PAYMENTS, TypeAdapter(PayoutPaid), "A provider paid out what it held."
)

PAYMENT_EVENTS: Final[Sequence[EventType[Any]]] = (
    PAYMENT_RECEIVED,
    PAYMENT_REFUNDED,
    PAYMENT_RETURNED,
    PAYMENT_DISPUTED,
    PAYOUT_PAID,
)


def payment_key(organization: str, payment_or_payout_id: str) -> bytes:
    """The Kafka key: all that concerns one payment stays in order."""
    return f"{organization}/{payment_or_payout_id}".encode()
