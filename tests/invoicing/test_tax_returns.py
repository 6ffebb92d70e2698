"""Tax returns: one period after another, frozen when filed, late documents as corrections of the next."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from libs.common.clock import now
from libs.common.db import Pool, transaction
from services.invoicing.asking import Done
from services.invoicing.tax_registrations import Registered
from services.invoicing.tax_returns import ReturnWish, file_return, open_return, register
from services.invoicing.voiding import void_invoice
from tests.invoicing.conftest import InvoicingDatabase
from tests.invoicing.histories import Trader
from tests.invoicing.serving import Service, invoicing_service
from tests.invoicing.trading import LEDGER, ORGANIZATION, Company, company, payment

JANUARY = {"from": "2026-01-01", "to": "2026-01-31"}
FEBRUARY = {"from": "2026-02-01", "to": "2026-02-28"}
NUMBER = {"tax_number": "US-1"}


@pytest.fixture
async def service(writer: Pool, receivables: InvoicingDatabase, tmp_path: Path) -> AsyncIterator[Service]:
    """Invoicing's application on a real server, its ledger registered for tax."""
    async with invoicing_service(writer, receivables, tmp_path) as running:
        body = {**NUMBER, "ledger": "main", "currency": "USD", "valid_from": "2020-01-01"}
        status, told, _ = await running.send("POST", "/tax-numbers", body)
        assert status == 201, told
        yield running


async def opened(service: Service, days: dict[str, str], **more: Any) -> str:
    status, told, _ = await service.send("POST", "/tax-returns", {**NUMBER, **days, **more})
    assert (status, told["state"], told["tax"]) == (201, "open", None), told
    return str(told["id"])


async def filed(service: Service, tax_return: str) -> dict[str, Any]:
    status, told, _ = await service.send("POST", f"/tax-returns/{tax_return}/file")
    assert (status, told["state"], told["filed_by"]) == (200, "filed", "alice"), told
    return dict(told)


async def seen(service: Service, tax_return: str) -> dict[str, Any]:
    status, told, _ = await service.send("GET", f"/tax-returns/{tax_return}")
    assert status == 200, told
    return dict(told)


async def test_what_comes_late_is_a_correction_of_the_next_return(service: Service) -> None:
    first = await service.acme.issued("120.00", issued_on=date(2026, 1, 10))
    january = await opened(service, JANUARY)
    assert [row["number"] for row in (await seen(service, january))["documents"]] == [first["number"]]
    told = await filed(service, january)
    assert (told["base"], told["tax"], told["lines"]) == ("100.00", "20.00", 1)
    late = await service.acme.issued("60.00", issued_on=date(2026, 1, 20))
    own = await service.acme.issued("12.00", issued_on=date(2026, 2, 3))
    february = await opened(service, FEBRUARY)
    await filed(service, february)
    documents = (await seen(service, february))["documents"]
    assert [(row["number"], row["tax"], row["correction"]) for row in documents] == [
        (late["number"], "10.00", True),
        (own["number"], "2.00", False),
    ]
    frozen = await seen(service, january)
    assert (frozen["tax"], [row["number"] for row in frozen["documents"]]) == ("20.00", [first["number"]])
    async with transaction(service.acme.pool) as connection:
        done = await void_invoice(connection, ORGANIZATION, UUID(str(first["id"])), None, now())
    assert isinstance(done, Done)
    assert (await seen(service, january))["tax"] == "20.00"


async def test_a_credit_note_after_filing_is_a_correction(service: Service) -> None:
    invoice = await service.acme.issued("120.00", issued_on=date(2026, 1, 10))
    await filed(service, await opened(service, JANUARY))
    body = {"invoice_id": str(invoice["id"]), "reason": "it broke", "issued_on": "2026-01-31"}
    status, note, _ = await service.send("POST", "/credit-notes", body)
    assert status == 201, note
    (row,) = (await seen(service, await opened(service, FEBRUARY)))["documents"]
    assert (row["kind"], row["number"], row["base"], row["tax"], row["correction"]) == (
        "credit-note", note["number"], "-100.00", "-20.00", True,
    )  # fmt: skip


async def test_a_discount_that_is_told_after_filing_is_a_correction(service: Service) -> None:
    """Also where the payment that took it says it was made long before."""
    invoice = await service.acme.issued("120.00", issued_on=date(2026, 1, 10), early_payment=(Decimal(2), 10))
    await filed(service, await opened(service, JANUARY))
    paid_on, at = date(2026, 1, 12), datetime(2026, 1, 12, 9, tzinfo=UTC)
    await service.acme.record(
        payment("117.60", reference=invoice["number"], received_on=paid_on, created_at=at)
    )  # fmt: skip
    february = await opened(service, FEBRUARY)
    (row,) = (await seen(service, february))["documents"]
    assert (row["kind"], row["number"], row["base"], row["tax"], row["correction"]) == (
        "discount", invoice["number"], "-2.00", "-0.40", True,
    )  # fmt: skip
    await filed(service, february)
    assert (await seen(service, await opened(service, {"from": "2026-03-01", "to": "2026-03-31"})))["documents"] == []


async def test_a_gap_has_its_reason_and_is_corrected_nowhere(service: Service) -> None:
    await filed(service, await opened(service, JANUARY))
    await service.acme.issued("120.00", issued_on=date(2026, 2, 10))
    march = {"from": "2026-03-01", "to": "2026-03-31"}
    status, told, _ = await service.send("POST", "/tax-returns", {**NUMBER, **march})
    assert (status, told["code"], told["facts"]) == (422, "tax-return-gap", {"next_from": "2026-02-01"})
    told = await filed(service, await opened(service, march, gap_reason="the office filed it"))
    assert told["lines"] == 0


async def test_an_open_return_is_taken_back_the_last_one_first(service: Service) -> None:
    january, february = await opened(service, JANUARY), await opened(service, FEBRUARY)
    status, told, _ = await service.send("DELETE", f"/tax-returns/{january}")
    assert (status, told["code"]) == (422, "tax-return-gap")
    for each in (february, january):
        status, told, _ = await service.send("DELETE", f"/tax-returns/{each}")
        assert (status, told["id"]) == (200, each), told
    status, told, _ = await service.send("GET", "/tax-returns")
    assert told == {"items": [], "next_cursor": None}


REFUSED = [
    ({**NUMBER, "from": "2026-01-31", "to": "2026-02-28"}, "tax-return-overlaps", "/from"),
    ({**NUMBER, "from": "2026-02-02", "to": "2026-02-28"}, "tax-return-gap", "/from"),
    ({**NUMBER, "from": "2026-02-28", "to": "2026-02-01"}, "validity-out-of-order", "/to"),
    ({**NUMBER, **FEBRUARY, "basis": "cash"}, "tax-basis-differs", "/basis"),
    ({"tax_number": "XX", **FEBRUARY}, "unknown-tax-number", "/tax_number"),
    ({**NUMBER, **FEBRUARY, "gap_reason": ""}, "malformed", "/gap_reason"),
    ({**NUMBER, "from": "2026-02-01"}, "malformed", "/to"),
]


async def test_returns_that_cannot_be(service: Service) -> None:
    january = await opened(service, JANUARY)
    for body, code, pointer in REFUSED:
        status, told, _ = await service.send("POST", "/tax-returns", body)
        assert (status, told["code"], told["errors"][0]["pointer"]) == (422, code, pointer), told
    february = await opened(service, FEBRUARY)
    status, told, _ = await service.send("POST", f"/tax-returns/{february}/file")
    assert (status, told["code"]) == (409, "earlier-return-open")
    await filed(service, january)
    for method, path in (("POST", f"/tax-returns/{january}/file"), ("DELETE", f"/tax-returns/{january}")):
        status, told, _ = await service.send(method, path)
        assert (status, told["code"]) == (409, "tax-return-filed"), told
    for method, path in (("POST", f"/tax-returns/{UUID(int=7)}/file"), ("GET", f"/tax-returns/{UUID(int=7)}")):
        status, told, _ = await service.send(method, path)
        assert (status, told["code"]) == (404, "unknown-tax-return"), told
    long_ago = await opened(service, {"from": "2026-03-01", "to": "2999-12-31"})
    await filed(service, february)
    status, told, _ = await service.send("POST", f"/tax-returns/{long_ago}/file")
    assert (status, told["code"]) == (422, "tax-period-not-over")


async def test_numbers_that_cannot_be(service: Service) -> None:
    body = {**NUMBER, "ledger": "main", "currency": "USD", "valid_from": "2020-01-01"}
    for change, status, code in (
        ({}, 409, "tax-number-taken"),
        ({"ledger": "eu", "currency": "EUR"}, 422, "tax-currency-differs"),
        ({"ledger": "eu", "currency": "XQX"}, 422, "unknown-currency"),
    ):
        got, told, _ = await service.send("POST", "/tax-numbers", {**body, **change})
        assert (got, told["code"]) == (status, code), told
    _, told, _ = await service.send("GET", "/tax-numbers")
    assert [row["tax_number"] for row in told["items"]] == ["US-1"]


async def test_another_organization_sees_no_return(service: Service) -> None:
    january = await opened(service, JANUARY)
    headers = service.headers("controller", organization="other")
    status, told, _ = await service.send("GET", f"/tax-returns/{january}", headers=headers)
    assert (status, told["code"]) == (404, "unknown-tax-return")
    status, told, _ = await service.send("POST", f"/tax-returns/{january}/file", headers=headers)
    assert (status, told["code"]) == (404, "unknown-tax-return")


async def test_without_a_rate_nothing_is_filed(service: Service) -> None:
    body = {"standard": True, "functional_currency": "USD", "currencies": ["EUR"]}
    await service.send("PUT", "/ledgers/main/account-mapping", body)
    await service.acme.issued("120.00", currency="EUR", issued_on=date(2026, 1, 10))
    january = await opened(service, JANUARY)
    assert (await seen(service, january))["total"]["without_rate"] == 1
    status, told, _ = await service.send("POST", f"/tax-returns/{january}/file")
    assert (status, told["code"]) == (422, "rate-missing")


# --- every line once --------------------------------------------------------------------------------------------------


async def returned(acme: Company, first: date, last: date, at: datetime) -> None:
    at = max(at, datetime.combine(last, time(12), UTC) + timedelta(days=1))
    async with transaction(acme.pool) as connection:
        wish = ReturnWish(tax_number="US-1", from_on=first, to_on=last)
        done = await open_return(connection, ORGANIZATION, wish, now())
        assert isinstance(done, Done), done
    async with transaction(acme.pool) as connection:
        done = await file_return(connection, ORGANIZATION, UUID(done.body["id"]), "alice", at)
        assert isinstance(done, Done), done


@pytest.mark.parametrize("basis", ["accrual", "cash"])
async def test_returns_of_any_history_are_together_the_whole(writer: Pool, basis: str) -> None:
    """Documents of any day come between the filings; in the end every line is on one return, and none is missing."""
    trader = Trader(await company(writer, basis), Random(5))
    async with transaction(writer) as connection:
        await register(connection, ORGANIZATION, Registered(LEDGER, "US-1", "USD", date(2020, 1, 1)), now())
    await trader.begin(2)
    days = [(date(2025, 12, 1), date(2026, 1, 31)), (date(2026, 2, 1), date(2026, 2, 10)),
            (date(2026, 2, 11), date(2026, 3, 31)), (date(2026, 4, 1), date(2026, 11, 1))]  # fmt: skip
    for first, last in days:
        await trader.live(30)
        await returned(trader.company, first, last, trader.at)
    lines = await trader.company.one("select sum(tax) as tax, count(*) from tax_return_lines")
    moved = await trader.company.one(
        """
        select -sum(m.amount) as tax from movements m
        join postings p on p.id = m.posting where m.role = 'tax-due' and p.state <> 'withdrawn'
        """
    )
    assert (lines["tax"], lines["count"] > 20) == (moved["tax"], True)


# --- guards -----------------------------------------------------------------------------------------------------------

LINE = """
    insert into tax_return_lines (organization, tax_return, place, ledger, source, part, kind, document, number,
        tax_point_on, is_correction, category, rate, currency, base, tax, base_reported, tax_reported)
    select 'demo', id, 99, 'main', '{source}', 1, 'invoice', gen_random_uuid(), 'X', '{day}', {correction}, 'S', 20,
        'USD', 1, 1, 1, 1 from tax_returns where from_on = '{of}'
"""
RETURN = """
    insert into tax_returns (organization, id, tax_number, from_on, to_on, basis, currency, state, created_at)
    values ('demo', gen_random_uuid(), 'US-1', '{first}', '2026-03-31', 'accrual', 'USD', '{state}', now())
"""


def line(source: str = "x", day: str = "2026-02-05", correction: str = "false", of: str = "2026-02-01") -> str:
    return LINE.format(source=source, day=day, correction=correction, of=of)


GUARDS = [
    ("a filed return changed", "update tax_returns set tax = 0 where from_on = '2026-01-01'", "tax_return_filed"),
    ("a filed return opened", "update tax_returns set state = 'open' where from_on = '2026-01-01'", "tax_return_filed"),
    ("a filed return removed", "delete from tax_returns where from_on = '2026-01-01'", "tax_return_filed"),
    ("a line put into a filed return", line(day="2026-01-05", of="2026-01-01"), "tax_return_filed"),
    ("a line reported twice", line("invoice/{first}", "2026-01-10", "true"), "reported_once"),
    ("a line after its period", line(day="2026-03-01"), "line_outside_period"),
    ("a correction that is not marked", line(day="2026-01-10"), "line_outside_period"),
    ("a return that overlaps", RETURN.format(first="2026-02-28", state="open"), "tax_return_overlaps"),
    ("a gap without a reason", RETURN.format(first="2026-03-02", state="open"), "tax_return_gap"),
    ("a return that begins filed", RETURN.format(first="2026-03-01", state="filed"), "return_begins_open"),
    ("filed before an earlier one",
     "update tax_returns set state = 'filed', base = 0, tax = 0, filed_at = now(), filed_by = 'x' "
     "where from_on = '2026-03-01'", "earlier_return_open"),
    ("a return in the middle removed", "delete from tax_returns where from_on = '2026-02-01'", "tax_return_gap"),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "constraint"), [row[1:] for row in GUARDS], ids=[row[0] for row in GUARDS])
async def test_the_database_refuses(
    service: Service, receivables: InvoicingDatabase, statement: str, constraint: str
) -> None:
    first = await service.acme.issued("120.00", issued_on=date(2026, 1, 10))
    await filed(service, await opened(service, JANUARY))
    await opened(service, FEBRUARY)
    if "'2026-03-01'" in statement and "update" in statement:
        await opened(service, {"from": "2026-03-01", "to": "2026-03-31"})
    if "delete" in statement and "02-01" in statement:
        await opened(service, {"from": "2026-03-01", "to": "2026-03-31"})
    connection = await asyncpg.connect(receivables.admin)
    try:
        with pytest.raises(asyncpg.IntegrityConstraintViolationError) as caught:
            await connection.execute(statement.replace("{first}", str(first["id"])))
    finally:
        await connection.close()
    assert caught.value.constraint_name == constraint
