"""Drafts change and go by the version that was read; what is issued does neither, and no number is lost by it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from libs.common.db import Pool
from tests.invoicing.conftest import InvoicingDatabase
from tests.invoicing.serving import Service, invoicing_service

LINE = {"description": "Work", "quantity": "2", "unit_price": "50.00", "tax": {"category": "S", "rate": "20"}}
BOOKS = {"description": "Books", "quantity": "3", "unit_price": "10.00", "tax": {"category": "S", "rate": "5"}}
DRAFT = {"customer": "Acme Corp", "currency": "USD", "issued_on": "2026-03-02", "lines": [LINE], "issue": False}


@pytest.fixture
async def service(writer: Pool, receivables: InvoicingDatabase, tmp_path: Path) -> AsyncIterator[Service]:
    async with invoicing_service(writer, receivables, tmp_path) as running:
        yield running


async def made(service: Service, **more: Any) -> dict[str, Any]:
    status, told, _ = await service.send("POST", "/invoices", {**DRAFT, **more})
    assert status == 201, told
    return dict(told)


def changed(**more: Any) -> dict[str, Any]:
    return {**{name: value for name, value in DRAFT.items() if name != "issue"}, "version": 1, **more}


async def test_a_draft_becomes_another_one_and_is_issued_as_that(service: Service) -> None:
    draft = await made(service, client_ref="order-7")
    body = changed(lines=[LINE, BOOKS], due_on="2026-04-30", client_ref="order-7")
    status, told, _ = await service.send("PUT", f"/invoices/{draft['id']}", body)
    assert status == 200, told
    assert (told["net"], told["tax"], told["total"], told["version"]) == ("130.00", "21.50", "151.50", 2)
    assert (told["status"], told["number"], told["client_ref"]) == ("draft", None, "order-7")
    status, again, _ = await service.send("PUT", f"/invoices/{draft['id']}", {**body, "lines": [BOOKS], "version": 2})
    assert (status, again["total"], len(again["lines"])) == (200, "31.50", 1)
    status, issued, _ = await service.send("POST", f"/invoices/{draft['id']}/issue", {})
    assert (status, issued["number"], issued["total"], issued["due_on"]) == (200, "2026-000001", "31.50", "2026-04-30")
    _, read, _ = await service.send("GET", f"/invoices/{draft['id']}")
    assert [line["description"] for line in read["lines"]] == ["Books"]
    assert [tax["amount"] for tax in read["taxes"]] == ["1.50"]


async def test_a_drafts_terms_of_early_payment_change_with_it(service: Service) -> None:
    draft = await made(service, early_payment={"percent": "2", "within_days": 10})
    for version, early in ((1, {"percent": "3", "within_days": 7}), (2, None)):
        body = changed(version=version, **({"early_payment": early} if early else {}))
        status, told, _ = await service.send("PUT", f"/invoices/{draft['id']}", body)
        assert status == 200, told
        _, read, _ = await service.send("GET", f"/invoices/{draft['id']}")
        told = read["early_payment"]
        assert (told and (told["percent"], told["within_days"])) == (("3", 7) if early else None)
    again = await made(service, early_payment={"percent": "2", "within_days": 10})
    assert (await service.send("DELETE", f"/invoices/{again['id']}"))[0] == 200


async def test_what_cannot_be_changed_stays_and_says_why(service: Service) -> None:
    draft, issued = await made(service), await made(service, issue=True)
    nobody = str(service.acme.customer)
    for invoice, body, status, code in (
        (draft["id"], changed(version=2), 409, "version-conflict"),
        (draft["id"], changed(ledger="other"), 422, "ledger-differs"),
        (draft["id"], changed(customer="Nobody"), 422, "unknown-customer"),
        (draft["id"], changed(lines=[]), 422, "no-lines"),
        (draft["id"], {"customer": "Acme Corp"}, 422, "malformed"),
        (draft["id"], {**changed(), "issue": True}, 422, "malformed"),
        (issued["id"], changed(), 409, "not-a-draft"),
        (nobody, changed(), 404, "unknown-invoice"),
    ):  # fmt: skip
        told, refused, _ = await service.send("PUT", f"/invoices/{invoice}", body)
        assert (told, refused["code"]) == (status, code), refused
    _, read, _ = await service.send("GET", f"/invoices/{draft['id']}")
    assert (read["version"], read["total"], len(read["lines"])) == (1, "120.00", 1)


async def test_a_draft_goes_and_leaves_no_gap(service: Service) -> None:
    first, draft, issued = await made(service, issue=True), await made(service), await made(service, issue=True)
    status, refused, _ = await service.send("DELETE", f"/invoices/{draft['id']}?version=2")
    assert (status, refused["code"]) == (409, "version-conflict")
    status, gone, _ = await service.send("DELETE", f"/invoices/{draft['id']}?version=1")
    assert (status, gone) == (200, {"id": draft["id"], "deleted": True})
    for invoice, status, code in ((draft["id"], 404, "unknown-invoice"), (issued["id"], 409, "not-a-draft")):
        told, refused, _ = await service.send("DELETE", f"/invoices/{invoice}")
        assert (told, refused["code"]) == (status, code)
    assert (await service.send("GET", f"/invoices/{draft['id']}"))[0] == 404
    assert [first["number"], issued["number"]] == ["2026-000001", "2026-000002"]


async def test_another_organization_changes_and_deletes_nothing(service: Service) -> None:
    draft = await made(service)
    others = service.headers(organization="other")
    for method, body in (("PUT", changed()), ("DELETE", None)):
        status, refused, _ = await service.send(method, f"/invoices/{draft['id']}", body, others)
        assert (status, refused["code"]) == (404, "unknown-invoice")
    assert (await service.send("GET", f"/invoices/{draft['id']}"))[0] == 200
