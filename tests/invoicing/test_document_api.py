"""Documents over REST, made of what is stored: pages, PDF, e-invoices; what is missing is named, nothing leaks."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from libs.common.db import Pool
from services.invoicing.document_api import prefers_pdf
from services.invoicing.documents import cents, pdf
from tests.invoicing.conftest import InvoicingDatabase
from tests.invoicing.serving import Service, invoicing_service

SELLER = {
    "name": "Seller & Co",
    "address": {"street": "Main St 1", "city": "Berlin", "postal_code": "10115", "country": "DE"},
    "tax_ids": {"VAT": "DE123456789"}, "iban": "DE89370400440532013000", "registration": "HRB 1",
}  # fmt: skip
BUYER = {
    "name": "Buyer GmbH", "address": {"city": "Wien", "country": "AT"}, "tax_ids": {"vat": "ATU12345678", "TAX": "7"},
    "email": "buyer@example.org",
}  # fmt: skip
LINES = [
    {"description": "Work", "quantity": "16", "unit_price": "348.35", "discount_percent": "4",
     "tax": {"category": "S", "rate": "22"}},
    {"description": "Books <b>", "quantity": "1", "unit_price": "10.00", "tax": {"category": "S", "rate": "5"}},
]  # fmt: skip
WITHIN = {"category": "K", "exemption_code": "VATEX-EU-IC"}


@pytest.fixture
async def service(writer: Pool, receivables: InvoicingDatabase, tmp_path: Path) -> AsyncIterator[Service]:
    """Invoicing's application on a real server, with a seller and a buyer who have what e-invoices need."""
    async with invoicing_service(writer, receivables, tmp_path) as running:
        status, told, _ = await running.send(
            "PUT", "/ledgers/main/account-mapping", {"standard": True, "seller": SELLER}
        )
        assert status == 200, told
        status, told, _ = await running.send("POST", "/customers", BUYER)
        assert status == 201, told
        yield running


async def get(service: Service, path: str, **headers: str) -> tuple[int, str, bytes]:
    """Status, content type, body."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{service.url}/api/v1{path}", headers={**service.headers(), **headers}) as answer,
    ):
        return answer.status, answer.headers["Content-Type"], await answer.read()


async def made(service: Service, **more: Any) -> dict[str, Any]:
    wanted = {"customer": "Buyer GmbH", "currency": "EUR", "issued_on": "2026-03-02", "lines": LINES, "issue": True}
    status, told, _ = await service.send("POST", "/invoices", {**wanted, **more})
    assert status == 201, told
    return dict(told)


async def test_an_invoice_is_a_page_and_an_e_invoice(service: Service) -> None:
    told = await made(service)
    status, kind, body = await get(service, f"/invoices/{told['id']}/document")
    assert (status, kind) == (200, "text/html; charset=utf-8")
    page = body.decode()
    for text in ("Invoice 2026-000001", "Seller &amp; Co", "Buyer GmbH", "Books &lt;b&gt;", "5,350.66", "6,538.31"):
        assert text in page, text
    for syntax in ("ubl", "cii"):
        status, kind, body = await get(service, f"/invoices/{told['id']}/e-invoice?syntax={syntax}")
        assert (status, kind) == (200, "application/xml"), body
        assert cents.read(body.decode()).payable == 653_831
    assert await get(service, f"/invoices/{told['id']}/e-invoice") == await get(
        service, f"/invoices/{told['id']}/e-invoice?syntax=ubl"
    )


async def test_a_credit_note_is_a_page_and_an_e_invoice(service: Service) -> None:
    told = await made(service, currency="USD")
    wish = {"invoice_id": told["id"], "amount": "100.00", "reason": "Scratched"}
    status, note, _ = await service.send("POST", "/credit-notes", wish)
    assert status == 201, note
    _, _, body = await get(service, f"/credit-notes/{note['id']}/document")
    for text in ("Credit note CN-2026-000001", "Invoice 2026-000001 of 2026-03-02", "Scratched", "100.00"):
        assert text in body.decode(), text
    for syntax in ("ubl", "cii"):
        status, _, body = await get(service, f"/credit-notes/{note['id']}/e-invoice?syntax={syntax}")
        assert (status, cents.read(body.decode()).payable) == (200, 10_000)


@pytest.mark.filterwarnings("ignore:HarfBuzz-Subset:DeprecationWarning")
async def test_a_pdf_is_made_where_one_is_wanted(service: Service) -> None:
    told = await made(service)
    status, kind, body = await get(service, f"/invoices/{told['id']}/document", Accept="application/pdf")
    if pdf.engine() is None:
        assert (status, b"pdf-not-available" in body) == (406, True)
    else:
        assert (status, kind, body[:5]) == (200, "application/pdf", b"%PDF-")


async def test_a_delivery_within_the_union_says_when_and_where(service: Service) -> None:
    told = await made(service, lines=[{"description": "Goods", "quantity": "1", "unit_price": "9.00", "tax": WITHIN}])
    _, _, body = await get(service, f"/invoices/{told['id']}/e-invoice")
    assert "<cbc:ActualDeliveryDate>2026-03-02<" in body.decode()
    assert "ATU12345678" in body.decode()


async def test_what_an_e_invoice_lacks_is_named(service: Service) -> None:
    told = await made(service, customer="Acme Corp")
    status, refused, _ = await service.send("GET", f"/invoices/{told['id']}/e-invoice")
    assert (status, refused["code"]) == (422, "e-invoice-incomplete")
    assert [fault["pointer"] for fault in refused["errors"]] == ["/buyer/address/country"]


async def test_a_draft_and_what_is_not_there_have_no_document(service: Service) -> None:
    draft = await made(service, issue=False)
    for form in ("document", "e-invoice"):
        status, refused, _ = await service.send("GET", f"/invoices/{draft['id']}/{form}")
        assert (status, refused["code"]) == (409, "document-not-issued")
        for noun, code in (("invoices", "unknown-invoice"), ("credit-notes", "unknown-credit-note")):
            status, refused, _ = await service.send("GET", f"/{noun}/{service.acme.customer}/{form}")
            assert (status, refused["code"]) == (404, code)


async def test_another_organization_sees_no_document(service: Service) -> None:
    told = await made(service)
    others = service.headers(organization="other")
    for form in ("document", "e-invoice"):
        status, refused, _ = await service.send("GET", f"/invoices/{told['id']}/{form}", headers=others)
        assert (status, refused["code"]) == (404, "unknown-invoice")


async def test_a_void_invoice_says_so_and_an_erased_customer_has_no_name(service: Service) -> None:
    told = await made(service)
    status, _, _ = await service.send("POST", f"/invoices/{told['id']}/void", {"reason": "wrong"})
    assert status == 200
    status, gone, _ = await service.send("POST", f"/customers/{told['customer']}/erase", {})
    assert status == 200, gone
    _, _, body = await get(service, f"/invoices/{told['id']}/document")
    page = body.decode()
    assert "This invoice is void" in page
    assert "Buyer GmbH" not in page
    assert f"Customer {told['customer']}" in page


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False), ("*/*", False), ("text/html", False), ("application/pdf", True),
        ("application/pdf, */*;q=0.5", True),
        ("text/html, application/pdf", False), ("text/html;q=0.5, application/pdf;q=0.9", True),
        ("application/pdf;q=0", False), ("application/pdf;q=0.1, text/html;q=0.12", False),
    ],
)  # fmt: skip
def test_pdf_is_made_only_where_it_is_preferred(accept: str, wanted: bool) -> None:
    assert prefers_pdf(accept) is wanted
