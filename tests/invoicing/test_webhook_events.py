"""What providers say, as a table: the body's particulars, and what it means in our own words."""

from typing import Any

import pytest

from services.invoicing.webhook_events import Provider, Told, Unreadable, read

AT = 1_790_000_000
DAY = "2026-09-21"

CHARGE = {
    "id": "ch_1", "amount": 150_000, "currency": "usd", "created": AT, "paid": True, "captured": True,
    "metadata": {"invoice": "2026-000001"}, "description": "Order 7", "billing_details": {"name": "Ann Payer"},
}  # fmt: skip
REFUND = {
    "id": "re_1", "amount": 500, "currency": "usd", "created": AT, "charge": "ch_1", "status": "succeeded"
}  # fmt: skip
DISPUTE = {
    "id": "dp_1", "amount": 150_000, "currency": "usd", "created": AT, "charge": "ch_1", "status": "needs_response"
}  # fmt: skip
PAYOUT = {"id": "po_1", "amount": 145_620, "currency": "usd", "arrival_date": AT}
CAPTURE = {
    "id": "2GG27", "amount": {"value": "100.00", "currency_code": "EUR"}, "create_time": "2026-09-21T23:30:00-02:00",
    "invoice_id": "2026-000002",
    "seller_receivable_breakdown": {"paypal_fee": {"value": "2.99", "currency_code": "EUR"}},
    "payer": {"email_address": "ann@payer.example"},
}  # fmt: skip
PAYPAL_REFUND = {
    "id": "1JU08", "amount": {"value": "10.00", "currency_code": "EUR"}, "create_time": "2026-09-21T10:00:00Z",
    "links": [
        {"rel": "self", "href": "https://api.paypal.com/v2/payments/refunds/1JU08"},
        {"rel": "up", "href": "https://api.paypal.com/v2/payments/captures/2GG27"},
    ],
}  # fmt: skip
PAYPAL_DISPUTE = {
    "dispute_id": "PP-D-1", "dispute_amount": {"value": "100.00", "currency_code": "EUR"},
    "disputed_transactions": [{"seller_transaction_id": "2GG27"}], "create_time": "2026-09-21T10:00:00Z",
    "update_time": "2026-10-02T10:00:00Z", "dispute_outcome": {"outcome_code": "RESOLVED_BUYER_FAVOUR"},
}  # fmt: skip


def stripe(type_: str, object_: Any) -> Told | Unreadable:
    return read("stripe", {"id": "evt_1", "type": type_, "data": {"object": object_}})


def paypal(type_: str, resource: Any) -> Told | Unreadable:
    return read("paypal", {"id": "WH-1", "event_type": type_, "resource": resource})


def told(answer: Told | Unreadable) -> tuple[str, str, dict[str, Any]]:
    assert isinstance(answer, Told), answer
    (news,) = answer.news
    assert news.at.tzinfo is not None
    return news.id, news.type, dict(news.body)


def test_a_stripe_charge() -> None:
    assert told(stripe("charge.succeeded", CHARGE)) == (
        "stripe:received:ch_1",
        "payments.payment-received.v1",
        {
            "provider": "stripe", "payment_id": "ch_1", "currency": "USD", "amount": "1500.00", "received_on": DAY,
            "method": "card", "reference": "2026-000001",
        },
    )  # fmt: skip


@pytest.mark.parametrize(
    ("type_", "object_", "id_", "words"),
    [
        ("refund.created", REFUND, "stripe:refunded:re_1", {"refund_id": "re_1", "amount": "5.00"}),
        ("charge.refund.updated", REFUND, "stripe:refunded:re_1", {"payment_id": "ch_1", "refunded_on": DAY}),
        ("charge.dispute.created", DISPUTE, "stripe:dispute-opened:dp_1", {"status": "opened"}),
        ("charge.dispute.closed", DISPUTE | {"status": "won"}, "stripe:dispute-won:dp_1", {"status": "won"}),
        ("charge.dispute.closed", DISPUTE | {"status": "lost"}, "stripe:dispute-lost:dp_1", {"payment_id": "ch_1"}),
        ("payout.paid", PAYOUT, "stripe:payout:po_1", {"payout_id": "po_1", "amount": "1456.20", "paid_on": DAY}),
        ("charge.captured", CHARGE, "stripe:received:ch_1", {"amount": "1500.00"}),
        (
            "charge.succeeded",
            CHARGE | {"metadata": {"customer": "c-7"}, "payment_method_details": {"type": "sepa_debit"}},
            "stripe:received:ch_1",
            {"customer": "c-7", "method": "sepa_debit", "reference": "Order 7"},
        ),
    ],
)
def test_stripe(type_: str, object_: dict[str, Any], id_: str, words: dict[str, str]) -> None:
    found = told(stripe(type_, object_))
    assert found[0] == id_
    assert found[2].items() >= words.items()


@pytest.mark.parametrize(
    ("currency", "minor", "amount"),
    [
        ("usd", 5, "0.05"), ("jpy", 500, "500"), ("kwd", 1_230, "1.230"), ("mga", 500, "500"), ("isk", 50_000, "500"),
        ("ugx", 500, "5"),
    ],
)  # fmt: skip
def test_stripes_unit_of_a_currency(currency: str, minor: int, amount: str) -> None:
    assert told(stripe("charge.succeeded", CHARGE | {"currency": currency, "amount": minor}))[2]["amount"] == amount


@pytest.mark.parametrize(
    ("type_", "resource", "id_", "words"),
    [
        (
            "PAYMENT.CAPTURE.COMPLETED",
            CAPTURE,
            "paypal:received:2GG27",
            {"amount": "100.00", "currency": "EUR", "fee": "2.99", "received_on": "2026-09-22",
             "reference": "2026-000002"},
        ),
        ("PAYMENT.CAPTURE.REFUNDED", PAYPAL_REFUND, "paypal:refunded:1JU08", {"payment_id": "2GG27"}),
        ("PAYMENT.CAPTURE.REVERSED", PAYPAL_REFUND, "paypal:returned:1JU08", {"return_id": "1JU08"}),
        ("CUSTOMER.DISPUTE.CREATED", PAYPAL_DISPUTE, "paypal:dispute-opened:PP-D-1", {"occurred_on": DAY}),
        ("CUSTOMER.DISPUTE.RESOLVED", PAYPAL_DISPUTE, "paypal:dispute-lost:PP-D-1", {"occurred_on": "2026-10-02"}),
    ],
)  # fmt: skip
def test_paypal(type_: str, resource: dict[str, Any], id_: str, words: dict[str, str]) -> None:
    found = told(paypal(type_, resource))
    assert found[0] == id_
    assert found[2].items() >= words.items()


def test_no_personal_words_come_through() -> None:
    for news in (told(stripe("charge.succeeded", CHARGE)), told(paypal("PAYMENT.CAPTURE.COMPLETED", CAPTURE))):
        assert "ann" not in str(news).lower()


@pytest.mark.parametrize(
    ("type_", "object_"),
    [
        ("customer.created", {}),
        ("payment_intent.succeeded", {"id": "pi_1"}),
        ("charge.succeeded", CHARGE | {"captured": False}),
        ("charge.succeeded", CHARGE | {"paid": False}),
        ("refund.created", REFUND | {"status": "pending"}),
        ("charge.dispute.closed", DISPUTE | {"status": "warning_closed"}),
    ],
)
def test_what_moves_no_money(type_: str, object_: dict[str, Any]) -> None:
    assert stripe(type_, object_) == Told("evt_1", type_, ())


@pytest.mark.parametrize(
    ("provider", "value", "pointer"),
    [
        ("stripe", [], ""),
        ("stripe", {"type": "charge.succeeded"}, "/id"),
        ("stripe", {"id": "evt", "type": 5}, "/type"),
        ("stripe", {"id": "evt", "type": "charge.succeeded"}, "/data"),
        ("stripe", {"id": "evt", "type": "charge.succeeded", "data": {"object": CHARGE | {"amount": 1.5}}},
         "/data/object/amount"),
        ("stripe", {"id": "evt", "type": "charge.succeeded", "data": {"object": CHARGE | {"amount": True}}},
         "/data/object/amount"),
        ("stripe", {"id": "evt", "type": "charge.succeeded", "data": {"object": CHARGE | {"currency": "xyz"}}},
         "/data/object/currency"),
        ("stripe", {"id": "evt", "type": "charge.succeeded", "data": {"object": CHARGE | {"created": -1}}},
         "/data/object/created"),
        ("stripe", {"id": "evt", "type": "charge.succeeded",
                    "data": {"object": CHARGE | {"currency": "ugx", "amount": 501}}}, "/data/object/amount"),
        ("stripe", {"id": "evt", "type": "refund.created", "data": {"object": {**REFUND, "charge": None}}},
         "/data/object/charge"),
        ("paypal", {"id": "WH", "event_type": "PAYMENT.CAPTURE.COMPLETED",
                    "resource": CAPTURE | {"amount": {"value": "-1", "currency_code": "EUR"}}},
         "/resource/amount/value"),
        ("paypal", {"id": "WH", "event_type": "PAYMENT.CAPTURE.COMPLETED",
                    "resource": CAPTURE | {"create_time": "2026-09-21"}}, "/resource/create_time"),
        ("paypal", {"id": "WH", "event_type": "PAYMENT.CAPTURE.REFUNDED", "resource": PAYPAL_REFUND | {"links": []}},
         "/resource/links"),
        ("paypal", {"id": "WH", "event_type": "CUSTOMER.DISPUTE.CREATED",
                    "resource": PAYPAL_DISPUTE | {"disputed_transactions": []}}, "/resource/disputed_transactions"),
        ("paypal", {"id": "WH", "type": "charge.succeeded"}, "/event_type"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_says_where(provider: Provider, value: Any, pointer: str) -> None:
    answer = read(provider, value)
    assert isinstance(answer, Unreadable)
    assert answer.pointer == pointer
