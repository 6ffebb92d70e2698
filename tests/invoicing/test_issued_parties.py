"""What was printed at issue stays: after a move, under a new key, against a change behind our back; or is erased."""

import os
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import asyncpg
import pytest

from libs.common.clock import now
from libs.common.db import Pool, transaction
from libs.common.sealing import KEY_BYTES, BrokenSeal, Sealer
from services.invoicing import issued_parties
from services.invoicing.asking import Done
from services.invoicing.customers import CustomerWish, create_customer, erase_customer
from services.invoicing.documents import html
from services.invoicing.hashing import Hashing
from services.invoicing.issued_parties import reseal_parties
from tests.invoicing.conftest import InvoicingDatabase
from tests.invoicing.hearing import execute
from tests.invoicing.printing import documents
from tests.invoicing.serving import Service, invoicing_service
from tests.invoicing.trading import company

SELLER = {"name": "Seller & Co", "address": {"city": "Berlin", "country": "DE"}, "iban": "DE89370400440532013000"}
LINE = {"description": "Work", "quantity": "1", "unit_price": "100.00", "tax": {"category": "S", "rate": "20"}}
WANTED = {"customer": "Acme Corp", "currency": "USD", "issued_on": "2026-03-02", "lines": [LINE], "issue": True}
FORM_SHA256 = "a64d5fcabac9deb6e241961b17ca43622563316d2792ad8ebaee894e97074c97"
"""Of all kinds of pages, as the form that `html.FORM` numbers renders them."""


@pytest.fixture
async def service(writer: Pool, receivables: InvoicingDatabase, tmp_path: Path) -> AsyncIterator[Service]:
    async with invoicing_service(writer, receivables, tmp_path) as running:
        await sells(running, SELLER)
        yield running


async def sells(service: Service, seller: dict[str, Any]) -> None:
    status, told, _ = await service.send("PUT", "/ledgers/main/account-mapping", {"standard": True, "seller": seller})
    assert status == 200, told


async def made(service: Service, **more: Any) -> dict[str, Any]:
    status, told, _ = await service.send("POST", "/invoices", {**WANTED, **more})
    assert status == 201, told
    return dict(told)


async def page(service: Service, invoice: dict[str, Any], noun: str = "invoices") -> str:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{service.url}/api/v1/{noun}/{invoice['id']}/document", headers=service.headers()) as answer,
    ):
        assert answer.status == 200, await answer.text()
        return await answer.text()


async def hashed(service: Service, document: dict[str, Any], noun: str = "invoices") -> str | None:
    _, told, _ = await service.send("GET", f"/{noun}/{document['id']}")
    found: str | None = told["document_hash"]
    return found


async def test_a_document_stays_when_customer_and_seller_have_moved(service: Service) -> None:
    acme, first = service.acme, await made(service)
    assert await hashed(service, first) is None
    hashing = Hashing(acme.pool, acme.sealer)
    assert (await hashing.step(), await hashing.step()) == (1, 0)
    before = await page(service, first)
    assert await hashed(service, first) == sha256(before.encode()).hexdigest()

    moved = {"name": "Acme Holding", "address": {"city": "Gent", "country": "BE"}}
    status, told, _ = await service.send("PATCH", f"/customers/{acme.customer}", moved)
    assert status == 200, told
    await sells(service, {**SELLER, "name": "Seller Ltd"})
    draft = await made(service, customer=str(acme.customer), issue=False)
    _, second, _ = await service.send("POST", f"/invoices/{draft['id']}/issue", {})

    assert await page(service, first) == before
    after = await page(service, second)
    for text, here in (("Acme Corp", before), ("Seller &amp; Co", before), ("Acme Holding", after), ("Gent", after),
                       ("Seller Ltd", after)):  # fmt: skip
        assert text in here
        assert text not in (after if here is before else before)
    wish = {"invoice_id": first["id"], "amount": "12.00", "reason": "Scratched"}
    _, note, _ = await service.send("POST", "/credit-notes", wish)
    assert "Acme Corp" in await page(service, note, "credit-notes")


async def test_a_void_document_is_checked_by_what_it_was(service: Service) -> None:
    told = await made(service)
    await Hashing(service.acme.pool, service.acme.sealer).step()
    await service.send("POST", f"/invoices/{told['id']}/void", {"reason": "wrong"})
    assert "This invoice is void" in await page(service, told)


async def test_a_document_that_was_changed_behind_us_is_not_printed(
    service: Service, receivables: InvoicingDatabase
) -> None:
    told = await made(service)
    await Hashing(service.acme.pool, service.acme.sealer).step()
    owner = await asyncpg.connect(receivables.admin)
    await owner.execute("alter table invoices disable trigger all")
    await owner.execute("update invoices set due_on = due_on + 1")
    await owner.close()
    for form in ("document", "e-invoice"):
        status, refused, _ = await service.send("GET", f"/invoices/{told['id']}/{form}")
        assert (status, refused["code"], refused["facts"]["number"]) == (409, "document-altered", "2026-000001")


async def credited(service: Service) -> dict[str, Any]:
    """A credit note over a part of an invoice."""
    invoice = await made(service)
    wish = {"invoice_id": invoice["id"], "amount": "12.00", "reason": "Scratched"}
    status, told, _ = await service.send("POST", "/credit-notes", wish)
    assert status == 201, told
    return dict(told)


async def test_a_credit_note_s_document_has_its_hash_and_keeps_it(service: Service) -> None:
    acme, note = service.acme, await credited(service)
    assert await hashed(service, note, "credit-notes") is None
    hashing = Hashing(acme.pool, acme.sealer, batch=1)
    assert [await hashing.step() for _ in range(3)] == [1, 1, 0]
    before = await page(service, note, "credit-notes")
    of_before = await hashed(service, note, "credit-notes")
    assert of_before == sha256(before.encode()).hexdigest()
    await service.send("PATCH", f"/customers/{acme.customer}", {"name": "Acme Holding"})
    await sells(service, {**SELLER, "name": "Seller Ltd"})
    assert await page(service, note, "credit-notes") == before
    status, gone, _ = await service.send("POST", f"/customers/{acme.customer}/erase", {})
    assert status == 200, gone
    assert f"Customer {acme.customer}" in await page(service, note, "credit-notes")
    assert await hashed(service, note, "credit-notes") == of_before


async def test_a_credit_note_that_was_changed_behind_us_is_not_printed(
    service: Service, receivables: InvoicingDatabase
) -> None:
    note = await credited(service)
    await Hashing(service.acme.pool, service.acme.sealer).step()
    owner = await asyncpg.connect(receivables.admin)
    await owner.execute("alter table credit_notes disable trigger all")
    await owner.execute("update credit_notes set reason = 'Broken'")
    await owner.close()
    for form in ("document", "e-invoice"):
        status, refused, _ = await service.send("GET", f"/credit-notes/{note['id']}/{form}")
        assert (status, refused["code"], refused["facts"]["number"]) == (409, "document-altered", note["number"])


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        ("update credit_notes set total = total + 1, applied = applied + 1", "issued_is_fixed"),
        ("update credit_notes set reason = 'x'", "issued_is_fixed"),
        ("update credit_notes set document_hash = sha256('b')", "issued_is_fixed"),
        ("update credit_notes set document_hash = null, document_form = null", "issued_is_fixed"),
        ("delete from credit_notes", "append_only"),
    ],
)
async def test_the_database_keeps_a_credit_note_as_it_is(
    service: Service, receivables: InvoicingDatabase, statement: str, constraint: str
) -> None:
    await credited(service)
    await Hashing(service.acme.pool, service.acme.sealer).step()
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await execute(receivables.admin, statement)
    assert refused.value.constraint_name == constraint
    await execute(receivables.admin, "update credit_notes set posting = 'posted'")


async def test_erased_is_erased_from_what_was_issued(service: Service) -> None:
    acme, told = service.acme, await made(service)
    draft = await made(service, issue=False)
    await Hashing(acme.pool, acme.sealer).step()
    of_before = await hashed(service, told)
    status, gone, _ = await service.send("POST", f"/customers/{acme.customer}/erase", {})
    assert status == 200, gone
    shown = await page(service, told)
    assert ("Acme Corp" in shown, f"Customer {acme.customer}" in shown, "Seller &amp; Co" in shown) == (
        False, True, True,
    )  # fmt: skip
    assert (await acme.one("select buyer from issued_parties"))["buyer"] is None
    assert await hashed(service, told) == of_before
    status, refused, _ = await service.send("POST", f"/invoices/{draft['id']}/issue", {})
    assert (status, refused["code"]) == (409, "customer-erased")
    assert (await acme.one("select last from number_series"))["last"] == 1


async def test_a_rotation_seals_them_with_the_newest_key(writer: Pool) -> None:
    old, new, index = (os.urandom(KEY_BYTES) for _ in range(3))
    between, after = Sealer([new, old], index), Sealer([new], index)
    acme = await company(writer)
    acme.sealer = Sealer([old], index)
    for name in ("Globex", "Initech"):
        async with transaction(writer) as connection:
            done = await create_customer(connection, acme.sealer, "demo", CustomerWish(name=name), now())
        assert isinstance(done, Done)
        acme.customer = done.body["id"]
        await acme.issued()
    async with transaction(writer) as connection:
        await erase_customer(connection, acme.sealer, "demo", acme.customer, now())

    assert (await reseal_parties(writer, between, batch=1), await reseal_parties(writer, between)) == (2, 0)
    buyers = [
        issued_parties.known(after, row["organization"], row["invoice"], row).buyer.get("name")
        for row in await acme.all("select * from issued_parties order by invoice")
    ]
    assert buyers == ["Globex", None]


async def test_a_seal_opens_for_its_own_invoice_and_part_alone(service: Service) -> None:
    acme, told = service.acme, await made(service)
    other = await made(service)
    row = await acme.one("select * from issued_parties where invoice = $1::text::uuid", told["id"])
    for invoice, taken in ((other["id"], row), (told["id"], {**row, "seller": row["buyer"]})):
        with pytest.raises(BrokenSeal):
            issued_parties.known(acme.sealer, "demo", UUID(invoice), taken)


def test_a_form_that_changed_has_another_number() -> None:
    pages = "".join(html.render(each) for _, each in sorted(documents().items()))
    assert (html.FORM, sha256(pages.encode()).hexdigest()) == (1, FORM_SHA256)
