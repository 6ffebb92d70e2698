"""Invoicing over REST: what callers send and are told, one answer per key, and every bad request with its place."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from libs.common.db import Pool
from tests.invoicing.conftest import InvoicingDatabase
from tests.invoicing.serving import Service, invoicing_service
from tests.invoicing.trading import refused as refusal

VAT = {"category": "S", "rate": "20"}
LINES = [
    {"description": "Work", "quantity": "2", "unit_price": "50.00", "tax": VAT},
    {"description": "Books", "quantity": "1", "unit_price": "10.00", "tax": {"category": "S", "rate": "5"}},
]


@pytest.fixture
async def service(writer: Pool, receivables: InvoicingDatabase, tmp_path: Path) -> AsyncIterator[Service]:
    """Invoicing's application on a real server."""
    async with invoicing_service(writer, receivables, tmp_path) as running:
        yield running


def invoice(service: Service, **more: Any) -> dict[str, Any]:
    """A good invoice with two tax rates."""
    wanted = {"customer": "Acme Corp", "currency": "USD", "issued_on": "2026-03-02", "lines": LINES, "issue": True}
    return {**wanted, **more}


async def test_an_invoice_with_two_tax_rates(service: Service) -> None:
    status, told, _ = await service.send("POST", "/invoices", invoice(service, total="130.50"))
    assert status == 201, told
    assert [told[name] for name in ("number", "status", "posting", "net", "tax", "total", "open", "due_on")] == [
        "2026-000001", "issued", "requested", "110.00", "20.50", "130.50", "130.50", "2026-04-01",
    ]  # fmt: skip
    assert [(row["rate"], row["base"], row["amount"]) for row in told["taxes"]] == [
        ("20", "100.00", "20.00"),
        ("5", "10.00", "0.50"),
    ]
    status, read, _ = await service.send("GET", f"/invoices/{told['id']}")
    assert (status, read.pop("allocations"), read.pop("document_hash")) == (200, [], None)
    assert read == told


async def test_the_short_forms_make_issue_and_pay(service: Service) -> None:
    body = {"customer": "Shiny New Ltd", "total": 1500.0, "currency": "USD"}
    status, told, _ = await service.send("POST", "/invoices", body)
    assert (status, told["status"], told["total"]) == (201, "issued", "1500.00"), told
    status, half, _ = await service.send("POST", "/payments", {"invoice_id": told["id"], "amount": 750})
    assert (status, half["allocated"], half["unapplied"]) == (201, "750.00", "0.00"), half
    await service.send("POST", "/payments", {"invoice_id": told["id"], "amount": "750.00"})
    _, paid, _ = await service.send("GET", f"/invoices/{told['id']}")
    assert [paid[name] for name in ("status", "total", "paid", "credited", "written_off", "open")] == [
        "paid", "1500.00", "1500.00", "0.00", "0.00", "0.00",
    ]  # fmt: skip
    status, again, _ = await service.send("POST", "/invoices", {**body, "customer": "shiny  new LTD"})
    assert again["customer"] == told["customer"]


async def test_a_draft_is_issued_once(service: Service) -> None:
    _, draft, _ = await service.send("POST", "/invoices", invoice(service, issue=False))
    assert (draft["status"], draft["number"], draft["posting"]) == ("draft", None, "none")
    status, issued, _ = await service.send("POST", f"/invoices/{draft['id']}/issue")
    assert (status, issued["status"], issued["number"]) == (200, "issued", "2026-000001"), issued
    status, refused, _ = await service.send("POST", f"/invoices/{draft['id']}/issue")
    assert (status, refused["code"]) == (409, "not-a-draft")


async def test_50_copies_of_one_payment_are_one(service: Service) -> None:
    _, told, _ = await service.send("POST", "/invoices", invoice(service))
    body = {"invoice_id": told["id"], "amount": "30.00"}
    key = {"Idempotency-Key": "pay-once"}
    answers = await asyncio.gather(*(service.send("POST", "/payments", body, key) for _ in range(50)))
    assert {status for status, _, _ in answers} == {201}
    assert len({answer["id"] for _, answer, _ in answers}) == 1
    assert sum(headers.get("Idempotency-Replayed") == "true" for _, _, headers in answers) == 49
    _, read, _ = await service.send("GET", f"/invoices/{told['id']}")
    assert (read["paid"], len(read["allocations"])) == ("30.00", 1)
    status, other, _ = await service.send("POST", "/payments", {**body, "amount": "31.00"}, key)
    assert (status, other["code"]) == (422, "key-reused-with-other-content")
    mine = await service.send("POST", "/payments", body, {**key, **service.headers(subject="bob")})
    assert mine[1]["id"] not in {answer["id"] for _, answer, _ in answers}, "a key is its caller's own"


BAD_INVOICES = [
    ("a category there is none of", {"lines": [{**LINES[0], "tax": {"category": "X", "rate": "1"}}]},
     "tax-category-unknown", "/lines/0/tax/category"),
    ("an exemption without a reason", {"lines": [LINES[0], {**LINES[0], "tax": {"category": "E", "rate": "0"}}]},
     "exemption-reason-missing", "/lines/1/tax/exemption_reason"),
    ("a total that is another", {"total": "130.51"}, "total-differs", "/total"),
    ("a total with too many decimals", {"total": "130.501"}, "too-many-decimals", "/total"),
    ("a currency that is none", {"currency": "XBT"}, "unknown-currency", "/currency"),
    ("a customer that nobody is", {"customer": "Nobody"}, "unknown-customer", "/customer"),
    ("a customer's id that nobody has", {"customer": str(UUID(int=7))}, "unknown-customer", "/customer"),
    ("a negative price", {"lines": [{**LINES[0], "unit_price": "-1"}]}, "price-negative", "/lines/0/unit_price"),
    ("due before it is issued", {"due_on": "2026-03-01"}, "dates-out-of-order", "/due_on"),
    ("a product that is none", {"lines": [{"product": "NONE"}]}, "unknown-product", "/lines/0/product"),
    ("a tax code that is none", {"lines": [{**LINES[0], "tax": {"code": "DE-19"}}]}, "unknown-tax-rate",
     "/lines/0/tax/code"),
    ("a line without a price", {"lines": [{"description": "x", "tax": VAT}]}, "line-incomplete",
     "/lines/0/unit_price"),
    ("a line without tax", {"lines": [{"description": "x", "unit_price": "1"}]}, "line-incomplete", "/lines/0/tax"),
    ("no lines", {"lines": []}, "no-lines", "/lines"),
    ("a JSON number for a price", {"lines": [{**LINES[0], "unit_price": 50.0}]}, "malformed", "/lines/0/unit_price"),
    ("a field nobody knows", {"colour": "red"}, "malformed", "/colour"),
    ("a ledger without a mapping", {"ledger": "eu"}, "mapping-missing", "/ledger"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "code", "pointer"), [row[1:] for row in BAD_INVOICES], ids=[row[0] for row in BAD_INVOICES]
)
async def test_a_bad_invoice_is_refused_with_its_place(
    service: Service, change: dict[str, Any], code: str, pointer: str
) -> None:
    status, told, _ = await service.send("POST", "/invoices", invoice(service, **change))
    assert (status, told["code"]) == (422, code), told
    assert pointer in [error["pointer"] for error in told["errors"]], told
    assert (await service.acme.one("select count(*) as n from invoices"))["n"] == 0


BAD_PAYMENTS = [
    ("more than is open on the invoice that is named", {"allocations": [{"invoice_id": "?", "amount": "130.51"}],
     "amount": "200.00"}, 422, "allocation-exceeds-open"),
    ("more allocated than paid", {"allocations": [{"invoice_id": "?", "amount": "20.00"}], "amount": "10.00"},
     422, "allocation-exceeds-payment"),
    ("another currency", {"invoice_id": "?", "amount": "1.00", "currency": "EUR"}, 422, "currency-mismatch"),
    ("nothing", {"invoice_id": "?", "amount": "0.00"}, 422, "amount-not-positive"),
    ("an invoice that is none", {"invoice_id": str(UUID(int=7)), "amount": "1.00"}, 422, "unknown-invoice"),
    ("a fee above it", {"invoice_id": "?", "amount": "1.00", "fee": "1.01"}, 422, "fee-exceeds-amount"),
    ("both ways to place it", {"invoice_id": "?", "allocations": [{"invoice_id": "?"}], "amount": "1.00"},
     422, "allocated-twice"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status", "code"), [row[1:] for row in BAD_PAYMENTS], ids=[row[0] for row in BAD_PAYMENTS]
)
async def test_a_bad_payment_is_refused(service: Service, body: dict[str, Any], status: int, code: str) -> None:
    _, told, _ = await service.send("POST", "/invoices", invoice(service))

    def named(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: named(each) for name, each in value.items()}
        return [named(each) for each in value] if isinstance(value, list) else told["id"] if value == "?" else value

    found, refused, _ = await service.send("POST", "/payments", named(body))
    assert (found, refused["code"]) == (status, code), refused
    assert (await service.acme.one("select count(*) as n from payments"))["n"] == 0


async def test_products_and_tax_codes_make_lines(service: Service) -> None:
    for body in (
        {"code": "DE", "category": "S", "rate": "16", "valid_from": "2020-07-01", "valid_to": "2020-12-31"},
        {"code": "DE", "category": "S", "rate": "19", "valid_from": "2021-01-01"},
    ):
        assert (await service.send("POST", "/tax-rates", body))[0] == 201
    clash = {"code": "DE", "category": "S", "rate": "7", "valid_from": "2020-08-01"}
    assert (await service.send("POST", "/tax-rates", clash))[1]["code"] == "tax-rate-overlaps"
    product = {"code": "TEA", "name": "Tea", "currency": "USD", "unit_price": "12.50", "tax_rate": "DE"}
    assert (await service.send("POST", "/products", product))[0] == 201
    assert (await service.send("POST", "/products", product))[0] == 409
    lines = [{"product": "TEA", "quantity": "4"}]
    _, now_, _ = await service.send("POST", "/invoices", invoice(service, lines=lines))
    _, then, _ = await service.send("POST", "/invoices", invoice(service, lines=lines, tax_point_on="2020-08-01"))
    assert [(told["net"], told["tax"]) for told in (now_, then)] == [("50.00", "9.50"), ("50.00", "8.00")]


async def test_customers_are_sealed_changed_and_erased(service: Service) -> None:
    body = {"name": "Jane Doe", "email": "jane@example.org", "address": {"city": "Berlin", "country": "DE"}}
    status, made, _ = await service.send("POST", "/customers", body)
    assert (status, made["name"], made["address"]) == (201, "Jane Doe", {"city": "Berlin", "country": "DE"}), made
    stored = await service.acme.one("select sealed, name_hash from customers where id = $1", made["id"])
    assert b"Jane" not in stored["sealed"] + stored["name_hash"]
    _, listed, _ = await service.send("GET", "/customers?name=jane%20DOE")
    assert [each["id"] for each in listed["items"]] == [made["id"]]
    patch = {"email": "new@example.org", "expected_version": 1}
    _, patched, _ = await service.send("PATCH", f"/customers/{made['id']}", patch)
    assert (patched["email"], patched["name"], patched["version"]) == ("new@example.org", "Jane Doe", 2)
    assert (await service.send("PATCH", f"/customers/{made['id']}", patch))[0] == 409
    _, erased, _ = await service.send("POST", f"/customers/{made['id']}/erase")
    assert (erased["name"], erased["email"], erased["erased_at"] is not None) == (None, None, True)
    status, refused, _ = await service.send("POST", "/invoices", invoice(service, customer=made["id"]))
    assert (status, refused["code"]) == (422, "unknown-customer")


async def test_lists_go_on_with_their_cursors(service: Service) -> None:
    for _ in range(3):
        await service.send("POST", "/invoices", invoice(service))
    _, first, _ = await service.send("GET", "/invoices?limit=2&status=issued")
    _, rest, _ = await service.send("GET", f"/invoices?limit=2&cursor={first['next_cursor']}")
    numbers = [each["number"] for each in first["items"] + rest["items"]]
    assert (numbers, rest["next_cursor"]) == ([f"2026-00000{place}" for place in (1, 2, 3)], None)


async def test_another_organization_sees_and_touches_nothing(service: Service) -> None:
    _, told, _ = await service.send("POST", "/invoices", invoice(service))
    other = service.headers(organization="other")
    assert (await service.send("GET", f"/invoices/{told['id']}", None, other))[0] == 404
    assert (await service.send("GET", "/invoices", None, other))[1]["items"] == []
    for path in ("void", "issue", "write-off"):
        status, refused, _ = await service.send("POST", f"/invoices/{told['id']}/{path}", {}, other)
        assert (status, refused["code"]) == (404, "unknown-invoice"), path
    status, refused, _ = await service.send("POST", "/payments", {"invoice_id": told["id"], "amount": "1"}, other)
    assert (status, refused["code"]) == (422, "unknown-invoice")


async def test_a_posting_that_needs_attention_is_seen_and_tried_again(service: Service) -> None:
    await service.send("POST", "/invoices", invoice(service))
    (issue,) = await service.acme.requested()
    await service.acme.answer([refusal(issue["id"])])
    _, listed, _ = await service.send("GET", "/postings?state=needs-attention")
    assert [(each["purpose"], each["rejection"]["code"]) for each in listed["items"]] == [("issue", "unknown-account")]
    status, tried, _ = await service.send("POST", f"/postings/{issue['id']}/retry")
    assert (status, tried["state"]) == (200, "requested"), tried
    assert (await service.send("POST", f"/postings/{UUID(int=7)}/retry"))[0] == 404


async def test_a_whole_life_over_rest(service: Service) -> None:
    _, told, _ = await service.send("POST", "/invoices", invoice(service))
    _, paid, _ = await service.send(
        "POST", "/payments", {"customer": "Acme Corp", "amount": "30.00", "currency": "USD"}
    )
    assert (paid["allocated"], len(paid["allocations"])) == ("30.00", 1), paid
    allocation = paid["allocations"][0]["id"]
    path = f"/payments/{paid['id']}/allocations"
    status, undone, _ = await service.send("DELETE", f"{path}/{allocation}")
    assert (status, undone["undoes"]) == (200, allocation), undone
    assert (await service.send("DELETE", f"{path}/{allocation}"))[0] == 409
    status, placed, _ = await service.send("POST", path, {"invoice_id": told["id"], "amount": "10.00"})
    assert (status, placed["allocated"], placed["unapplied"]) == (201, "10.00", "20.00"), placed
    status, refund, _ = await service.send("POST", f"/payments/{paid['id']}/refunds", {"amount": "25.00"})
    assert (status, refund["from_unapplied"], refund["from_allocated"]) == (201, "20.00", "5.00"), refund
    status, over, _ = await service.send("POST", f"/payments/{paid['id']}/refunds", {"amount": "5.01"})
    assert (status, over["code"]) == (422, "refund-exceeds-payment")
    body = {"invoice_id": told["id"], "amount": "130.50", "reason": "returned"}
    status, note, _ = await service.send("POST", "/credit-notes", body)
    assert (status, note["applied"], note["to_credit"]) == (201, "125.50", "5.00"), note
    _, customer, _ = await service.send("GET", f"/customers/{told['customer']}")
    assert customer["credit"] == [{"ledger": "main", "currency": "USD", "balance": "5.00"}]
    await service.send("POST", "/invoices", invoice(service))
    path = f"/customers/{told['customer']}/credit/apply"
    status, used, _ = await service.send("POST", path, {"currency": "USD"})
    assert (status, used["amount"], used["credit_left"]) == (201, "5.00", "0.00"), used
    await service.acme.post_all()
    states = await service.acme.all("select distinct state from postings")
    assert [row["state"] for row in states] == ["posted"]


ODD_LINE = {"description": "x", "unit_price": "1.00", "tax": VAT}
ODD = [
    ("/invoices", {"customer": "Acme Corp", "total": "0.00", "currency": "USD"}, 201),
    ("/invoices", {"customer": "Acme Corp", "total": "-1.00", "currency": "USD"}, 422),
    ("/invoices", {"customer": "Acme Corp", "total": "9" * 60, "currency": "USD"}, 422),
    ("/invoices", {"customer": "Acme Corp", "total": "1.5", "currency": "JPY"}, 422),
    ("/invoices", {"customer": "Acme Corp", "total": "1", "issued_on": "9999-12-31"}, 422),
    ("/invoices", {"customer": "Acme Corp", "total": "1", "issued_on": "2999-12-31"}, 201),
    ("/invoices", {"customer": "Acme Corp", "lines": [{**ODD_LINE, "quantity": "0"}], "issue": True}, 201),
    ("/invoices", {"customer": "Acme Corp", "lines": [{**ODD_LINE, "quantity": "-2"}], "issue": True}, 422),
    ("/invoices", {"customer": "Acme Corp", "lines": [{**ODD_LINE, "quantity": "9" * 30}], "issue": True}, 422),
    ("/invoices", {"customer": "Acme Corp", "lines": [{**ODD_LINE, "base_quantity": "0"}]}, 422),
    ("/invoices", {"customer": "Acme Corp", "lines": [{**ODD_LINE, "discount_percent": "100.1"}]}, 422),
    ("/invoices", {"customer": "Acme Corp", "lines": [{**ODD_LINE, "allowance": "-0.01"}]}, 422),
    ("/invoices", {"customer": "Acme Corp", "lines": [{**ODD_LINE, "tax": {"category": "S", "rate": "-1"}}]}, 422),
    ("/invoices", {"customer": "Acme Corp", "lines": [{**ODD_LINE, "service_to": "2026-01-01"}]}, 422),
    ("/invoices", {"customer": "Acme Corp", "lines": [ODD_LINE], "discount": "-1.00"}, 422),
    ("/invoices", {"customer": "Acme Corp", "lines": [ODD_LINE], "withholding_percent": "101"}, 422),
    ("/invoices", {"customer": "Acme Corp", "lines": [ODD_LINE] * 1001}, 422),
    ("/invoices", {"customer": "\u0000", "total": "1"}, 422),
    ("/invoices", {"customer": "Acme Corp"}, 422),
    ("/payments", {"amount": "9" * 40, "currency": "USD"}, 422),
    ("/payments", {"amount": "1.00", "currency": "USD", "reference": "RF" * 900}, 201),
    ("/payments", {"amount": "1.00", "currency": "USD", "reference": "a b c " * 300}, 201),
    ("/payments", {"amount": "1.00", "currency": "USD", "customer": "Nobody"}, 422),
    ("/payments", {"amount": 1e300, "currency": "USD"}, 422),
    ("/payments", {"amount": "1.00", "currency": "XBT"}, 422),
    ("/products", {"code": "A", "name": "a", "currency": "USD", "unit_price": "-1"}, 422),
    ("/products", {"code": "A", "name": "a", "currency": "USD", "unit_price": "1", "base_quantity": "0"}, 422),
    ("/tax-rates", {"code": "A", "category": "Q", "rate": "1", "valid_from": "2026-01-01"}, 422),
    ("/tax-rates", {"code": "A", "category": "S", "rate": "1", "valid_from": "2026-01-02", "valid_to": "2026-01-01"},
     422),
    ("/credit-notes", {"invoice_id": str(UUID(int=7)), "reason": "x"}, 422),
    ("/deferrals/run", {"through": "2026-01-01", "ledger": "none"}, 200),
    ("/customers", {"name": " ", "tax_ids": {"VAT": "x"}, "payment_terms_days": 3651}, 422),
]  # fmt: skip


async def test_odd_requests_have_an_answer_each(service: Service) -> None:
    answers = [(path, body, await service.send("POST", path, body)) for path, body, _ in ODD]
    wrong = [
        (path, body, told[0], told[1].get("code"))
        for (path, body, told), (_, _, status) in zip(answers, ODD, strict=True)
        if told[0] != status
    ]
    assert wrong == []
    mapping = "/ledgers/main/account-mapping"
    for body, code in (
        ({"standard": True, "cash_rounding": {"USD": "0.005"}}, "too-many-decimals"),
        ({"mapping": [{"role": "nothing", "account": "X"}]}, "unknown-role"),
        ({"mapping": [{"role": "revenue", "account": "X"}] * 2}, "role-mapped-twice"),
        ({"currencies": ["XBT"]}, "unknown-currency"),
    ):
        status, told, _ = await service.send("PUT", mapping, body)
        assert (status, told["code"]) == (422, code)
    assert (await service.send("PUT", "/ledgers/UPPER/account-mapping", {"standard": True}))[0] == 422


async def test_an_invoice_and_its_payment_may_share_a_client_ref(service: Service) -> None:
    body = {"customer": "Acme Corp", "total": "10.00", "client_ref": "order-7"}
    _, made, _ = await service.send("POST", "/invoices", body)
    _, again, headers = await service.send("POST", "/invoices", body)
    assert (again["id"], headers["Idempotency-Replayed"]) == (made["id"], "true")
    status, paid, _ = await service.send(
        "POST", "/payments", {"invoice_id": made["id"], "amount": "10.00", "client_ref": "order-7"}
    )
    assert (status, paid["payment_id"]) == (201, "order-7"), paid
