"""Invoicing as its OpenAPI document says it: Schemathesis asks every operation, well and badly.

    make schemathesis [EXAMPLES=200]     asks much more, in another order each time

How is in tests/support/document_fuzz.py. A customer, invoices, payments, a credit note and what else settles, a
product, a recurring invoice, a letter, a tax return, a message that waits (its id, 1, is drawn), a webhook endpoint and
a webhook target are there to be asked of.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import uuid4

import pytest

from libs.common.db import Pool
from tests.invoicing.conftest import InvoicingDatabase
from tests.invoicing.messaging import SECRET, Messaging, messaging
from tests.invoicing.paying import accounted, tell, told
from tests.support.document_fuzz import Depth, Target, ask_as_documented

BEYOND_SCHEMA: Final[Mapping[tuple[str, str], str]] = {
    (".*/(recurring-)?invoices(/{id})?", "(/invoice)?/lines/[0-9]+/(tax|further_taxes)(/.*)?"):
        "a tax is stated whole or, the first one, by its code",
    (".*/webhook-targets", "/url|/types/[0-9]+"): "a target is an https address, and the types are events of ours",
    (".*/webhook-endpoints", "/secret|/webhook_id"): "stripe signs with a secret, paypal with a webhook's id",
    (".*/(tax/report|statement)", "/to"): "days are in their order",
    (".*/cash-forecast", "/until"): "a forecast goes from today on, as far as three years",
    (".*/parked/{id}/value", "/value.*"): "a fixed message is an event of the same document",
}  # fmt: skip
"""Where a shape has a rule that no schema says, by path and pointer; each has a test of its own."""

LINES: Final = [{"description": "Work", "unit_price": "100.00", "tax": {"category": "S", "rate": "20"}}]

pytestmark = pytest.mark.database


@pytest.fixture
async def service(writer: Pool, receivables: InvoicingDatabase, tmp_path: Path) -> AsyncIterator[Messaging]:
    async with messaging(writer, receivables, tmp_path) as running:
        yield running


class Asking(NamedTuple):
    """What is there to be asked of: ids by the stem of a path, and the steps behind it."""

    id: Any
    stem: str
    steps: Sequence[str] = ("",)

    def places(self) -> dict[str, dict[str, str]]:
        """The value of `id` by path."""
        return {f"/api/v1/{self.stem}/{{id}}{step}": {"id": str(self.id)} for step in self.steps}


async def target_of(service: Messaging, pool: Pool) -> Target:
    """The running service, with what is there to be asked of."""
    endpoint = await service.endpoint()
    there = [
        *await receivables_of(service),
        *await follow_ups_of(service),
        Asking(endpoint["id"], "webhook-endpoints", ("/secrets", "/switch", "/received")),
    ]
    target = await made(service, "/webhook-targets", {"url": "https://shop.example/hooks", "secret": SECRET})
    there.append(Asking(target["id"], "webhook-targets", ("/secrets", "/switch", "/deliveries")))
    await tell(pool, told("received", "0.00", payment_id="p-0"))
    posting = await pool.fetchval("select id from postings order by created_at, id limit 1")
    there.append(Asking(posting, "postings", ("/retry",)))
    return Target(
        service.url,
        service.headers(),
        places={"ledger": "main", "provider": "stripe", "endpoint": endpoint["id"]},
        places_of={path: place for each in there for path, place in each.places().items()},
        beyond_schema=BEYOND_SCHEMA,
    )


async def made(service: Messaging, path: str, body: Any, status: int = 201) -> Any:
    """What a command answers; it is done."""
    answered, answer, _ = await service.send("POST", path, body, {"Idempotency-Key": uuid4().hex})
    assert answered == status, answer
    return answer


async def receivables_of(service: Messaging) -> list[Asking]:
    """Invoices, payments and what settles them."""
    customer = str(service.acme.customer)
    of_customer = {"customer": customer, "currency": "USD"}
    invoice = {**of_customer, "lines": LINES, "issue": True}
    issued = await made(service, "/invoices", {**invoice, "early_payment": {"percent": "2", "within_days": 10}})
    at = f"/invoices/{issued['id']}"
    spare = await made(service, "/invoices", {**invoice, "client_ref": "written-off"})
    draft = await made(service, "/invoices", {**invoice, "issue": False})
    paid = await made(service, "/payments", {"amount": "30.00", "invoice_id": issued["id"]})
    loose = await made(service, "/payments", {"ledger": "main", "currency": "USD", "amount": "30.00"})
    await made(service, f"/payments/{loose['id']}/customer", {"customer": customer}, 200)
    note = await made(service, "/credit-notes", {"invoice_id": issued["id"], "amount": "12.00", "reason": "Damaged"})
    written_off = await made(service, f"/invoices/{spare['id']}/write-off", {"amount": "5.00"})
    discount = await made(service, f"{at}/discount", {"amount": "1.20"})
    withheld = await made(service, f"{at}/withholding", {"amount": "3.00"})
    await made(service, f"/payments/{loose['id']}/keep-as-credit", {"amount": "9.00"}, 200)
    promised = await made(service, f"/customers/{customer}/refunds-payable", {"currency": "USD", "amount": "5.00"})
    payout = await made(service, "/payouts", {"currency": "USD", "amount": "10.00"})
    _, read, _ = await service.send("GET", f"/payments/{loose['id']}")
    (kept,) = read["kept_as_credit"]
    opened = await made(service, f"/payments/{loose['id']}/disputes", {"amount": "1.00"})
    refund = await made(service, f"/payments/{loose['id']}/refunds", {"amount": "1.00"})
    used = await made(service, f"/customers/{customer}/credit/apply", {"currency": "USD", "amount": "1.00"})
    product = await made(
        service, "/products", {"code": "HOUR", "name": "An hour", "currency": "USD", "unit_price": "100.00"}
    )  # fmt: skip
    settled = ("/void", "/write-off", "/recoveries", "/discount", "/withholding")
    moved = ("", "/refunds", "/return", "/disputes", "/customer", "/keep-as-credit")
    return [
        Asking(issued["id"], "invoices", ("", "/document", "/e-invoice", *settled)),
        Asking(draft["id"], "invoices", ("/issue",)),
        Asking(customer, "customers", ("", "/credit/apply", "/erase", "/refunds-payable", "/statement")),
        Asking(product["id"], "products"),
        Asking(written_off["id"], "write-offs", ("", "/reverse", "/relief", "/take-back")),
        Asking(refund["id"], "refunds", ("", "/bounced")),
        Asking(payout["id"], "payouts", ("", "/take-back")),
        Asking(kept["id"], "kept-credits", ("/take-back",)),
        Asking(opened["id"], "disputes", ("", "/won", "/lost")),
        Asking(used["id"], "credit-applications", ("", "/take-back")),
        Asking(note["id"], "credit-notes", ("", "/document", "/e-invoice")),
        Asking(paid["id"], "payments", moved),
        Asking(loose["id"], "payments", ("/allocations",)),
        Asking(discount["id"], "discounts", ("/take-back",)),
        Asking(withheld["id"], "withholdings", ("/take-back",)),
        Asking(promised["id"], "refunds-payable", ("", "/pay", "/bounced", "/cancel")),
    ]


async def follow_ups_of(service: Messaging) -> list[Asking]:
    """What recurs, what reminds, and the tax's return."""
    customer = str(service.acme.customer)
    invoice = {"customer": customer, "currency": "USD", "lines": LINES}
    await made(service, "/invoices", {**invoice, "issue": True, "issued_on": "2026-07-01", "due_on": "2026-07-31"})
    recurring = await made(
        service, "/recurring-invoices", {"invoice": invoice, "schedule": {"unit": "month"}, "starts_on": "2026-10-31"}
    )  # fmt: skip
    level = {"days_after_due": 7, "title": "Reminder", "text": "Please pay."}
    status, answer, _ = await service.send("PUT", "/ledgers/main/dunning-levels", {"levels": [level]})
    assert status == 200, answer
    await made(service, "/dunning/run", {}, 200)
    _, letters, _ = await service.send("GET", "/dunning/letters")
    hold = await made(service, "/dunning/holds", {"customer": customer})
    await made(service, "/tax-numbers", {"tax_number": "US-1", "currency": "USD", "valid_from": "2020-01-01"})
    tax_return = await made(
        service, "/tax-returns", {"tax_number": "US-1", "from": "2026-01-01", "to": "2026-01-31"}
    )  # fmt: skip
    steps = ("", "/preview", "/occurrences", "/pause", "/resume", "/cancel", "/occurrences/{occurrence}/retry")
    return [
        Asking(recurring["id"], "recurring-invoices", steps),
        Asking(letters["items"][0]["id"], "dunning/letters", ("", "/document")),
        Asking(hold["id"], "dunning/holds", ("/release",)),
        Asking(tax_return["id"], "tax-returns", ("", "/file")),
    ]


async def test_invoicing_is_as_its_document_says(service: Messaging, writer: Pool) -> None:
    target = await target_of(service, writer)
    found = await asyncio.to_thread(ask_as_documented, target, Depth.of_environment())
    print(found.told())
    assert not found.wrong, found.told()
    assert len(found.operations) > 50, "invoicing has more operations than were asked"
    await accounted(writer)
