"""What payment events do: each to its command, all payments of a round at once. The one `Apply` of parking.

    payment-received  -> record_payments (one call for all)      payout-paid -> record_payouts (one call for all)
    payment-refunded, -returned, -disputed opened -> take_back   disputed won, lost -> end_dispute

The amounts' text becomes minor units here; what is no amount of the currency is the rejection that says so.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, datetime

from libs.common.db import Connection
from libs.common.errors import Fault, Rejection
from libs.common.events_payments import (
    AnyPaymentEvent,
    PaymentDisputed,
    PaymentReceived,
    PaymentRefunded,
    PaymentReturned,
    PayoutPaid,
)
from libs.common.money import ISO_4217, Currency
from libs.common.values import value
from services.invoicing.asked_amounts import fee_of, minor_of
from services.invoicing.disputes import DisputeEnd, end_dispute
from services.invoicing.payment_messages import ToldPayment
from services.invoicing.payment_store import known_payments
from services.invoicing.payments import ReceivedPayment, record_payments
from services.invoicing.payouts import Payout, fees_of, record_payouts
from services.invoicing.refunds import BackWish, take_back
from services.invoicing.refunds import Event as BackEvent
from services.invoicing.rejections import reject

AnyBack = PaymentRefunded | PaymentReturned | PaymentDisputed


async def apply(connection: Connection, told: Sequence[ToldPayment], now: datetime) -> list[Rejection | None]:
    """Gives events of different documents their effect; at each one's place its rejection or None."""
    answers: list[Rejection | None] = [None] * len(told)
    received: dict[int, ReceivedPayment] = {}
    payouts: dict[int, Payout] = {}
    backs: dict[int, Back] = {}
    for place, each in enumerate(told):
        wish = _wish(each)
        match wish:
            case Rejection():
                answers[place] = wish
            case ReceivedPayment():
                received[place] = wish
            case Payout():
                payouts[place] = wish
            case _:
                backs[place] = wish
    if received:
        recorded = await record_payments(connection, list(received.values()), now)
        for place, answer in zip(received, recorded, strict=True):
            answers[place] = answer if isinstance(answer, Rejection) else None
    if payouts:
        for place, refused in zip(payouts, await record_payouts(connection, list(payouts.values()), now), strict=True):
            answers[place] = refused
    for place, back in backs.items():
        answers[place] = await _give_back(connection, back, now)
    return answers


@value(frozen=True, slots=True)
class Back:
    """Money that goes back, or how a dispute of it ended: of a payment that is still to be looked up."""

    event: AnyBack
    told_at: datetime
    currency: Currency
    amount: int
    fee: int


Wished = ReceivedPayment | Payout | Back


def _wish(told: ToldPayment) -> Wished | Rejection:
    """The event in the commands' words."""
    event = told.event
    currency = ISO_4217.get(event.currency)
    if currency is None:
        return reject("unknown-currency", errors=[Fault("/currency", f"is {event.currency}")], currency=event.currency)
    amount = minor_of(event.amount, currency, "/amount")
    fee = fee_of(_fee(event), currency)
    if isinstance(amount, Rejection):
        return amount
    if isinstance(fee, Rejection):
        return fee
    match event:
        case PaymentReceived():
            return ReceivedPayment(
                organization=event.organization, ledger=event.ledger, provider=event.provider,
                payment_id=event.payment_id, currency=currency, amount=amount, received_on=event.received_on,
                method=event.method, created_at=told.told_at, fee=fee, customer=event.customer or event.payer,
                account=event.account, reference=event.reference,
            )  # fmt: skip
        case PayoutPaid():
            return _payout(event, told.told_at, currency, amount)
        case _:
            return Back(event, told.told_at, currency, amount, fee)


async def _give_back(connection: Connection, back: Back, now: datetime) -> Rejection | None:
    event = back.event
    if isinstance(event, PaymentDisputed) and event.status != "opened":
        return await _end_dispute(connection, event, back, now)
    name = (event.organization, event.provider, event.payment_id)
    payment = (await known_payments(connection, [name])).get(name)
    if payment is None:
        return reject("unknown-payment", provider=event.provider, payment_id=event.payment_id)
    if payment["ledger"] != event.ledger:
        return reject("ledger-differs", errors=[Fault("/ledger", f"is {event.ledger}")], ledger=payment["ledger"])
    kind, id_, on, reason = _said(event)
    wish = BackWish(
        organization=event.organization, payment=payment["id"], event=kind, provider=event.provider, name=id_,
        amount=back.amount, currency=back.currency.code, on=on, created_at=back.told_at, fee=back.fee, reason=reason,
    )  # fmt: skip
    done = await take_back(connection, wish, now)
    return done if isinstance(done, Rejection) else None


def _said(event: AnyBack) -> tuple[BackEvent, str, date, str | None]:
    match event:
        case PaymentRefunded():
            return "refund", event.refund_id, event.refunded_on, None
        case PaymentReturned():
            return "returned", event.return_id, event.returned_on, event.reason or None
        case PaymentDisputed():
            return "dispute_opened", event.dispute_id, event.occurred_on, None


async def _end_dispute(connection: Connection, event: PaymentDisputed, back: Back, now: datetime) -> Rejection | None:
    assert event.status != "opened", "it ended"
    end = DisputeEnd(
        organization=event.organization, provider=event.provider, dispute_id=event.dispute_id, status=event.status,
        on=event.occurred_on, created_at=back.told_at, fee=back.fee,
    )  # fmt: skip
    done = await end_dispute(connection, end, now)
    return done if isinstance(done, Rejection) else None


def _payout(event: PayoutPaid, at: datetime, currency: Currency, amount: int) -> Payout | Rejection:
    fees = fees_of(event.items, currency)
    if isinstance(fees, Rejection):
        return fees
    return Payout(
        organization=event.organization, ledger=event.ledger, provider=event.provider, payout_id=event.payout_id,
        currency=currency, amount=amount, fee=fees, paid_on=event.paid_on, account=event.account,
        items=[asdict(item) for item in event.items], created_at=at,
    )  # fmt: skip


def _fee(event: AnyPaymentEvent) -> str | None:
    return None if isinstance(event, PayoutPaid) else event.fee
