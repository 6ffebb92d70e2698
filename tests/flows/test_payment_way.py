"""A payment's way on the running stack: event, invoice, the ledger's books and back; doubled, early, too much."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import uuid4

import orjson
import pytest

from libs.cli.session import Stack
from libs.common import clock
from libs.common.bus import KafkaSettings, Message, Publisher, cloud_event_headers
from libs.common.events_payments import PAYMENT_RECEIVED, PAYMENT_REFUNDED, PAYMENTS, payment_key
from services.gateway.routes import INVOICING, OPEN
from tests.flows.shop import Answer, Shop, open_shop

pytestmark = pytest.mark.timeout(180)

PATIENCE_S = 30.0
LINES = [
    {"description": "Consulting", "quantity": "8", "unit_price": "120.00", "tax": {"category": "S", "rate": "20"}},
    {"description": "Handbooks", "quantity": "3", "unit_price": "15.00", "tax": {"category": "S", "rate": "5"}},
]
TOTAL = "1199.25"


async def post(shop: Shop, path: str, body: Mapping[str, Any], status: int = 201) -> Any:
    answer = await shop.send("POST", f"/api/v1{path}", body, {"Idempotency-Key": uuid4().hex})
    assert answer.status == status, answer.body
    return answer.body


async def get(shop: Shop, path: str) -> Any:
    answer: Answer = await shop.send("GET", f"/api/v1{path}")
    assert answer.status == 200, answer.body
    return answer.body


async def invoiced(shop: Shop, customer: str = "Globex") -> Any:
    made = await post(shop, "/customers", {"name": customer})
    return await post(
        shop, "/invoices", {"ledger": "main", "customer": made["id"], "currency": "USD", "lines": LINES, "issue": True}
    )


async def becomes(ask: Callable[[], Awaitable[Any]], is_there: Callable[[Any], bool]) -> Any:
    """What is asked for, once it is there; TimeoutError where it never comes."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if is_there(found := await ask()):
                return found
            await asyncio.sleep(0.05)


def event(shop: Shop, kind: Any, payment_id: str, event_id: str | None = None, **members: Any) -> Message:
    body = {
        "organization": shop.organization,
        "ledger": "main",
        "provider": "cards",
        "currency": "USD",
        "payment_id": payment_id,
        **members,
    }
    headers = cloud_event_headers(kind.name, "cards", event_id or uuid4().hex, clock.now())
    return Message(PAYMENTS, payment_key(shop.organization, payment_id), orjson.dumps(body), headers)


def received(shop: Shop, payment_id: str, amount: str, reference: str, event_id: str | None = None) -> Message:
    return event(
        shop, PAYMENT_RECEIVED, payment_id, event_id, amount=amount, fee="10.00", received_on="2026-11-21",
        method="card", reference=reference,
    )  # fmt: skip


async def publish(shop: Shop, *messages: Message) -> None:
    publisher = Publisher(KafkaSettings(shop.stack.bootstrap), name="test-cards")
    await publisher.start()
    try:
        await publisher.publish(messages)
    finally:
        await publisher.stop()


async def payment_of(shop: Shop, payment_id: str) -> Any:
    """The payment with a provider's id, once it is in the books."""

    async def ask() -> Any:
        items = (await get(shop, "/payments"))["items"]
        return next((each for each in items if each["payment_id"] == payment_id), None)

    return await becomes(ask, lambda found: found is not None and found["posting"] == "posted")


async def tied(shop: Shop) -> Any:
    """The tie-out once everything that was asked for is in the books."""
    return await becomes(
        lambda: get(shop, "/receivables/tie-out?ledger=main"),
        lambda found: found["complete"] and found["unposted"]["count"] == 0 and found["ties"],
    )


async def test_an_event_pays_its_invoice_in_the_books(studio: Shop) -> None:
    invoice = await invoiced(studio)
    assert (invoice["net"], invoice["tax"], invoice["total"], invoice["open"]) == ("1005.00", "194.25", TOTAL, TOTAL)
    await publish(studio, received(studio, "py-1", TOTAL, f"Your {invoice['number']}"))
    paid = await becomes(
        lambda: get(studio, f"/invoices/{invoice['id']}"),
        lambda found: (found["status"], found["posting"]) == ("paid", "posted"),
    )
    assert (paid["paid"], paid["open"]) == (TOTAL, "0.00")
    payment = await payment_of(studio, "py-1")
    assert (payment["allocated"], payment["unapplied"], payment["to_credit"]) == (TOTAL, "0.00", "0.00")
    balances = {code: await studio.posted(code) for code in ("1100-AR", "1030-CLEARING", "6060-PAYMENT-FEES")}
    assert balances == {"1100-AR": "0.00", "1030-CLEARING": "1189.25", "6060-PAYMENT-FEES": "10.00"}
    assert await studio.posted("2100-OUTPUT-VAT") == "194.25"
    assert (await tied(studio))["by_others"] == []


async def test_an_event_twice_has_the_effect_of_once(studio: Shop) -> None:
    invoice = await invoiced(studio)
    same = received(studio, "py-1", "600.00", invoice["number"], "event-1")
    other_event = received(studio, "py-1", "600.00", invoice["number"], "event-2")
    last = received(studio, "py-2", "11.00", invoice["number"])
    await publish(studio, same, same, other_event, last)
    await payment_of(studio, "py-2")
    await payment_of(studio, "py-1")
    await publish(studio, same)
    await tied(studio)
    payments = (await get(studio, "/payments"))["items"]
    assert sorted((each["payment_id"], each["amount"]) for each in payments) == [("py-1", "600.00"), ("py-2", "11.00")]
    assert (await get(studio, f"/invoices/{invoice['id']}"))["open"] == "588.25"
    assert await studio.posted("1100-AR") == "588.25"


async def test_what_is_too_much_is_the_customers_and_what_has_no_place_is_kept_apart(studio: Shop) -> None:
    invoice = await invoiced(studio)
    await publish(
        studio,
        received(studio, "py-much", "1200.00", f"for {invoice['number']}"),
        received(studio, "py-lost", "70.00", "no idea"),
    )
    much, lost = await payment_of(studio, "py-much"), await payment_of(studio, "py-lost")
    assert (much["allocated"], much["to_credit"]) == (TOTAL, "0.75")
    assert (lost["unapplied"], bool(lost["reason"])) == ("70.00", True)
    await tied(studio)
    assert await studio.posted("2300-CUSTOMER-CREDIT") == "0.75"
    assert await studio.posted("2310-UNAPPLIED") == "70.00"


async def test_a_refund_that_comes_first_waits_for_its_payment(studio: Shop) -> None:
    refund = event(
        studio, PAYMENT_REFUNDED, "py-1", refund_id="re-1", amount="20.00", fee=None, refunded_on="2026-11-22"
    )
    await publish(studio, refund)
    waiting = await becomes(lambda: get(studio, "/parked"), lambda found: len(found["items"]) == 1)
    assert waiting["items"][0]["reason"] == "unknown-payment"
    await publish(studio, received(studio, "py-1", "70.00", "no idea"))
    payment = await becomes(
        lambda: payment_of(studio, "py-1"), lambda found: (found["refunded"], found["unapplied"]) == ("20.00", "50.00")
    )
    assert payment["amount"] == "70.00"
    await tied(studio)
    assert await studio.posted("2310-UNAPPLIED") == "50.00"


async def test_the_short_way_invoices_and_is_paid_in_two_halves(studio: Shop) -> None:
    wanted = {"customer": "Acme Corp", "total": "1500.00", "currency": "USD", "issue": True}
    invoice = await post(studio, "/invoices", wanted)
    assert (invoice["status"], invoice["total"]) == ("issued", "1500.00")
    for _ in range(2):
        await post(studio, "/payments", {"invoice_id": invoice["id"], "amount": "750.00"})
    paid = await get(studio, f"/invoices/{invoice['id']}")
    assert (paid["status"], paid["open"]) == ("paid", "0.00")
    await tied(studio)
    assert (await studio.posted("1010-BANK"), await studio.posted("4010-SALES")) == ("1500.00", "1500.00")


async def test_another_organization_sees_and_moves_nothing_of_it(studio: Shop, stack: Stack) -> None:
    invoice = await invoiced(studio)
    payment = await post(studio, "/payments", {"invoice_id": invoice["id"], "amount": "100.00"})
    note = await post(studio, "/credit-notes", {"invoice_id": invoice["id"], "amount": "60.00", "reason": "Damaged"})
    await tied(studio)
    documents = [f"/invoices/{invoice['id']}", f"/payments/{payment['id']}", f"/credit-notes/{note['id']}"]
    await becomes(lambda: get(studio, documents[0]), lambda found: found["document_hash"] is not None)
    before = [await get(studio, path) for path in documents]
    posting = (await get(studio, "/postings"))["items"][0]
    ids = [invoice["id"], invoice["customer"], payment["id"], note["id"], posting["id"]]
    stranger = await open_shop(stack, f"stranger-{uuid4().hex[:12]}")
    bodies = ({}, {"amount": "1.00", "currency": "USD", "reason": "mine"}, {"note": "mine"})
    for passage in INVOICING:
        if passage.scope == OPEN:
            continue
        paths = [re.sub(r"\{(id|delivery|allocation)\}", own, passage.path) for own in ids]
        for path in {each.replace("{ledger}", "main") for each in paths if "{" in passage.path.replace("{ledger}", "")}:
            for body in bodies if passage.method != "GET" else (None,):
                answer = await stranger.send(passage.method, path, body, {"Idempotency-Key": uuid4().hex})
                assert answer.status in (404, 422), (passage.method, path, answer.body)
    for path in ("/customers", "/invoices", "/payments", "/credit-notes", "/postings", "/parked"):
        assert (await get(stranger, path))["items"] == [], path
    wanted = {"invoice_id": invoice["id"], "amount": "1.00"}
    refused = await post(stranger, "/payments", wanted, 422)
    assert refused["code"] == "unknown-invoice"
    assert [await get(studio, path) for path in documents] == before
