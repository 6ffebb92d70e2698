"""What Stripe's and PayPal's webhooks say, in the words of our own payment events. Pure.

    body of a webhook -> Told (the event's id, and payment events as `payments.events.v1` would carry them)
                      -> Told without events: nothing that moves money (counted, not kept from anybody)
                      -> Unreadable: an event that should move money and lacks what it needs

One kind of event is read for each fact, where a provider has several for one: of Stripe the charge (not the payment
intent), the refund, the dispute and its end, the payout; of PayPal the capture, its refund, its reversal, the dispute
and its end. So nothing is taken twice, in whatever order they come.

Stripe gives amounts as whole numbers of a unit that is nearly always the currency's minor unit; `STRIPE_EXPONENTS` are
the exceptions. The reference comes from the metadata `invoice` or `reference`, else the description; the customer from
the metadata `customer`. Names, addresses and e-mail addresses are left where they are: events carry ids.

Sources: Stripe, "Event types" and "Supported currencies"; PayPal, "Webhook event names", Payments v2, Disputes v1.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from libs.common.money import ISO_4217, to_text

Provider = Literal["stripe", "paypal"]

RECEIVED: Final = "payments.payment-received.v1"
REFUNDED: Final = "payments.payment-refunded.v1"
RETURNED: Final = "payments.payment-returned.v1"
DISPUTED: Final = "payments.payment-disputed.v1"
PAID_OUT: Final = "payments.payout-paid.v1"

STRIPE_EXPONENTS: Final[Mapping[str, int]] = {"MGA": 0, "ISK": 2, "UGX": 2}
"""Where Stripe's unit is not the currency's minor unit: ISO 4217 has 2, 0 and 0."""

ID_CHARACTERS_MAX: Final = 200
TEXT_CHARACTERS_MAX: Final = 2_000


@dataclass(frozen=True, slots=True)
class PaymentNews:
    """One payment event: its type, and its body without organization and ledger, which the endpoint knows.

    `id` is the event's id among our own, the same whenever the provider sends this again; so is `at`, when it was.
    """

    id: str
    type: str
    body: Mapping[str, Any]
    at: datetime


@dataclass(frozen=True, slots=True)
class Told:
    """What a webhook says; `news` is empty where it moves no money."""

    event_id: str
    event_type: str
    news: tuple[PaymentNews, ...]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The body is not what its type promises; `pointer` says where."""

    pointer: str
    detail: str
    event_id: str = ""
    event_type: str = ""


class _Missing(Exception):  # noqa: N818 - stays inside this file
    def __init__(self, pointer: str, detail: str) -> None:
        self.pointer, self.detail = pointer, detail


class _Fields:
    """A JSON object that knows where it is, so that what is missing can be named."""

    def __init__(self, value: Any, pointer: str) -> None:
        if not isinstance(value, Mapping):
            raise _Missing(pointer, "is not an object")
        self._value, self._pointer = value, pointer

    def inside(self, name: str) -> "_Fields":
        return _Fields(self._value.get(name), f"{self._pointer}/{name}")

    def optional(self, name: str) -> "_Fields | None":
        return self.inside(name) if self._value.get(name) is not None else None

    def first(self, name: str) -> "_Fields":
        listed = self._value.get(name)
        if not isinstance(listed, list) or not listed:
            raise _Missing(f"{self._pointer}/{name}", "is not a list of at least one")
        return _Fields(listed[0], f"{self._pointer}/{name}/0")

    def each(self, name: str) -> "list[_Fields]":
        listed = self._value.get(name)
        if not isinstance(listed, list):
            return []
        return [_Fields(value, f"{self._pointer}/{name}/{place}") for place, value in enumerate(listed)]

    def text(self, name: str, characters_max: int = ID_CHARACTERS_MAX) -> str:
        value = self._value.get(name)
        if not isinstance(value, str) or not 0 < len(value) <= characters_max or "\0" in value:
            raise _Missing(f"{self._pointer}/{name}", f"is not a text of 1 to {characters_max} characters")
        return value

    def words(self, *names: str) -> str:
        """The first of these texts that is there, cut to length; "" where none is."""
        for name in names:
            value = self._value.get(name)
            if isinstance(value, str) and value:
                return value.replace("\0", "")[:TEXT_CHARACTERS_MAX]
        return ""

    def whole(self, name: str) -> int:
        value = self._value.get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise _Missing(f"{self._pointer}/{name}", "is not a whole number")
        return value

    def flag(self, name: str) -> bool:
        return self._value.get(name) is True

    def fault(self, name: str, detail: str) -> _Missing:
        return _Missing(f"{self._pointer}/{name}", detail)


def read(provider: Provider, value: Any) -> Told | Unreadable:
    """What the parsed body of a webhook says."""
    event_id, event_type = "", ""
    try:
        event = _Fields(value, "")
        event_id = event.text("id")
        event_type = event.text("type" if provider == "stripe" else "event_type")
        if provider == "stripe":
            read_one = _STRIPE.get(event_type)
            news = read_one(event.inside("data").inside("object")) if read_one is not None else None
        else:
            read_one = _PAYPAL.get(event_type)
            news = read_one(event.inside("resource")) if read_one is not None else None
    except _Missing as missing:
        return Unreadable(missing.pointer, missing.detail, event_id, event_type)
    return Told(event_id, event_type, () if news is None else (news,))


# --- Stripe -----------------------------------------------------------------------------------------------------------


def _stripe_money(fields: _Fields, name: str = "amount") -> dict[str, str]:
    currency = fields.text("currency", 3).upper()
    known = ISO_4217.get(currency)
    if known is None:
        raise fields.fault("currency", f"{currency} is not a currency of ISO 4217")
    minor = fields.whole(name)
    exponent = STRIPE_EXPONENTS.get(currency, known.exponent)
    text = to_text(minor, exponent)
    if exponent > known.exponent:  # whole units sent with decimals that are always zero
        text, _, decimals = text.partition(".")
        if decimals.strip("0"):
            raise fields.fault(name, f"{minor} is not a whole number of {currency}")
    return {"currency": currency, "amount": text}


def _stripe_at(fields: _Fields, name: str = "created") -> datetime:
    seconds = fields.whole(name)
    if not 0 <= seconds < 253_402_300_800:
        raise fields.fault(name, "is no instant in seconds since 1970")
    return datetime.fromtimestamp(seconds, UTC)


def _day(at: datetime) -> str:
    return at.date().isoformat()


def _stripe_charge(charge: _Fields) -> PaymentNews | None:
    if not charge.flag("paid") or not charge.flag("captured"):
        return None
    id_, at = charge.text("id"), _stripe_at(charge)
    metadata = charge.optional("metadata")
    body: dict[str, Any] = {
        "provider": "stripe",
        "payment_id": id_,
        **_stripe_money(charge),
        "received_on": _day(at),
        "method": "card",
        "reference": (metadata.words("invoice", "reference") if metadata else "") or charge.words("description"),
    }
    if (details := charge.optional("payment_method_details")) is not None and (method := details.words("type")):
        body["method"] = method[:ID_CHARACTERS_MAX]
    if metadata and (customer := metadata.words("customer")):
        body["customer"] = customer[:ID_CHARACTERS_MAX]
    return PaymentNews(f"stripe:received:{id_}", RECEIVED, body, at)


def _stripe_refund(refund: _Fields) -> PaymentNews | None:
    if refund.text("status") != "succeeded":
        return None
    id_, at = refund.text("id"), _stripe_at(refund)
    body = {"provider": "stripe", "refund_id": id_, "payment_id": refund.text("charge"), **_stripe_money(refund)}
    return PaymentNews(f"stripe:refunded:{id_}", REFUNDED, {**body, "refunded_on": _day(at)}, at)


def _stripe_dispute_opened(dispute: _Fields) -> PaymentNews | None:
    return _stripe_dispute(dispute, "opened")


def _stripe_dispute_closed(dispute: _Fields) -> PaymentNews | None:
    status = dispute.text("status")
    return _stripe_dispute(dispute, status) if status in ("won", "lost") else None


def _stripe_dispute(dispute: _Fields, status: str) -> PaymentNews:
    id_, at = dispute.text("id"), _stripe_at(dispute)
    body = {
        "provider": "stripe",
        "dispute_id": id_,
        "payment_id": dispute.text("charge"),
        "status": status,
        **_stripe_money(dispute),
        "occurred_on": _day(at),
    }
    return PaymentNews(f"stripe:dispute-{status}:{id_}", DISPUTED, body, at)


def _stripe_payout(payout: _Fields) -> PaymentNews | None:
    id_, at = payout.text("id"), _stripe_at(payout, "arrival_date")
    body = {"provider": "stripe", "payout_id": id_, **_stripe_money(payout), "paid_on": _day(at), "items": []}
    return PaymentNews(f"stripe:payout:{id_}", PAID_OUT, body, at)


_STRIPE: Final[Mapping[str, Callable[[_Fields], PaymentNews | None]]] = {
    "charge.succeeded": _stripe_charge,
    "charge.captured": _stripe_charge,
    "refund.created": _stripe_refund,
    "refund.updated": _stripe_refund,
    "charge.refund.updated": _stripe_refund,
    "charge.dispute.created": _stripe_dispute_opened,
    "charge.dispute.closed": _stripe_dispute_closed,
    "payout.paid": _stripe_payout,
}

# --- PayPal -----------------------------------------------------------------------------------------------------------


def _paypal_money(fields: _Fields, name: str = "amount") -> dict[str, str]:
    money = fields.inside(name)
    amount = money.text("value", 40)
    if not amount.replace(".", "", 1).isdigit() or not amount.isascii():
        raise money.fault("value", "is not an amount")
    return {"currency": money.text("currency_code", 3), "amount": amount}


def _paypal_at(fields: _Fields, name: str = "create_time") -> datetime:
    text = fields.text(name, 40)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise fields.fault(name, "is not an instant of RFC 3339") from None
    if at.tzinfo is None:
        raise fields.fault(name, "has no zone")
    return at.astimezone(UTC)


def _paypal_capture(capture: _Fields) -> PaymentNews:
    id_, at = capture.text("id"), _paypal_at(capture)
    body: dict[str, Any] = {
        "provider": "paypal",
        "payment_id": id_,
        **_paypal_money(capture),
        "received_on": _day(at),
        "method": "paypal",
        "reference": capture.words("invoice_id", "custom_id"),
    }
    breakdown = capture.optional("seller_receivable_breakdown")
    if breakdown is not None and breakdown.optional("paypal_fee") is not None:
        fee = _paypal_money(breakdown, "paypal_fee")
        if fee["currency"] == body["currency"] and fee["amount"].strip("0."):
            body["fee"] = fee["amount"]
    return PaymentNews(f"paypal:received:{id_}", RECEIVED, body, at)


def _captured(refund: _Fields) -> str:
    """The capture a refund belongs to: its link `up`."""
    for link in refund.each("links"):
        if link.words("rel") == "up" and "/captures/" in link.words("href"):
            return link.words("href").rpartition("/captures/")[2].partition("/")[0][:ID_CHARACTERS_MAX]
    raise refund.fault("links", "has no link up to the capture that was refunded")


def _paypal_refund(refund: _Fields) -> PaymentNews:
    id_, at = refund.text("id"), _paypal_at(refund)
    body = {"provider": "paypal", "refund_id": id_, "payment_id": _captured(refund), **_paypal_money(refund)}
    return PaymentNews(f"paypal:refunded:{id_}", REFUNDED, {**body, "refunded_on": _day(at)}, at)


def _paypal_reversal(reversal: _Fields) -> PaymentNews:
    id_, at = reversal.text("id"), _paypal_at(reversal)
    body = {"provider": "paypal", "return_id": id_, "payment_id": _captured(reversal), **_paypal_money(reversal)}
    body |= {"returned_on": _day(at), "reason": "reversed by PayPal"}
    return PaymentNews(f"paypal:returned:{id_}", RETURNED, body, at)


def _paypal_dispute_created(dispute: _Fields) -> PaymentNews:
    return _paypal_dispute(dispute, "opened", "create_time")


_PAYPAL_OUTCOMES: Final[Mapping[str, str]] = {
    "RESOLVED_SELLER_FAVOUR": "won",
    "CANCELED_BY_BUYER": "won",
    "DENIED": "won",
    "RESOLVED_BUYER_FAVOUR": "lost",
    "ACCEPTED": "lost",
}


def _paypal_dispute_resolved(dispute: _Fields) -> PaymentNews | None:
    outcome = dispute.inside("dispute_outcome").text("outcome_code")
    status = _PAYPAL_OUTCOMES.get(outcome)
    return _paypal_dispute(dispute, status, "update_time") if status is not None else None


def _paypal_dispute(dispute: _Fields, status: str, instant: str) -> PaymentNews:
    id_, at = dispute.text("dispute_id"), _paypal_at(dispute, instant)
    body = {
        "provider": "paypal",
        "dispute_id": id_,
        "payment_id": dispute.first("disputed_transactions").text("seller_transaction_id"),
        "status": status,
        **_paypal_money(dispute, "dispute_amount"),
        "occurred_on": _day(at),
    }
    return PaymentNews(f"paypal:dispute-{status}:{id_}", DISPUTED, body, at)


_PAYPAL: Final[Mapping[str, Callable[[_Fields], PaymentNews | None]]] = {
    "PAYMENT.CAPTURE.COMPLETED": _paypal_capture,
    "PAYMENT.CAPTURE.REFUNDED": _paypal_refund,
    "PAYMENT.CAPTURE.REVERSED": _paypal_reversal,
    "CUSTOMER.DISPUTE.CREATED": _paypal_dispute_created,
    "CUSTOMER.DISPUTE.RESOLVED": _paypal_dispute_resolved,
}
