"""What settles an invoice beside payments, and promised refunds, over REST: each with its entry, and all ties out."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import asyncpg
import pytest

from libs.common.clock import now
from libs.common.db import Pool, transaction
from libs.common.events_invoicing import INVOICE_CREDITED, INVOICING
from services.invoicing.payments import Recorded
from tests.invoicing.bookkeeping_story import Books
from tests.invoicing.conftest import InvoicingDatabase
from tests.invoicing.hearing import execute
from tests.invoicing.paying import tell, told
from tests.invoicing.serving import Service, invoicing_service
from tests.invoicing.trading import payment

TERMS = {"percent": "2", "within_days": 10}
LINES = [
    {"description": "Work", "unit_price": "83.33", "tax": {"category": "S", "rate": "20"}},
    {"description": "Books", "unit_price": "19.05", "tax": {"category": "S", "rate": "5"}},
]
"""100.00 and 20.00 with their taxes: 120.00."""


@pytest.fixture
async def service(writer: Pool, receivables: InvoicingDatabase, tmp_path: Path) -> AsyncIterator[Service]:
    async with invoicing_service(writer, receivables, tmp_path) as running:
        yield running


async def invoice(service: Service, **more: Any) -> dict[str, Any]:
    """An invoice over 120.00 with two taxes, 2 % off within ten days of 2026-03-02."""
    body = {
        "customer": "Acme Corp", "currency": "USD", "issued_on": "2026-03-02", "lines": LINES, "issue": True,
        "early_payment": TERMS, **more,
    }  # fmt: skip
    status, made, _ = await service.send("POST", "/invoices", body)
    assert (status, made["total"]) == (201, "120.00"), made
    return dict(made)


async def did(service: Service, path: str, body: Any = None, status: int = 201) -> dict[str, Any]:
    """What a command answers; its status is as expected."""
    found, answer, _ = await service.send("POST", path, {} if body is None else body)
    assert found == status, answer
    return dict(answer)


async def amounts(service: Service, id_: str) -> tuple[str, str, str, str]:
    _, read, _ = await service.send("GET", f"/invoices/{id_}")
    return read["status"], read["paid"], read["credited"], read["open"]


async def sums(service: Service) -> dict[str, int]:
    """What the movements of each role come to."""
    rows = await service.acme.all("select role, sum(amount) as amount from movements group by role")
    return {row["role"]: int(row["amount"]) for row in rows if row["amount"]}


async def tied(service: Service) -> None:
    """All of it is posted, and receivables tie out at every sequence."""
    books = Books(service.acme.pool)
    await books.open()
    await books.settle()
    for sequence in range(books.log.sequence + 1):
        proof = await books.proof(sequence)
        assert proof.ties, [row for row in proof.rows if not row.ties]
    assert proof.unposted_count == 0


# --- early payment ----------------------------------------------------------------------------------------------------

PAID = [
    ("in time", "117.60", "2026-03-12", ("paid", "117.60", "2.40", "0.00")),
    ("a day late", "117.60", "2026-03-13", ("part-paid", "117.60", "0.00", "2.40")),
    ("in time, a cent short", "117.59", "2026-03-12", ("part-paid", "117.59", "0.00", "2.41")),
    ("in time, all of it", "120.00", "2026-03-12", ("paid", "120.00", "0.00", "0.00")),
]


@pytest.mark.parametrize(("amount", "on", "expected"), [row[1:] for row in PAID], ids=[row[0] for row in PAID])
@pytest.mark.parametrize("by_hand", [True, False])
async def test_a_payment_takes_its_discount(
    service: Service, amount: str, on: str, expected: tuple[str, ...], by_hand: bool
) -> None:
    made = await invoice(service)
    how = {"invoice_id": made["id"]} if by_hand else {"reference": made["number"], "currency": "USD"}
    await did(service, "/payments", {"amount": amount, "received_on": on, **how})
    assert await amounts(service, made["id"]) == expected
    if expected[2] == "2.40":
        rows = await service.acme.all("select rate, base, amount from discount_taxes order by rate desc")
        assert [(int(row["rate"]), int(row["base"]), int(row["amount"])) for row in rows] == [(20, 167, 33), (5, 38, 2)]
        assert (await sums(service))["tax-due"] == -1727
        types = [dict(each.headers)["ce_type"] for each in await service.acme.told(INVOICING)]
        assert types.count(INVOICE_CREDITED.name.encode()) == 1
    await tied(service)


async def test_a_discount_is_lost_with_its_payment_and_comes_back_with_it(service: Service) -> None:
    made = await invoice(service)
    await tell(service.acme.pool, told("received", "117.60", reference=made["number"]))
    assert await amounts(service, made["id"]) == ("paid", "117.60", "2.40", "0.00")
    await tell(service.acme.pool, told("disputed", "117.60", status="opened"))
    assert await amounts(service, made["id"]) == ("issued", "0.00", "0.00", "120.00")
    assert (await sums(service))["tax-due"] == -1762
    await tell(service.acme.pool, told("disputed", "117.60", status="won"))
    assert await amounts(service, made["id"]) == ("paid", "117.60", "2.40", "0.00")
    row = await service.acme.one("select id from payments")
    _, read, _ = await service.send("GET", f"/payments/{row['id']}")
    backs = [(each["kind"], each["status"], each["from_allocated"]) for each in read["money_back"]]
    assert backs == [("dispute", "won", "117.60")]
    standing = next(each["id"] for each in reversed(read["allocations"]) if each["undoes"] is None)
    path = f"/payments/{row['id']}/allocations"
    assert (await service.send("DELETE", f"{path}/{standing}"))[0] == 200
    assert await amounts(service, made["id"]) == ("issued", "0.00", "0.00", "120.00")
    await did(service, path, {"invoice_id": made["id"]})
    assert await amounts(service, made["id"]) == ("paid", "117.60", "2.40", "0.00")
    note = await did(service, "/credit-notes", {"invoice_id": made["id"], "reason": "all goes back"})
    assert (note["total"], note["tax"], note["to_credit"]) == ("117.60", "17.27", "117.60")
    assert "tax-due" not in await sums(service)
    _, read, _ = await service.send("GET", f"/invoices/{made['id']}")
    kinds = sorted((each["document"], each["kind"]) for each in read["settlements"])
    assert kinds == [("discount", "discount")] * 3 + [("discount", "taken-back")] * 2
    await tied(service)


async def test_a_discount_by_hand(service: Service) -> None:
    made, plain = await invoice(service), await invoice(service, early_payment={"percent": "0", "within_days": 0})
    path = f"/invoices/{made['id']}/discount"
    late = await did(service, path, {"on": "2026-03-13"}, 422)
    assert (late["code"], late["facts"]["until"], late["errors"][0]["pointer"]) == (
        "discount-expired", "2026-03-12", "/on",
    )  # fmt: skip
    over = await did(service, path, {"on": "2026-03-12", "amount": "2.41"}, 422)
    assert (over["code"], over["facts"]["allowed"]) == ("discount-exceeds-terms", "2.40")
    assert (await did(service, f"/invoices/{plain['id']}/discount", None, 422))["code"] == "no-discount-terms"
    part = await did(service, path, {"on": "2026-03-12", "amount": "1.00"})
    assert (part["total"], part["invoice"]["open"]) == ("1.00", "119.00")
    rest = await did(service, path, {"on": "2026-03-12"})
    assert (rest["total"], rest["net"], rest["tax"], rest["invoice"]["open"]) == ("1.40", "1.20", "0.20", "117.60")
    _, read, _ = await service.send("GET", f"/invoices/{made['id']}")
    assert read["early_payment"] == {"percent": "2", "within_days": 10, "until": "2026-03-12", "taken": "2.40"}
    page = f"{service.url}/api/v1/invoices/{made['id']}/document"
    async with aiohttp.ClientSession(headers=service.headers()) as session, session.get(page) as answer:
        assert "2 % less if it is paid by 2026-03-12." in await answer.text()
    back = await did(service, f"/discounts/{part['id']}/take-back", None, 200)
    assert (back["undoes"], back["invoice"]["open"]) == (part["id"], "118.60")
    assert (await did(service, f"/discounts/{part['id']}/take-back", None, 409))["code"] == "already-undone"
    assert (await did(service, f"/discounts/{UUID(int=7)}/take-back", None, 404))["code"] == "unknown-discount"
    await tied(service)


async def test_a_customer_s_terms_are_its_invoices(service: Service) -> None:
    body = {"name": "Bolt Ltd", "early_payment": {"percent": "3.5", "within_days": 8}}
    bolt = await did(service, "/customers", body)
    assert bolt["early_payment"] == body["early_payment"]
    wanted = {"customer": bolt["id"], "currency": "USD", "lines": LINES, "issue": True}
    made = await did(service, "/invoices", wanted)
    _, read, _ = await service.send("GET", f"/invoices/{made['id']}")
    assert (read["early_payment"]["percent"], read["early_payment"]["taken"]) == ("3.5", "0.00")
    none = {"early_payment": {"percent": "0", "within_days": 0}}
    _, patched, _ = await service.send("PATCH", f"/customers/{bolt['id']}", none)
    assert patched["early_payment"] is None
    _, later, _ = await service.send("GET", f"/invoices/{(await did(service, '/invoices', wanted))['id']}")
    assert later["early_payment"] is None
    refused = await did(service, "/invoices", {**wanted, "early_payment": {"percent": "100", "within_days": 1}}, 422)
    assert (refused["code"], refused["errors"][0]["pointer"]) == (
        "discount-terms-out-of-range",
        "/early_payment/percent",
    )


# --- tax withheld -----------------------------------------------------------------------------------------------------


async def test_tax_that_the_customer_withheld(service: Service) -> None:
    made = await invoice(service, withholding_percent="15")
    path = f"/invoices/{made['id']}/withholding"
    over = await did(service, path, {"amount": "120.01"}, 422)
    assert (over["code"], over["facts"]["open"]) == ("allocation-exceeds-open", "120.00")
    taken = await did(service, path, {"certificate": "WHT-2026-17"})
    assert (taken["amount"], taken["certificate"], taken["invoice"]["open"]) == ("15.36", "WHT-2026-17", "104.64")
    assert (await did(service, path, None, 422))["code"] == "amount-not-positive"
    assert (await did(service, f"/invoices/{made['id']}/void", None, 422))["code"] == "void-not-allowed"
    await did(service, "/payments", {"amount": "104.64", "invoice_id": made["id"], "received_on": "2026-04-02"})
    assert await amounts(service, made["id"]) == ("paid", "120.00", "0.00", "0.00")
    back = await did(service, f"/withholdings/{taken['id']}/take-back", None, 200)
    assert (back["undoes"], back["invoice"]["open"]) == (taken["id"], "15.36")
    assert (await did(service, f"/withholdings/{taken['id']}/take-back", None, 409))["code"] == "already-undone"
    assert (await did(service, f"/withholdings/{UUID(int=7)}/take-back", None, 404))["code"] == "unknown-withholding"
    await tied(service)


# --- whose money it is, and what goes back ----------------------------------------------------------------------------


async def test_unapplied_money_gets_its_customer_and_is_kept_promised_and_paid(service: Service) -> None:
    (recorded,) = await service.acme.record(payment("50.00"))
    assert isinstance(recorded, Recorded)
    path = f"/payments/{recorded.row['id']}"
    assert (await did(service, f"{path}/keep-as-credit", None, 422))["code"] == "payer-unknown"
    assert (await did(service, f"{path}/customer", {"customer": "Nobody"}, 422))["code"] == "unknown-customer"
    bolt = await did(service, "/customers", {"name": "Bolt Ltd"})
    assert (await did(service, f"{path}/customer", {"customer": "Bolt Ltd"}, 200))["customer"] == bolt["id"]
    acme = await did(service, f"{path}/customer", {"customer": "Acme Corp"}, 200)
    over = await did(service, f"{path}/keep-as-credit", {"amount": "50.01"}, 422)
    assert (over["code"], over["facts"]["unapplied"]) == ("kept-exceeds-unapplied", "50.00")
    kept = await did(service, f"{path}/keep-as-credit", {"amount": "30.00"}, 200)
    assert (kept["unapplied"], kept["to_credit"]) == ("20.00", "30.00")
    assert (await did(service, f"{path}/customer", {"customer": "Bolt Ltd"}, 422))["code"] == "customer-differs"

    promises, usd = f"/customers/{acme['customer']}/refunds-payable", {"currency": "USD"}
    over = await did(service, promises, {**usd, "amount": "30.01"}, 422)
    assert (over["code"], over["facts"]["balance"]) == ("customer-credit-exceeded", "30.00")
    promised = await did(service, promises, {**usd, "amount": "25.00", "reason": "asked for it"})
    rest = await did(service, promises, {**usd, "payment_id": str(recorded.row["id"])})
    assert (promised["left"], rest["amount"]) == ("25.00", "20.00")
    assert (await sums(service))["refunds-payable"] == -4500
    over = await did(service, f"/refunds-payable/{promised['id']}/pay", {"amount": "25.01"}, 422)
    assert (over["code"], over["facts"]["left"]) == ("refund-exceeds-promised", "25.00")
    paid = await did(service, f"/refunds-payable/{promised['id']}/pay", {"amount": "10.00"}, 200)
    assert (paid["paid"], paid["left"]) == ("10.00", "15.00")
    cancelled = await did(service, f"/refunds-payable/{promised['id']}/cancel", None, 200)
    assert (cancelled["cancelled"], cancelled["left"]) == ("15.00", "0.00")
    assert (await did(service, f"/refunds-payable/{promised['id']}/cancel", None, 409))["code"] == "already-undone"
    assert (await did(service, f"/refunds-payable/{promised['id']}/pay", None, 422))[
        "code"
    ] == "refund-exceeds-promised"
    _, listed, _ = await service.send("GET", "/refunds-payable?left=true")
    assert [each["id"] for each in listed["items"]] == [rest["id"]]
    found = await sums(service)
    assert (found["customer-credit"], found["refunds-payable"], "unapplied-receipts" in found) == (-2000, -2000, False)
    await tied(service)
    _, read, _ = await service.send("GET", f"/refunds-payable/{promised['id']}")
    assert (read["posting"], read["paid"], read["reason"]) == ("posted", "10.00", "asked for it")


@pytest.mark.parametrize("basis", ["accrual", "cash"])
async def test_credit_that_was_used_is_taken_back(service: Service, basis: str) -> None:
    await service.send("PUT", "/ledgers/main/account-mapping", {"standard": True, "tax_basis": basis})
    first, second = await invoice(service), await invoice(service)
    await did(service, "/payments", {"amount": "150.00", "reference": first["number"], "currency": "USD"})
    path, usd = f"/customers/{first['customer']}/credit/apply", {"currency": "USD"}
    used = await did(service, path, usd)
    assert await amounts(service, second["id"]) == ("part-paid", "30.00", "0.00", "90.00")
    before = await sums(service)
    back = await did(service, f"/credit-applications/{used['id']}/take-back", None, 200)
    assert (back["amount"], back["allocations"][0]["undoes"]) == ("30.00", used["allocations"][0]["id"])
    assert await amounts(service, second["id"]) == ("issued", "0.00", "0.00", "120.00")
    assert (await did(service, f"/credit-applications/{used['id']}/take-back", None, 409))["code"] == "already-undone"
    unknown = await did(service, f"/credit-applications/{UUID(int=7)}/take-back", None, 404)
    assert unknown["code"] == "unknown-credit-application"
    await did(service, path, usd)
    assert await sums(service) == before
    await tied(service)


REFUSED = [
    ("a promised refund is paid beyond itself", "update refunds_payable set paid = 5000", "refund_exceeds_promised"),
    ("paid without a payment", "update refunds_payable set paid = 1", "refund_payable_adds_up"),
    ("a payment that the promise does not know",
     "insert into refund_payable_moves select organization, gen_random_uuid(), id, 'paid', 1, null, on_date, now() "
     "from refunds_payable", "refund_payable_adds_up"),
    ("a promise's amount", "update refunds_payable set amount = 1", None),
    ("a discount outside its time",
     "insert into discounts select organization, gen_random_uuid(), ledger, invoice, kind, payment, currency, net, "
     "tax, total, '2027-01-01', on_date, content, undoes, posting, created_at from discounts", "discount_expired"),
    ("a discount above its terms",
     "insert into discounts select organization, gen_random_uuid(), ledger, invoice, kind, payment, currency, net, "
     "tax, total, paid_on, on_date, content, undoes, posting, created_at from discounts", "discount_exceeds_terms"),
    ("a discount without terms",
     "insert into discounts select d.organization, gen_random_uuid(), d.ledger, i.id, kind, payment, d.currency, "
     "d.net, d.tax, 1, paid_on, on_date, d.content, undoes, d.posting, d.created_at from discounts d, invoices i "
     "where i.number = '2026-000002'", "no_discount_terms"),
    ("a discount that stands nowhere",
     "insert into discounts select organization, gen_random_uuid(), ledger, invoice, kind, payment, currency, 1, 0, "
     "1, paid_on, on_date, content, undoes, posting, created_at from discounts", "allocations_add_up"),
    ("a discount taken back in part",
     "insert into discounts select organization, gen_random_uuid(), ledger, invoice, 'taken-back', payment, currency, "
     "1, 0, 1, paid_on, on_date, content, id, posting, created_at from discounts", "undoing_differs"),
    ("terms of what is issued", "update discount_terms set percent = 50", "issued_is_fixed"),
    ("terms gone", "delete from discount_terms", "issued_is_fixed"),
    ("tax withheld that stands nowhere",
     "insert into withholdings select organization, gen_random_uuid(), ledger, id, 'withheld', currency, 1, null, "
     "issued_on, null, 'none', now() from invoices where number = '2026-000002'", "allocations_add_up"),
    ("an allocation that no withholding knows",
     "update invoices set paid = 1, version = 99 where number = '2026-000001'; "
     "insert into allocations select organization, gen_random_uuid(), 'withholding', gen_random_uuid(), id, 1, "
     "issued_on, null, now() from invoices where number = '2026-000001'", "allocations_add_up"),
]  # fmt: skip
"""What is tried with the service's own role, and which constraint refuses it (None: the role has no such right)."""


@pytest.fixture
async def settled(service: Service) -> Service:
    """An invoice with a discount of 1.00 by hand, one without terms, and a promise over 20.00."""
    made = await invoice(service)
    await did(service, f"/invoices/{made['id']}/discount", {"on": "2026-03-12", "amount": "2.00"})
    await invoice(service, early_payment={"percent": "0", "within_days": 0})
    body = {"amount": "140.00", "reference": "2026-000002", "currency": "USD"}
    await did(service, "/payments", body)
    await did(service, f"/customers/{made['customer']}/refunds-payable", {"currency": "USD"})
    return service


@pytest.mark.parametrize(("statement", "constraint"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
async def test_the_database_refuses(settled: Service, statement: str, constraint: str | None) -> None:
    with pytest.raises(asyncpg.PostgresError) as refused:
        async with transaction(settled.acme.pool) as connection:
            await connection.execute(statement)
    if constraint is None:
        assert isinstance(refused.value, asyncpg.InsufficientPrivilegeError), refused.value
    else:
        assert getattr(refused.value, "constraint_name", None) == constraint, refused.value


KEPT = [
    ("a discount gone", "delete from discounts"),
    ("a discount's tax changed", "update discount_taxes set amount = amount + 1"),
    ("a discount's tax gone", "delete from discount_taxes"),
]


@pytest.mark.parametrize("statement", [row[1] for row in KEPT], ids=[row[0] for row in KEPT])
async def test_a_discount_is_kept_as_it_is(settled: Service, receivables: InvoicingDatabase, statement: str) -> None:
    """Whoever asks, the superuser too; a role that may not is refused before."""
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await execute(receivables.admin, statement)
    assert refused.value.constraint_name == "append_only"


async def test_a_draft_s_terms_are_settled_with_its_issue(service: Service) -> None:
    draft = await invoice(service, issue=False)
    await service.acme.pool.execute("update discount_terms set percent = 3")
    assert (await did(service, f"/invoices/{draft['id']}/discount", None, 422))["code"] == "not-issued"
    await did(service, f"/invoices/{draft['id']}/issue", None, 200)
    taken = await did(service, f"/invoices/{draft['id']}/discount", {"on": now().date().isoformat()}, 422)
    assert taken["code"] == "discount-expired"
