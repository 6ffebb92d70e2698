"""Recurring invoices: set up and changed over REST, made when they are due, each day once whoever looks and dies."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from libs.common.clock import now
from libs.common.db import Pool, transaction
from libs.common.sealing import Sealer
from services.invoicing.catalog import MappingWish, put_mapping
from services.invoicing.customers import CustomerWish, create_customer, erase_customer
from services.invoicing.recurring_api import read_template
from services.invoicing.repeating import Repeating
from tests.invoicing.conftest import InvoicingDatabase
from tests.invoicing.serving import Service, invoicing_service
from tests.invoicing.trading import ORGANIZATION

VAT = {"category": "S", "rate": "20"}
LINES = [{"description": "Hosting", "unit_price": "100.00", "tax": VAT}]
MONTHLY = {"unit": "month", "time_zone": "Europe/Berlin"}


@pytest.fixture
async def service(writer: Pool, receivables: InvoicingDatabase, tmp_path: Path) -> AsyncIterator[Service]:
    """Invoicing's application on a real server."""
    async with invoicing_service(writer, receivables, tmp_path) as running:
        yield running


def ago(months: int, day: int = 31) -> date:
    """A day so many months before this one."""
    today = now().date()
    year, month = divmod(today.year * 12 + today.month - 1 - months, 12)
    following = date(year + (month + 1) // 12, (month + 1) % 12 + 1, 1)
    return min(date(year, month + 1, min(day, 28)) + timedelta(days=max(day - 28, 0)), following - timedelta(days=1))


def wanted(**more: Any) -> dict[str, Any]:
    """A good recurring invoice over 120.00 a month; four of them were due before today."""
    invoice = {"customer": "Acme Corp", "currency": "USD", "lines": LINES, **more.pop("invoice", {})}
    return {"schedule": MONTHLY, "starts_on": str(ago(4)), "count": 4, **more, "invoice": invoice}


async def set_up(service: Service, **more: Any) -> dict[str, Any]:
    """A recurring invoice as its maker is told."""
    status, told, _ = await service.send("POST", "/recurring-invoices", wanted(**more))
    assert status == 201, told
    return dict(told)


def loop_of(service: Service, **more: Any) -> Repeating:
    return Repeating(service.acme.pool, service.acme.sealer, read_template, **more)


async def make_all(service: Service) -> int:
    """Looks until nothing is due; gives how many occurrences there are more."""
    loop, count = loop_of(service), 0
    while made := await loop.step():
        count += made
    return count


async def of(service: Service, path: str) -> Any:
    status, told, _ = await service.send("GET", path)
    assert status == 200, told
    return told


async def test_what_was_missed_is_made_once_each_dated_on_its_own_day(service: Service) -> None:
    told = await set_up(service, payment_terms_days=14, service_period="arrears")
    assert (told["status"], told["next_on"], told["occurrences"]) == ("active", str(ago(4)), 0)
    assert await make_all(service) == 4
    assert await make_all(service) == 0
    listed = (await of(service, f"/recurring-invoices/{told['id']}/occurrences"))["items"]
    days = [ago(months) for months in (4, 3, 2, 1)]
    assert [(row["on"], row["state"], row["invoice"] == row["id"]) for row in listed] == [
        (str(day), "made", True) for day in days
    ]
    for row, day, before in zip(listed, days, [ago(5), *days], strict=False):
        invoice = await of(service, f"/invoices/{row['invoice']}")
        assert (invoice["issued_on"], invoice["due_on"]) == (str(day), str(day + timedelta(days=14)))
        assert (invoice["status"], invoice["total"], invoice["number"]) == ("issued", "120.00", row["number"])
        line = invoice["lines"][0]
        assert (line["service_from"], line["service_to"]) == (str(before), str(day - timedelta(days=1)))
    assert len({row["number"] for row in listed}) == 4
    ended = await of(service, f"/recurring-invoices/{told['id']}")
    assert (ended["status"], ended["next_at"], ended["occurrences"]) == ("ended", None, 4)
    postings = await service.acme.all("select document from postings where purpose = 'issue'")
    assert {row["document"] for row in postings} == {f"invoice/{row['invoice']}" for row in listed}


async def test_drafts_are_left_as_drafts_with_the_day_they_are_for(service: Service) -> None:
    await set_up(service, issue=False, count=1)
    assert await make_all(service) == 1
    (draft,) = (await of(service, "/invoices"))["items"]
    assert (draft["status"], draft["number"], draft["issued_on"]) == ("draft", None, str(ago(4)))


async def test_days_of_long_ago_have_their_invoices_too(service: Service) -> None:
    told = await set_up(service, starts_on="1900-01-01", schedule={"unit": "year", "every": 70}, count=2)
    assert await make_all(service) == 2
    listed = (await of(service, f"/recurring-invoices/{told['id']}/occurrences"))["items"]
    assert [(row["on"], row["state"]) for row in listed] == [("1900-01-01", "made"), ("1970-01-01", "made")]


async def test_what_is_not_due_by_the_database_s_clock_is_not_made(service: Service) -> None:
    tomorrow = str(now().date() + timedelta(days=2))
    told = await set_up(service, starts_on=tomorrow)
    assert await make_all(service) == 0
    shown = await of(service, f"/recurring-invoices/{told['id']}/preview?count=2")
    assert [row["on"] for row in shown["items"]][:1] == [tomorrow]
    assert len(shown["items"]) == 2


async def test_a_preview_says_days_and_instants_as_they_will_be(service: Service) -> None:
    schedule = {"cron": "30 2 28 * *", "time_zone": "Europe/Berlin"}
    told = await set_up(
        service, schedule=schedule, starts_on="2027-03-01", count=None, payment_terms_days=10, service_period="advance"
    )
    shown = (await of(service, f"/recurring-invoices/{told['id']}/preview?count=2"))["items"]
    assert shown == [
        {"on": "2027-03-28", "due_at": "2027-03-28T01:00:00.000000Z", "payable_on": "2027-04-07",
         "service_from": "2027-03-28", "service_to": "2027-04-27"},
        {"on": "2027-04-28", "due_at": "2027-04-28T00:30:00.000000Z", "payable_on": "2027-05-08",
         "service_from": "2027-04-28", "service_to": "2027-05-27"},
    ]  # fmt: skip


async def test_one_that_cannot_be_made_says_why_and_holds_up_nobody(service: Service) -> None:
    acme = service.acme
    async with transaction(acme.pool) as connection:
        done = await create_customer(connection, acme.sealer, ORGANIZATION, CustomerWish(name="Gone Ltd"), now())
        gone = done.body["id"]  # type: ignore[union-attr] # a name is enough for a customer
    erased = await set_up(service, count=2, invoice={"customer": str(gone)})
    unmapped = await set_up(service, count=1, invoice={"ledger": "eu"})
    good = await set_up(service, count=3)
    async with transaction(acme.pool) as connection:
        await erase_customer(connection, acme.sealer, ORGANIZATION, gone, now())
    assert await make_all(service) == 6
    assert (await of(service, f"/recurring-invoices/{good['id']}"))["needs_attention"] == 0
    attention = (await of(service, "/recurring-invoices?needs_attention=true"))["items"]
    assert [(row["id"], row["needs_attention"]) for row in attention] == [(erased["id"], 2), (unmapped["id"], 1)]
    path = f"/recurring-invoices/{unmapped['id']}/occurrences"
    (waiting,) = (await of(service, f"{path}?state=needs-attention"))["items"]
    assert (waiting["rejection"]["code"], waiting["invoice"]) == ("mapping-missing", None)
    status, told, _ = await service.send("POST", f"{path}/{waiting['id']}/retry")
    assert (status, told["code"]) == (422, "mapping-missing"), told
    async with transaction(acme.pool) as connection:
        await put_mapping(connection, ORGANIZATION, "eu", MappingWish(standard=True, functional_currency="USD"), now())
    status, told, _ = await service.send("POST", f"{path}/{waiting['id']}/retry")
    assert (status, told["state"], told["on"]) == (200, "made", str(ago(4))), told
    assert (await of(service, f"/invoices/{told['invoice']}"))["issued_on"] == str(ago(4))
    status, again, _ = await service.send("POST", f"{path}/{waiting['id']}/retry")
    assert (status, again["code"]) == (409, "occurrence-made")
    for row in (await of(service, f"/recurring-invoices/{erased['id']}/occurrences"))["items"]:
        assert (row["state"], row["rejection"]["code"]) == ("needs-attention", "customer-erased")


async def test_what_the_database_refuses_needs_attention_and_the_others_are_made(
    service: Service, receivables: InvoicingDatabase
) -> None:
    good, bad = await set_up(service, count=1), await set_up(service, count=1)
    admin = await asyncpg.connect(receivables.admin)
    await admin.execute("alter table invoice_lines add constraint no_such_price check (unit_price <> 77)")
    changed = "jsonb_set(template, '{lines,0,unit_price}', '\"77\"')"
    await admin.execute(
        f"update recurrences set version = version + 1, template = {changed} where id = $1", UUID(bad["id"])
    )
    await admin.close()
    assert await loop_of(service).step() == 2
    (row,) = (await of(service, f"/recurring-invoices/{bad['id']}/occurrences"))["items"]
    assert (row["rejection"]["code"], row["rejection"]["facts"]) == ("guard-refused", {"guard": "no_such_price"})
    (row,) = (await of(service, f"/recurring-invoices/{good['id']}/occurrences"))["items"]
    assert row["state"] == "made"


async def test_paused_it_leaves_out_what_is_due_unless_it_is_to_catch_up(service: Service) -> None:
    skips, catches = await set_up(service, count=None), await set_up(service, count=None)
    for told in (skips, catches):
        status, paused, _ = await service.send("POST", f"/recurring-invoices/{told['id']}/pause")
        assert (status, paused["status"]) == (200, "paused")
    assert await make_all(service) == 0
    await service.send("POST", f"/recurring-invoices/{skips['id']}/resume")
    _, resumed, _ = await service.send("POST", f"/recurring-invoices/{catches['id']}/resume", {"catch_up": True})
    assert (resumed["status"], resumed["next_on"]) == ("active", str(ago(4)))
    assert await make_all(service) in {4, 5}, "today may be a month's last day"
    after = await of(service, f"/recurring-invoices/{skips['id']}")
    assert (after["status"], after["occurrences"]) in {("active", 0), ("active", 1)}
    assert datetime.fromisoformat(after["next_at"]) > now() - timedelta(days=1)


async def test_cancelled_nothing_comes_of_it_any_more(service: Service) -> None:
    told = await set_up(service)
    status, cancelled, _ = await service.send("POST", f"/recurring-invoices/{told['id']}/cancel")
    assert (status, cancelled["status"], cancelled["next_on"]) == (200, "cancelled", None)
    assert await make_all(service) == 0
    for path, body in (("/resume", {}), ("/pause", None), ("/cancel", None), ("", {"count": 9})):
        method = "POST" if path else "PATCH"
        status, refused, _ = await service.send(method, f"/recurring-invoices/{told['id']}{path}", body)
        assert (status, refused["code"]) == (409, "recurrence-over")
    assert (await of(service, f"/recurring-invoices/{told['id']}/preview"))["items"] == []


async def test_a_change_is_for_what_comes_and_has_its_version(service: Service) -> None:
    told = await set_up(service, starts_on="2027-01-31", count=None)
    path = f"/recurring-invoices/{told['id']}"
    change = {
        "schedule": {"cron": "0 9 5 * *"},
        "invoice": wanted()["invoice"] | {"lines": [LINES[0] | {"quantity": "2"}]},
    }
    status, changed, _ = await service.send("PATCH", path, {**change, "expected_version": told["version"]})
    assert (status, changed["version"], changed["next_on"]) == (200, told["version"] + 1, "2027-02-05"), changed
    assert changed["invoice"]["lines"][0]["quantity"] == "2"
    status, refused, _ = await service.send("PATCH", path, {"issue": False, "expected_version": told["version"]})
    assert (status, refused["code"]) == (409, "version-conflict")
    other = {"invoice": {**wanted()["invoice"], "ledger": "eu"}}
    assert (await service.send("PATCH", path, other))[1]["code"] == "ledger-differs"
    status, ended, _ = await service.send("PATCH", path, {"ends_on": "2027-02-01"})
    assert (status, ended["status"], ended["next_on"]) == (200, "ended", None)
    status, again, _ = await service.send("PATCH", path, {"ends_on": "2027-12-31"})
    assert (status, again["status"], again["next_on"]) == (200, "active", "2027-02-05")


async def test_while_something_is_due_nothing_is_changed_under_it(service: Service) -> None:
    told = await set_up(service)
    status, refused, _ = await service.send("PATCH", f"/recurring-invoices/{told['id']}", {"issue": False})
    assert (status, refused["code"]) == (409, "recurrence-behind")
    await make_all(service)
    status, changed, _ = await service.send("PATCH", f"/recurring-invoices/{told['id']}", {"count": 2})
    assert (status, changed["code"], changed["errors"][0]["pointer"]) == (422, "schedule-never-due", "/count")


BAD = [
    ("a schedule of nothing", {"schedule": {}}, "schedule-invalid", "/schedule"),
    ("a zone that is none", {"schedule": {"unit": "month", "time_zone": "Mars/Base"}}, "schedule-invalid",
     "/schedule/time_zone"),
    ("more than once a day", {"schedule": {"cron": "* * * * *"}}, "schedule-invalid", "/schedule/cron"),
    ("over before it begins", {"ends_on": "2020-01-01"}, "schedule-never-due", "/schedule"),
    ("a date in the invoice", {"invoice": {"due_on": "2026-01-01"}}, "said-beside", "/invoice/due_on"),
    ("issue in the invoice", {"invoice": {"issue": True}}, "said-beside", "/invoice/issue"),
    ("service days of a line", {"invoice": {"lines": [{**LINES[0], "service_from": "2026-01-01"}]}}, "said-beside",
     "/invoice/lines/0"),
    ("a tax said twice", {"invoice": {"lines": [{**LINES[0], "tax": {**VAT, "code": "X"}}]}}, "malformed",
     "/invoice/lines/0/tax/code"),
    ("a customer that nobody is", {"invoice": {"customer": "Nobody"}}, "unknown-customer", "/invoice/customer"),
    ("a line without a price", {"invoice": {"lines": [{"description": "x", "tax": VAT}]}}, "line-incomplete",
     "/invoice/lines/0/unit_price"),
    ("a service period of a total", {"service_period": "advance", "invoice": {"lines": [], "total": "5.00"}},
     "service-period-invalid", "/service_period"),
    ("no count", {"count": 0}, "malformed", "/count"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "code", "pointer"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
async def test_a_bad_one_is_refused_with_its_place(
    service: Service, change: dict[str, Any], code: str, pointer: str
) -> None:
    status, refused, _ = await service.send("POST", "/recurring-invoices", wanted(**change))
    assert (status, refused["code"], refused["errors"][0]["pointer"]) == (422, code, pointer), refused
    assert await service.acme.one("select count(*) from recurrences") == (0,)


async def test_unknown_ones_are_404(service: Service) -> None:
    nobody = "/recurring-invoices/00000000-0000-0000-0000-000000000007"
    for method, path in (("GET", ""), ("GET", "/preview"), ("GET", "/occurrences"), ("POST", "/pause")):
        status, told, _ = await service.send(method, f"{nobody}{path}")
        assert (status, told["code"]) == (404, "unknown-recurring-invoice")
    told = await set_up(service)
    path = f"/recurring-invoices/{told['id']}/occurrences/{told['id']}/retry"
    assert (await service.send("POST", path))[0] == 404


async def test_two_loops_at_once_make_each_day_once(service: Service) -> None:
    for _ in range(6):
        await set_up(service)
    loops = [loop_of(service, batch=3) for _ in range(4)]
    for _ in range(30):
        await asyncio.gather(*(loop.step() for loop in loops))
    await _each_once(service, 24)


async def test_processes_that_are_killed_make_each_day_once(service: Service, receivables: InvoicingDatabase) -> None:
    acme = service.acme
    keys = os.urandom(32), os.urandom(32)
    sealer = Sealer([keys[0]], keys[1])
    async with transaction(acme.pool) as connection:
        done = await create_customer(connection, sealer, ORGANIZATION, CustomerWish(name="Second Ltd"), now())
        customer = done.body["id"]  # type: ignore[union-attr] # a name is enough for a customer
    begin = str(now().date() - timedelta(days=20))
    for _ in range(6):
        await set_up(service, invoice={"customer": str(customer)}, schedule={"unit": "day"}, starts_on=begin, count=15)

    async def start() -> asyncio.subprocess.Process:
        arguments = [receivables.dsns.writer, *(key.hex() for key in keys)]
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.repeating_program", *arguments, stdout=asyncio.subprocess.PIPE
        )

    async def wait_for(enough: int) -> None:
        for _ in range(6_000):
            if await acme.pool.fetchval("select count(*) from occurrences") >= enough:
                return
            await asyncio.sleep(0.01)

    running = [await start(), await start()]
    for enough in (15, 40):
        await wait_for(enough)
        running[0].send_signal(signal.SIGKILL)
        await running[0].wait()
        running = [running[1], await start()]
    await wait_for(90)
    for process in running:
        process.kill()
        await process.wait()
    await _each_once(service, 90)


async def _each_once(service: Service, count: int) -> None:
    rows = await service.acme.all("select recurrence, on_date, invoice from occurrences where state = 'made'")
    assert len(rows) == len({(row["recurrence"], row["on_date"]) for row in rows}) == count
    assert len({row["invoice"] for row in rows}) == count
    made = await service.acme.all("select id, issued_on, serial from invoices order by year, serial")
    assert {(row["id"], row["issued_on"]) for row in made} == {(row["invoice"], row["on_date"]) for row in rows}
    for year in {row["issued_on"].year for row in made}:
        serials = [row["serial"] for row in made if row["issued_on"].year == year]
        assert serials == list(range(1, len(serials) + 1))


GUARDED = [
    ("a second occurrence of a day", "insert into occurrences select organization, gen_random_uuid(), recurrence, "
     "on_date, due_at, null, null, 'needs-attention', null, '{}', created_at, null from occurrences limit 1",
     "one_occurrence_a_day"),
    ("an occurrence that is none yet", "insert into occurrences select organization, gen_random_uuid(), id, "
     "next_on, next_at, null, null, 'needs-attention', null, '{}', now(), null from recurrences where next_on is not "
     "null", "occurrence_out_of_turn"),
    ("an occurrence without its invoice", "update occurrences set state = 'needs-attention', invoice = null, "
     "made_at = null, rejection = '{}'", "occurrence_made"),
    ("an occurrence gone", "delete from occurrences", None),
    ("a count taken back", "update recurrences set due_count = 0, last_on = null", "occurrence_out_of_turn"),
    ("a day left out", "update recurrences set due_count = due_count + 1, last_on = next_on + 1, next_on = next_on + 9",
     "occurrence_out_of_turn"),
    ("a change without a version", "update recurrences set issue = not issue", "version_conflict"),
    ("another customer", "update recurrences set customer = gen_random_uuid(), version = version + 1",
     "recurrence_is_fixed"),
    ("due before what was", "update recurrences set next_on = last_on - 1, version = version + 1",
     "next_follows_last"),
    ("over and due", "update recurrences set status = 'ended', version = version + 1", "next_while_it_runs"),
    ("cancelled and back", "update recurrences set status = 'cancelled', next_on = null, next_at = null; "
     "update recurrences set status = 'active', next_on = '2030-01-01', next_at = now()", "recurrence_over"),
]  # fmt: skip


async def test_the_database_refuses(service: Service) -> None:
    await set_up(service, count=None)
    assert await loop_of(service).step() == 1
    async with service.acme.pool.acquire() as connection:
        for what, statement, constraint in GUARDED:
            with pytest.raises(asyncpg.PostgresError) as refused:
                await connection.execute(statement)
            if constraint is None:
                assert isinstance(refused.value, asyncpg.InsufficientPrivilegeError), what
            else:
                assert getattr(refused.value, "constraint_name", None) == constraint, (what, refused.value)


async def test_a_look_has_the_database_s_time(service: Service) -> None:
    await set_up(service, count=1)
    before = await service.acme.pool.fetchval("select now()")
    await make_all(service)
    row = await service.acme.one("select created_at, made_at from occurrences")
    assert before <= row["created_at"] == row["made_at"] <= datetime.now(UTC) + timedelta(minutes=1)
