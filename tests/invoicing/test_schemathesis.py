"""Invoicing as its OpenAPI document says it: Schemathesis asks every operation, well and badly.

    make schemathesis [EXAMPLES=200]     asks much more, in another order each time

How is in tests/support/document_fuzz.py. A customer, invoices, a payment, a credit note, a product, a message that
waits (its id, 1, is drawn), a webhook endpoint and a webhook target are there to be asked of.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest

from libs.common.db import Pool
from tests.invoicing.conftest import InvoicingDatabase
from tests.invoicing.messaging import SECRET, Messaging, messaging
from tests.invoicing.paying import accounted, tell, told
from tests.support.document_fuzz import Depth, Target, ask_as_documented

BEYOND_SCHEMA: Final[Mapping[tuple[str, str], str]] = {
    (".*", "(/.*)?/(on|issued_on|tax_point_on|due_on|received_on|valid_from|valid_to|service_from|service_to|through)"):
        "days are those of 1900 to 2999",
    (".*/invoices", "/lines/[0-9]+/(tax|further_taxes)(/.*)?"): "a tax is stated whole or, the first one, by its code",
    (".*/account-mapping", "/cash_rounding/.*"): "what is named is a currency, and a step an amount in it",
    (".*/webhook-targets", "/url|/types/[0-9]+"): "a target is an https address, and the types are events of ours",
    (".*/webhook-endpoints", "/secret|/webhook_id"): "stripe signs with a secret, paypal with a webhook's id",
    (".*/parked/{id}/value", "/value.*"): "a fixed message is an event of the same document",
}  # fmt: skip
"""Where a shape has a rule that no schema says, by path and pointer; each has a test of its own."""

LINES: Final = [{"description": "Work", "unit_price": "100.00", "tax": {"category": "S", "rate": "20"}}]

pytestmark = pytest.mark.database


@pytest.fixture
async def service(writer: Pool, receivables: InvoicingDatabase, tmp_path: Path) -> AsyncIterator[Messaging]:
    async with messaging(writer, receivables, tmp_path) as running:
        yield running


async def target_of(service: Messaging, pool: Pool) -> Target:
    """The running service, with what is there to be asked of."""

    async def made(path: str, body: Any, status: int = 201) -> Any:
        answered, answer, _ = await service.send("POST", path, body, {"Idempotency-Key": uuid4().hex})
        assert answered == status, answer
        return answer

    customer = str(service.acme.customer)
    invoice = {"ledger": "main", "customer": customer, "currency": "USD", "lines": LINES, "issue": True}
    issued = await made("/invoices", invoice)
    spare = await made("/invoices", {**invoice, "client_ref": "written-off"})
    draft = await made("/invoices", {**invoice, "issue": False})
    paid = await made("/payments", {"amount": "30.00", "invoice_id": issued["id"]})
    loose = await made("/payments", {"amount": "30.00", "customer": customer, "currency": "USD", "reference": "?"})
    note = await made("/credit-notes", {"invoice_id": issued["id"], "amount": "12.00", "reason": "Damaged"})
    written_off = await made(f"/invoices/{spare['id']}/write-off", {"amount": "5.00"})
    product = await made("/products", {"code": "HOUR", "name": "An hour", "currency": "USD", "unit_price": "100.00"})
    endpoint = await service.endpoint()
    target = await made("/webhook-targets", {"url": "https://shop.example/hooks", "secret": SECRET})
    await tell(pool, told("received", "0.00", payment_id="p-0"))
    posting = await pool.fetchval("select id from postings order by created_at, id limit 1")
    v = "/api/v1"
    return Target(
        service.url,
        service.headers(),
        places={"ledger": "main", "provider": "stripe", "endpoint": endpoint["id"]},
        places_of={
            **{
                f"{v}/invoices/{{id}}{step}": {"id": issued["id"]}
                for step in ("", "/document", "/e-invoice", "/void", "/write-off", "/recoveries")
            },
            **{f"{v}/customers/{{id}}{step}": {"id": customer} for step in ("", "/credit/apply", "/erase")},
            f"{v}/products/{{id}}": {"id": product["id"]},
            f"{v}/invoices/{{id}}/issue": {"id": draft["id"]},
            f"{v}/write-offs/{{id}}/reverse": {"id": written_off["id"]},
            f"{v}/write-offs/{{id}}/relief": {"id": written_off["id"]},
            **{f"{v}/credit-notes/{{id}}{step}": {"id": note["id"]} for step in ("", "/document", "/e-invoice")},
            f"{v}/payments/{{id}}": {"id": paid["id"]},
            f"{v}/payments/{{id}}/refunds": {"id": paid["id"]},
            f"{v}/payments/{{id}}/allocations": {"id": loose["id"]},
            f"{v}/postings/{{id}}/retry": {"id": str(posting)},
            **{
                f"{v}/webhook-endpoints/{{id}}{step}": {"id": endpoint["id"]}
                for step in ("/secrets", "/switch", "/received")
            },
            **{
                f"{v}/webhook-targets/{{id}}{step}": {"id": target["id"]}
                for step in ("/secrets", "/switch", "/deliveries")
            },
        },
        beyond_schema=BEYOND_SCHEMA,
    )


async def test_invoicing_is_as_its_document_says(service: Messaging, writer: Pool) -> None:
    target = await target_of(service, writer)
    found = await asyncio.to_thread(ask_as_documented, target, Depth.of_environment())
    print(found.told())
    assert not found.wrong, found.told()
    assert len(found.operations) > 50, "invoicing has more operations than were asked"
    await accounted(writer)
