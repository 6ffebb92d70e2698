"""Credit notes, write-offs and deferred revenue on a real database: amounts, entries, what is left."""

from datetime import date
from decimal import Decimal
from typing import Any

import orjson
import pytest

from libs.common.clock import now
from libs.common.db import Pool, transaction
from libs.common.errors import Rejection
from services.invoicing.allocations import unallocate
from services.invoicing.asking import Done
from services.invoicing.credit_notes import LineCredit, NoteWish, issue_credit_note
from services.invoicing.deferrals import run_deferrals
from services.invoicing.invoice_plans import LineWish
from services.invoicing.voiding import void_invoice
from services.invoicing.write_offs import reverse_write_off, write_off
from tests.invoicing.trading import DAY, ORGANIZATION, VAT, Company, body_of, company, payment

YEAR = LineWish(
    description="A year of service",
    unit_price=Decimal(365),
    tax=VAT,
    service_from=date(2026, 3, 2),
    service_to=date(2027, 3, 1),
)


async def _credit(acme: Company, invoice: Any, **more: Any) -> Done | Rejection:
    wanted = {
        "organization": ORGANIZATION, "invoice": invoice, "lines": None, "amount": None, "reason": "returned",
        "issued_on": DAY, **more,
    }  # fmt: skip
    async with transaction(acme.pool) as connection:
        return await issue_credit_note(connection, NoteWish(**wanted), now())


async def _invoice(acme: Company) -> tuple[str, int, int]:
    row = await acme.one("select status, credited, open from invoices order by serial limit 1")
    return row["status"], int(row["credited"]), int(row["open"])


@pytest.mark.parametrize("tax_basis", ["accrual", "cash"])
async def test_what_is_given_up_is_not_credited_too(writer: Pool, tax_basis: str) -> None:
    acme = await company(writer, tax_basis)
    made = await acme.issued("120.00")
    async with transaction(writer) as connection:
        given_up = await write_off(connection, ORGANIZATION, made["id"], "72.00", DAY, now())
    assert isinstance(given_up, Done), given_up
    for more, pointer in (({"amount": "48.01"}, "/amount"), ({}, "/lines")):
        refused = await _credit(acme, made["id"], **more)
        assert isinstance(refused, Rejection)
        assert (refused.code, refused.facts["left"], refused.errors[0].pointer) == (
            "credit-exceeds-invoice", "48.00", pointer,
        )  # fmt: skip
    noted = await _credit(acme, made["id"], amount="48.00")
    assert isinstance(noted, Done), noted
    assert (noted.body["applied"], noted.body["to_credit"]) == ("48.00", "0.00")


async def test_an_invoice_whose_paid_and_credited_money_goes_back_is_given_up_on_cash_basis(writer: Pool) -> None:
    acme = await company(writer, "cash")
    made = await acme.issued("120.00")
    await acme.record(payment("120.00", reference="2026-000001"))
    assert isinstance(await _credit(acme, made["id"], amount="30.00"), Done)
    allocation = await acme.one("select id, source_id from allocations where source = 'payment'")
    async with transaction(writer) as connection:
        await unallocate(connection, ORGANIZATION, allocation["source_id"], allocation["id"], DAY, now())
        given_up = await write_off(connection, ORGANIZATION, made["id"], None, DAY, now())
    assert isinstance(given_up, Done), given_up
    drafts = await acme.all("select draft from postings where purpose = 'write_off'")
    lines = orjson.loads(drafts[0]["draft"])["lines"]
    moved = {line["role"]: line["amount"] * (1 if line["side"] == "debit" else -1) for line in lines}
    assert (moved["receivable"], sum(moved.values())) == (-12_000, 0)


async def test_notes_add_up_to_their_invoice_and_the_rest_of_a_paid_one_is_credit(writer: Pool) -> None:
    acme = await company(writer)
    made = await acme.issued("120.00")
    await acme.record(payment("50.00", reference="2026-000001"))
    first = await _credit(acme, made["id"], lines=[LineCredit(1, "25.00", None)])
    assert isinstance(first, Done), first
    assert [first.body[name] for name in ("number", "net", "tax", "total", "applied", "to_credit")] == [
        "CN-2026-000001", "25.00", "5.00", "30.00", "30.00", "0.00",
    ]  # fmt: skip
    assert await _invoice(acme) == ("part-paid", 3000, 4000)
    rest = await _credit(acme, made["id"])
    assert isinstance(rest, Done), rest
    assert [rest.body[name] for name in ("number", "total", "applied", "to_credit")] == [
        "CN-2026-000002", "90.00", "40.00", "50.00",
    ]  # fmt: skip
    assert await _invoice(acme) == ("paid", 7000, 0)
    more = await _credit(acme, made["id"], amount="0.01")
    assert isinstance(more, Rejection)
    assert more.code == "credit-exceeds-invoice"
    await acme.post_all()
    assert {row["posting"] for row in await acme.all("select posting from credit_notes")} == {"posted"}
    sums = await acme.all("select role, sum(amount) as amount from movements group by role")
    assert {row["role"]: int(row["amount"]) for row in sums} == {
        "receivable": 0, "tax-due": 0, "processor-clearing": 5000, "customer-credit": -5000,
    }  # fmt: skip


@pytest.mark.parametrize("state", ["draft", "void"])
async def test_what_is_not_owed_takes_no_credit_note(writer: Pool, state: str) -> None:
    acme = await company(writer)
    made = await acme.issued("120.00", issue=state == "void")
    if state == "void":
        async with transaction(writer) as connection:
            await void_invoice(connection, ORGANIZATION, made["id"], None, now())
    refused = await _credit(acme, made["id"])
    assert isinstance(refused, Rejection)
    assert refused.code == {"draft": "not-issued", "void": "invoice-void"}[state]


async def test_a_write_off_is_taken_back_once(writer: Pool) -> None:
    acme = await company(writer)
    made = await acme.issued("120.00")
    async with transaction(writer) as connection:
        part = await write_off(connection, ORGANIZATION, made["id"], "20.00", DAY, now())
        assert isinstance(part, Done), part
    assert (part.body["status"], part.body["written_off"], part.body["open"]) == ("part-paid", "20.00", "100.00")
    async with transaction(writer) as connection:
        too_much = await write_off(connection, ORGANIZATION, made["id"], "100.01", DAY, now())
        assert isinstance(too_much, Rejection)
        assert too_much.code == "write-off-exceeds-open"
        whole = await write_off(connection, ORGANIZATION, made["id"], None, DAY, now())
        assert isinstance(whole, Done)
        assert whole.body["status"] == "written-off"
    async with transaction(writer) as connection:
        back = await reverse_write_off(connection, ORGANIZATION, part.body["write_off"]["id"], DAY, now())
        assert isinstance(back, Done), back
        assert (back.body["status"], back.body["open"]) == ("part-paid", "20.00")
    async with transaction(writer) as connection:
        again = await reverse_write_off(connection, ORGANIZATION, part.body["write_off"]["id"], DAY, now())
        assert isinstance(again, Rejection)
        assert again.code == "already-undone"
    await acme.post_all()
    sums = await acme.all("select sum(amount) as amount from movements where role = 'receivable'")
    assert int(sums[0]["amount"]) == 2000


async def test_revenue_of_a_service_is_recognised_by_days_and_each_day_once(writer: Pool) -> None:
    acme = await company(writer)
    made = await acme.issued(lines=(YEAR,))
    assert made["net"] == "365.00"
    outcomes = []
    for through in (date(2026, 3, 31), date(2026, 3, 31), date(2026, 4, 1), date(2030, 1, 1)):
        async with transaction(writer) as connection:
            done = await run_deferrals(connection, ORGANIZATION, "main", through, now())
            assert isinstance(done, Done), done
            outcomes.append(done.body["lines"])
    assert outcomes == [1, 0, 1, 1]
    await acme.post_all()
    rows = await acme.all("select value from postings where purpose like 'recognition/%' order by purpose")
    assert [body_of(row["value"])["lines"][0]["amount"] for row in rows] == ["30.00", "1.00", "334.00"]
    sums = await acme.all("select sum(amount) as amount from movements where role = 'deferred-revenue'")
    assert int(sums[0]["amount"]) == 0


async def test_a_credit_note_takes_what_is_still_deferred_first(writer: Pool) -> None:
    acme = await company(writer)
    made = await acme.issued(lines=(YEAR,))
    async with transaction(writer) as connection:
        await run_deferrals(connection, ORGANIZATION, "main", date(2026, 3, 31), now())
    note = await _credit(acme, made["id"])
    assert isinstance(note, Done), note
    await acme.post_all()
    (row,) = await acme.all("select value from postings where purpose = 'credit_note'")
    debits = {line["account"]: line["amount"] for line in body_of(row["value"])["lines"] if line["side"] == "debit"}
    assert debits == {"2400-DEFERRED": "335.00", "4010-SALES": "30.00", "2100-OUTPUT-VAT": "73.00"}
    async with transaction(writer) as connection:
        done = await run_deferrals(connection, ORGANIZATION, "main", date(2030, 1, 1), now())
        assert isinstance(done, Done)
        assert done.body["lines"] == 0


async def test_a_void_takes_back_what_was_recognised(writer: Pool) -> None:
    acme = await company(writer)
    made = await acme.issued(lines=(YEAR,))
    await acme.post_all()
    async with transaction(writer) as connection:
        await run_deferrals(connection, ORGANIZATION, "main", date(2026, 3, 31), now())
    async with transaction(writer) as connection:
        done = await void_invoice(connection, ORGANIZATION, made["id"], None, now())
        assert isinstance(done, Done), done
    await acme.post_all()
    sums = await acme.all("select role, sum(amount) as amount from movements group by role")
    assert {row["role"]: int(row["amount"]) for row in sums} == {"receivable": 0, "tax-due": 0, "deferred-revenue": 0}
