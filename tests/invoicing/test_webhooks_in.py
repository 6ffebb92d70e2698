"""Providers' webhooks over HTTP: real ones taken once in any order, forged ones leave no trace."""

import itertools
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from libs.common.db import Pool
from services.invoicing.webhook_signatures import paypal_message, sign
from tests.invoicing.conftest import InvoicingDatabase
from tests.invoicing.messaging import SECRET, Messaging, messaging
from tests.invoicing.paying import accounted, parked, payments
from tests.invoicing.test_webhook_events import AT, CAPTURE, CHARGE, DISPUTE, PAYPAL_REFUND, REFUND
from tests.invoicing.test_webhook_signatures import KEY, certificate


@pytest.fixture
async def service(writer: Pool, receivables: InvoicingDatabase, tmp_path: Path) -> AsyncIterator[Messaging]:
    async with messaging(writer, receivables, tmp_path, certificate(KEY, days=400)) as running:
        yield running


def stripe(type_: str, object_: dict[str, Any], id_: str = "evt_1", **changes: Any) -> bytes:
    return orjson.dumps({"id": id_, "type": type_, "data": {"object": {**object_, **changes}}})


CHARGED = stripe("charge.succeeded", CHARGE)


async def test_a_charge_pays_its_invoice_and_is_taken_once(service: Messaging, writer: Pool) -> None:
    await service.acme.issued("1500.00")
    endpoint = await service.endpoint()
    for _ in range(2):
        assert await service.hook(endpoint, CHARGED) == (200, {"received": True})
    service.clock.move(hours=5)
    again = stripe("charge.captured", CHARGE, "evt_2")  # the same charge by another event
    assert (await service.hook(endpoint, again))[0] == 200
    assert await payments(writer) == [("ch_1", 150_000, 0, 0, 0)]
    rows = await writer.fetch("select event_id, state, sealed from webhooks_in order by event_id")
    assert [(row["event_id"], row["state"]) for row in rows] == [("evt_1", "taken"), ("evt_2", "taken")]
    assert not any(b"Ann Payer" in row["sealed"] for row in rows)
    created = await writer.fetchval("select extract(epoch from created_at)::int from payments")
    assert created == AT  # the charge's own time: a replay derives the same ids
    await accounted(writer)


async def test_forgeries_leave_no_trace(service: Messaging, writer: Pool) -> None:
    endpoint = await service.endpoint()
    now_s = int(service.clock().timestamp())
    good = sign([SECRET.encode()], now_s, CHARGED)
    for code, raw, header in (
        ("signature-wrong", CHARGED, sign([b"another key"], now_s, CHARGED)),
        ("signature-wrong", CHARGED.replace(b"150000", b"150001"), good),
        ("signature-wrong", CHARGED + b" ", good),
        ("signature-too-old", CHARGED, sign([SECRET.encode()], now_s - 301, CHARGED)),
        ("signature-too-old", CHARGED, sign([SECRET.encode()], now_s + 301, CHARGED)),
        ("signature-malformed", CHARGED, "t=1"),
        ("signature-missing", CHARGED, ""),
    ):
        status, told = await service.hook(endpoint, raw, header=header)
        assert (status, told["code"]) == (400, code)
    for path in (endpoint["path"] + "x", endpoint["path"].replace("stripe", "paypal"), "/api/v1/webhooks/x/y"):
        status, told = await service.hook({"path": path}, CHARGED)
        assert (status, told["code"]) == (404, "unknown-webhook-endpoint")
    assert await writer.fetchval("select count(*) from webhooks_in") == 0
    assert await payments(writer) == []
    assert (await service.hook(endpoint, CHARGED, header=good))[0] == 200


async def test_while_a_secret_is_replaced_both_count(service: Messaging, writer: Pool) -> None:
    endpoint = await service.endpoint()
    renewed = {"secret": "whsec_the_second", "overlap_hours": 2}
    path = f"/webhook-endpoints/{endpoint['id']}/secrets"
    status, told, _ = await service.send("POST", path, renewed, {"Idempotency-Key": "rotate"})
    assert (status, told["id"]) == (200, endpoint["id"])
    assert "whsec" not in str(told)
    for number, secret in enumerate((SECRET, "whsec_the_second")):
        raw = stripe("charge.succeeded", CHARGE, f"evt_{number}", id=f"ch_{number}")
        assert (await service.hook(endpoint, raw, secret=secret))[0] == 200
    both = stripe("charge.succeeded", CHARGE, "evt_b", id="ch_b")
    header = sign([b"whsec_the_second", SECRET.encode()], int(service.clock().timestamp()), both)
    assert (await service.hook(endpoint, both, header=header))[0] == 200
    service.clock.move(hours=2)
    late = stripe("charge.succeeded", CHARGE, "evt_l", id="ch_l")
    status, told = await service.hook(endpoint, late)
    assert (status, told["code"]) == (400, "signature-wrong")
    assert (await service.hook(endpoint, late, secret="whsec_the_second"))[0] == 200
    assert len(await payments(writer)) == 4
    sealed = await writer.fetch("select sealed from webhook_secrets")
    assert not any(b"whsec" in row["sealed"] for row in sealed)


STORY = [
    stripe("charge.succeeded", CHARGE, "evt_1"),
    stripe("refund.created", REFUND, "evt_2"),
    stripe("charge.dispute.created", DISPUTE, "evt_3", amount=1_000),
    stripe("charge.dispute.closed", DISPUTE, "evt_4", amount=1_000, status="won"),
]


@pytest.mark.parametrize("order", [*itertools.permutations(range(4))][::5], ids=str)
async def test_any_order_will_do(service: Messaging, writer: Pool, order: tuple[int, ...]) -> None:
    endpoint = await service.endpoint()
    for place in order:
        assert (await service.hook(endpoint, STORY[place]))[0] == 200
        assert (await service.hook(endpoint, STORY[place]))[0] == 200
    assert await payments(writer) == [("ch_1", 0, 149_500, 0, 500)]
    assert await parked(writer) == []


async def test_what_cannot_be_read_is_kept_and_what_moves_no_money_ignored(service: Messaging, writer: Pool) -> None:
    endpoint = await service.endpoint()
    for raw in (
        b"not json",
        stripe("charge.succeeded", CHARGE, "evt_2", currency="xyz"),
        stripe("customer.created", {"id": "c"}, "evt_3"),
    ):
        assert await service.hook(endpoint, raw) == (200, {"received": True})
    path = f"/webhook-endpoints/{endpoint['id']}/received"
    _, told, _ = await service.send("GET", path)
    states = {item["event_id"].partition(":")[0]: item["state"] for item in told["items"]}
    assert states == {"sha256": "unreadable", "evt_2": "unreadable", "evt_3": "ignored"}
    status, _, _ = await service.send("GET", path, headers=service.headers(organization="other"))
    assert status == 404


async def test_what_was_stored_and_not_taken_is_taken_up_again(service: Messaging, writer: Pool) -> None:
    """As after a crash between the two transactions."""
    endpoint = await service.endpoint()
    await service.hook(endpoint, stripe("customer.created", {"id": "c"}, "evt_0"))
    await service.hook(endpoint, CHARGED)
    await writer.execute("update webhooks_in set state = 'stored'")
    assert await service.intake.retry() == 0
    service.clock.move(seconds=31)
    assert await service.intake.retry() == 2
    assert await service.intake.retry() == 0
    assert await payments(writer) == [("ch_1", 0, 150_000, 0, 0)]


async def test_an_endpoint_that_is_off_is_none(service: Messaging, writer: Pool) -> None:
    endpoint = await service.endpoint()
    path = f"/webhook-endpoints/{endpoint['id']}/switch"
    assert (await service.send("POST", path, {"active": False}))[1]["active"] is False
    assert (await service.hook(endpoint, CHARGED))[0] == 404
    assert (await service.send("POST", path, {"active": True}))[1]["active"] is True
    assert (await service.hook(endpoint, CHARGED))[0] == 200


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"provider": "stripe"}, "/secret"),
        ({"provider": "paypal"}, "/webhook_id"),
        ({"provider": "paypal", "webhook_id": "WH", "secret": "12345678"}, "/secret"),
        ({"provider": "stripe", "secret": "12345678", "webhook_id": "WH"}, "/webhook_id"),
        ({"provider": "stripe", "secret": "short"}, "/secret"),
        ({"provider": "square", "secret": "12345678"}, "/provider"),
        ({"provider": "stripe", "secret": "12345678", "colour": "red"}, "/colour"),
    ],
)
async def test_a_bad_endpoint_says_where(service: Messaging, body: dict[str, Any], pointer: str) -> None:
    status, told, _ = await service.send("POST", "/webhook-endpoints", body, {"Idempotency-Key": "k"})
    assert (status, told["errors"][0]["pointer"]) == (422, pointer)
    viewer = service.headers("viewer")
    status, told, _ = await service.send("POST", "/webhook-endpoints", body, {"Idempotency-Key": "k", **viewer})
    assert (status, told["code"]) == (403, "scope-missing")


# --- PayPal -----------------------------------------------------------------------------------------------------------


async def _paypal(service: Messaging, endpoint: dict[str, Any], raw: bytes, **changed: str) -> tuple[int, Any]:
    at = "2026-09-21T13:00:00Z"
    signature = KEY.sign(paypal_message("t-1", at, "WH-1", raw), PKCS1v15(), SHA256())
    headers = {
        "Paypal-Transmission-Id": "t-1",
        "Paypal-Transmission-Time": at,
        "Paypal-Transmission-Sig": b64encode(signature).decode(),
        "Paypal-Cert-Url": "https://api.paypal.com/v1/notifications/certs/CERT-1",
        "Paypal-Auth-Algo": "SHA256withRSA",
        "Authorization": "",
    }
    status, told, _ = await service.send("POST", endpoint["path"].removeprefix("/api/v1"), raw, headers | changed)
    return status, told


def paypal(type_: str, resource: dict[str, Any], id_: str) -> bytes:
    return orjson.dumps({"id": id_, "event_type": type_, "resource": resource})


async def test_paypals_refund_waits_for_its_capture(service: Messaging, writer: Pool) -> None:
    endpoint = await service.endpoint(provider="paypal", secret=None, webhook_id="WH-1")
    refund = paypal("PAYMENT.CAPTURE.REFUNDED", PAYPAL_REFUND, "WH-1")
    assert (await _paypal(service, endpoint, refund))[0] == 200
    assert await parked(writer) == [("paypal/2GG27", "unknown-payment")]
    assert (await _paypal(service, endpoint, paypal("PAYMENT.CAPTURE.COMPLETED", CAPTURE, "WH-2")))[0] == 200
    assert await payments(writer) == [("2GG27", 0, 9_000, 0, 1_000)]
    assert service.fetched == ["https://api.paypal.com/v1/notifications/certs/CERT-1"]


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"Paypal-Transmission-Id": "t-2"}, "signature-wrong"),
        ({"Paypal-Cert-Url": "https://evil.example/v1/notifications/certs/CERT-1"}, "certificate-not-trusted"),
        ({"Paypal-Auth-Algo": "none"}, "signature-malformed"),
        ({"Paypal-Transmission-Sig": ""}, "signature-missing"),
    ],
)
async def test_a_forged_paypal_is_refused_and_fetches_nothing_foreign(
    service: Messaging, writer: Pool, changed: dict[str, str], code: str
) -> None:
    endpoint = await service.endpoint(provider="paypal", secret=None, webhook_id="WH-1")
    raw = paypal("PAYMENT.CAPTURE.COMPLETED", CAPTURE, "WH-2")
    status, told = await _paypal(service, endpoint, raw, **changed)
    assert (status, told["code"]) == (400, code)
    assert not any("evil" in address for address in service.fetched)
    assert await writer.fetchval("select count(*) from webhooks_in") == 0
