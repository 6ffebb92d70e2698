"""Dunning over REST: runs and previews, what stops them, fees, letters, and each reminder once whoever runs."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import asyncpg
import orjson
import pytest

from libs.common.clock import now
from libs.common.db import Pool, transaction
from libs.common.events_invoicing import DUNNING_SENT, INVOICING
from services.invoicing.catalog import MappingWish, put_mapping
from services.invoicing.customers import CustomerWish, create_customer, erase_customer
from services.invoicing.dunning import Run, run_dunning
from services.invoicing.payment_effects import apply
from tests.invoicing import paying
from tests.invoicing.conftest import InvoicingDatabase
from tests.invoicing.serving import Service, invoicing_service
from tests.invoicing.trading import LEDGER, ORGANIZATION, payment

TODAY = now().date()
LEVELS = {
    "levels": [
        {"days_after_due": 7, "title": "Reminder", "text": "You may have overlooked this.\n\nPlease pay."},
        {"days_after_due": 21, "title": "Second reminder", "text": "Please pay now.", "fees": {"USD": "5.00"}},
        {"days_after_due": 35, "title": "Final notice", "text": "We will go to court.", "fees": {"USD": "10.00"}},
    ]
}


@pytest.fixture
async def service(writer: Pool, receivables: InvoicingDatabase, tmp_path: Path) -> AsyncIterator[Service]:
    """Invoicing's application on a real server, with three levels in ledger `main`."""
    async with invoicing_service(writer, receivables, tmp_path) as running:
        status, told, _ = await running.send("PUT", "/ledgers/main/dunning-levels", LEVELS)
        assert (status, told["version"], [row["level"] for row in told["levels"]]) == (200, 1, [1, 2, 3])
        yield running


async def overdue(service: Service, days: int, total: str = "120.00", **more: Any) -> dict[str, Any]:
    """An issued invoice that has been overdue for so many days."""
    due_on = TODAY - timedelta(days=days)
    return await service.acme.issued(total, issued_on=due_on - timedelta(days=30), due_on=due_on, **more)


async def run(service: Service, on: date = TODAY, key: str | None = None) -> Any:
    """A run that is done."""
    headers = {"Idempotency-Key": key} if key else None
    status, told, _ = await service.send("POST", "/dunning/run", {"ledger": "main", "on": str(on)}, headers)
    assert status == 200, told
    return told


async def of(service: Service, path: str) -> Any:
    status, told, _ = await service.send("GET", path)
    assert status == 200, told
    return told


async def level(service: Service, invoice: Any) -> int:
    return int((await of(service, f"/invoices/{invoice['id']}"))["dunning_level"])


def raised(told: Any) -> list[tuple[str, int]]:
    return sorted((each["number"], each["level"]) for letter in told["letters"] for each in letter["raised"])


async def test_a_run_raises_what_is_overdue_and_says_so_once(service: Service) -> None:
    late, early, later = await overdue(service, 40), await overdue(service, 3), await overdue(service, 8, "60.00")
    would = await of(service, f"/dunning/preview?on={TODAY}")
    assert (raised(would), would["letters"][0]["id"]) == ([(late["number"], 1), (later["number"], 1)], None)
    assert [await level(service, each) for each in (late, early, later)] == [0, 0, 0], "a preview sends nothing"
    told = await run(service)
    (letter,) = told["letters"]
    assert (raised(told), letter["open"], letter["fee"], letter["fee_invoice"]) == (
        raised(would),
        "300.00",
        "0.00",
        None,
    )
    assert [await level(service, each) for each in (late, early, later)] == [1, 0, 1]
    assert (await of(service, f"/customers/{service.acme.customer}"))["dunning_level"] == 1
    assert (await run(service))["letters"] == []
    said = [
        each for each in await service.acme.told(INVOICING) if ("ce_type", DUNNING_SENT.name.encode()) in each.headers
    ]
    facts = [DUNNING_SENT.adapter.validate_json(each.value or b"") for each in said]
    assert sorted((fact.number, fact.level, fact.sent_on) for fact in facts) == [
        (late["number"], 1, TODAY), (later["number"], 1, TODAY),
    ]  # fmt: skip
    assert {str(fact.invoice_id) for fact in facts} == {str(late["id"]), str(later["id"])}
    assert {(await of(service, f"/invoices/{fact.invoice_id}"))["version"] - fact.version for fact in facts} == {0}


async def test_the_next_level_comes_when_the_levels_are_as_far_apart(service: Service) -> None:
    late = await overdue(service, 40)
    assert [raised(await run(service, TODAY - timedelta(days=ago))) for ago in (30, 29, 17, 16, 3, 2, 0)] == [
        [(late["number"], 1)], [], [], [(late["number"], 2)], [], [(late["number"], 3)], [],
    ]  # fmt: skip
    assert await level(service, late) == 3
    sent = (await of(service, f"/dunning/letters?invoice={late['id']}"))["items"]
    assert [(each["level"], each["title"], each["fee"]) for each in sent] == [
        (1, "Reminder", "0.00"), (2, "Second reminder", "5.00"), (3, "Final notice", "10.00"),
    ]  # fmt: skip


async def test_a_fee_is_an_issued_invoice_of_its_own_that_is_never_raised(service: Service) -> None:
    await overdue(service, 100)
    await run(service, TODAY - timedelta(days=70))
    told = await run(service, TODAY - timedelta(days=50))
    (letter,) = told["letters"]
    fee = await of(service, f"/invoices/{letter['fee_invoice']}")
    assert [fee[name] for name in ("status", "posting", "total", "tax", "open", "number", "issued_on")] == [
        "issued", "requested", "5.00", "0.00", "5.00", letter["fee_number"], str(TODAY - timedelta(days=50)),
    ]  # fmt: skip
    posting = await service.acme.one("select value from postings where document = $1", f"invoice/{fee['id']}")
    lines = orjson.loads(posting["value"])["lines"]
    assert sorted((line["side"], line["amount"]) for line in lines) == [("credit", "5.00"), ("debit", "5.00")]
    shown = await of(service, f"/dunning/letters/{letter['id']}")
    assert (shown["open"], shown["fee"], shown["due"]) == ("120.00", "5.00", "125.00")
    (last,) = (await run(service))["letters"]
    assert last["open"] == "125.00", "the fee is listed"
    assert await level(service, fee) == 0


async def test_paid_it_is_reset_and_begins_anew_when_it_is_open_again(service: Service) -> None:
    late = await overdue(service, 40)
    await run(service, TODAY - timedelta(days=20))
    _, paid, _ = await service.send("POST", "/payments", {"invoice_id": str(late["id"]), "amount": "120.00"})
    assert await level(service, late) == 0
    assert (await of(service, f"/customers/{service.acme.customer}"))["dunning_level"] == 0
    assert (await run(service, TODAY - timedelta(days=1)))["letters"] == []
    status, _, _ = await service.send("DELETE", f"/payments/{paid['id']}/allocations/{paid['allocations'][0]['id']}")
    assert status == 200
    assert raised(await run(service)) == [(late["number"], 1)], "in another round each level is sent once more"


async def test_part_paid_it_stays_and_what_is_open_is_dunned(service: Service) -> None:
    late = await overdue(service, 40)
    await run(service, TODAY - timedelta(days=20))
    await service.send("POST", "/payments", {"invoice_id": str(late["id"]), "amount": "100.00"})
    assert await level(service, late) == 1
    assert (await run(service))["letters"][0]["open"] == "20.00"


async def test_a_run_of_long_ago_sends_what_was_due_then(service: Service) -> None:
    old = await service.acme.issued(issued_on=date(1950, 1, 1), due_on=date(1950, 1, 31))
    assert raised(await run(service, date(1950, 3, 1))) == [(old["number"], 1)]
    assert raised(await of(service, "/dunning/preview?on=1950-03-20")) == [(old["number"], 2)]
    status, told, _ = await service.send("GET", "/dunning/preview?on=0")
    assert (status, told["code"]) == (422, "malformed"), "a day is written out"


async def test_void_or_written_off_it_is_reset(service: Service) -> None:
    void, given_up = await overdue(service, 40), await overdue(service, 41)
    await run(service)
    await service.send("POST", f"/invoices/{void['id']}/void", {})
    await service.send("POST", f"/invoices/{given_up['id']}/write-off", {})
    assert [await level(service, each) for each in (void, given_up)] == [0, 0]


async def test_an_open_dispute_stops_it_until_it_is_settled(service: Service) -> None:
    late = await overdue(service, 40)
    await service.acme.record(payment("120.00", reference=late["number"]))

    async def dispute(status: str) -> None:
        async with transaction(service.acme.pool) as connection:
            assert await apply(connection, [paying.told("disputed", status=status)], now()) == [None]

    await dispute("opened")
    assert (await of(service, f"/invoices/{late['id']}"))["open"] == "120.00"
    told = await run(service)
    assert (told["letters"], [(each["number"], each["reason"]) for each in told["stopped"]]) == (
        [], [(late["number"], "dispute")],
    )  # fmt: skip
    await dispute("lost")
    assert raised(await run(service)) == [(late["number"], 1)]


async def test_a_hold_of_an_invoice_stops_it_until_it_is_released(service: Service) -> None:
    held, other = await overdue(service, 40), await overdue(service, 41)
    status, hold, _ = await service.send("POST", "/dunning/holds", {"invoice_id": str(held["id"]), "reason": "asked"})
    assert (status, hold["kind"], hold["until"]) == (201, "hold", None), hold
    told = await run(service)
    assert (raised(told), [(each["number"], each["reason"]) for each in told["stopped"]]) == (
        [(other["number"], 1)], [(held["number"], "hold")],
    )  # fmt: skip
    assert told["letters"][0]["open"] == "120.00", "what is held is not listed"
    assert len((await of(service, f"/dunning/holds?invoice={held['id']}&active=true"))["items"]) == 1
    assert (await service.send("POST", f"/dunning/holds/{hold['id']}/release"))[0] == 200
    status, again, _ = await service.send("POST", f"/dunning/holds/{hold['id']}/release")
    assert (status, again["code"]) == (409, "hold-released")
    assert raised(await run(service)) == [(held["number"], 1)]


async def test_a_promise_of_a_customer_stops_all_until_its_day_is_over(service: Service) -> None:
    late = await overdue(service, 40)
    until = TODAY - timedelta(days=2)
    promise = {"customer": "Acme Corp", "kind": "promise", "until": str(until)}
    assert (await service.send("POST", "/dunning/holds", promise))[0] == 201
    told = await run(service, until)
    assert ([each["reason"] for each in told["stopped"]], told["letters"]) == (["promise"], [])
    assert raised(await run(service, until + timedelta(days=1))) == [(late["number"], 1)]


async def test_an_erased_customer_is_not_written_to(service: Service) -> None:
    await overdue(service, 40)
    async with transaction(service.acme.pool) as connection:
        await erase_customer(connection, service.acme.sealer, ORGANIZATION, service.acme.customer, now())
    told = await run(service)
    assert ([each["reason"] for each in told["stopped"]], told["letters"]) == (["customer-erased"], [])


async def test_a_letter_whose_fee_cannot_be_made_is_not_sent_and_the_others_are(service: Service) -> None:
    acme = service.acme
    async with transaction(acme.pool) as connection:
        await put_mapping(connection, ORGANIZATION, LEDGER, MappingWish(standard=True, currencies=["EUR"]), now())
    await service.send("PUT", "/ledgers/main/dunning-levels", {"levels": [
        {"days_after_due": 7, "title": "R", "text": "t", "fees": {"USD": "5.00"}}]})  # fmt: skip
    dollars, euros = await overdue(service, 40), await overdue(service, 40, currency="EUR")
    async with transaction(acme.pool) as connection:
        await put_mapping(connection, ORGANIZATION, LEDGER, MappingWish(), now())
    told = await run(service)
    assert (raised(told), [(each["currency"], each["code"]) for each in told["refused"]]) == (
        [(euros["number"], 1)], [("USD", "mapping-missing")],
    )  # fmt: skip
    assert await level(service, dollars) == 0


async def test_the_letter_as_a_document(service: Service) -> None:
    await overdue(service, 40)
    await overdue(service, 5, "60.00")
    await overdue(service, -5, "30.00")
    (sent,) = (await run(service))["letters"]
    url = f"{service.url}/api/v1/dunning/letters/{sent['id']}/document"
    async with aiohttp.ClientSession() as session, session.get(url, headers=service.headers()) as answer:
        text = await answer.text()
        assert (answer.status, answer.content_type) == (200, "text/html")
    for part in ("<h1>Reminder</h1>", "Acme Corp", "<p>Please pay.</p>", "31-60 days overdue", "1-30 days overdue",
                 "Not due yet", 'data-minor="21000" data-part="due"'):  # fmt: skip
        assert part in text, part
    assert "<script" not in text


async def test_runs_at_once_and_the_same_key_send_everything_once(service: Service) -> None:
    for days in range(10, 16):
        async with transaction(service.acme.pool) as connection:
            made = await create_customer(
                connection, service.acme.sealer, ORGANIZATION, CustomerWish(name=f"Customer {days}"), now()
            )
        await overdue(service, days, customer=str(made.body["id"]))  # type: ignore[union-attr] # a name is enough
    answers = await asyncio.gather(*(run(service, key="once") for _ in range(4)), *(run(service) for _ in range(4)))
    ids = [letter["id"] for told in answers[4:] for letter in told["letters"]]
    assert {orjson.dumps(told) for told in answers[:4]} == {orjson.dumps(answers[0])}
    assert len(ids) + len(answers[0]["letters"]) == len({*ids, *(each["id"] for each in answers[0]["letters"])}) == 6
    assert (await service.acme.one("select count(*) from dunning_letters"))[0] == 6
    assert (await service.acme.one("select count(*) from dunning_steps"))[0] == 6


async def test_a_run_beside_another_waits_and_finds_what_it_sent(service: Service) -> None:
    await overdue(service, 40)
    async with transaction(service.acme.pool) as connection:
        wanted = Run(ORGANIZATION, LEDGER, TODAY)
        assert await run_dunning(connection, service.acme.sealer, wanted, now())
        beside = asyncio.create_task(run(service))
        for _ in range(1_000):
            waiting = "select count(*) from pg_locks where not granted and pid <> pg_backend_pid()"
            if await connection.fetchval(waiting):
                break
            await asyncio.sleep(0.01)
        assert not beside.done()
    assert (await beside)["letters"] == []
    assert (await service.acme.one("select count(*) from dunning_steps"))[0] == 1


async def test_a_run_that_dies_leaves_nothing_and_is_done_whole_by_the_next(
    service: Service, receivables: InvoicingDatabase
) -> None:
    for days in (40, 41):
        await overdue(service, days)
    await run(service, TODAY - timedelta(days=20))
    before = await service.acme.one("select count(*), max(serial) from invoices")
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)):
        await _run_and_die(service, receivables)
    assert await service.acme.one("select count(*), max(serial) from invoices") == before
    assert (await service.acme.one("select count(*) from dunning_letters"))[0] == 1
    (letter,) = (await run(service))["letters"]
    assert (len(letter["raised"]), letter["fee"]) == (2, "5.00")
    after = await service.acme.one("select count(*), max(serial) from invoices")
    assert tuple(after) == (before[0] + 1, before[1] + 1)


async def _run_and_die(service: Service, receivables: InvoicingDatabase) -> None:
    """A whole run, whose process is gone before it commits."""
    async with transaction(service.acme.pool) as connection:
        assert await run_dunning(connection, service.acme.sealer, Run(ORGANIZATION, LEDGER, TODAY), now())
        backend = await connection.fetchval("select pg_backend_pid()")
        admin = await asyncpg.connect(receivables.admin)
        await admin.execute("select pg_terminate_backend($1)", backend)
        await admin.close()


BAD = [
    ("no levels in the ledger", "POST", "/dunning/run", {"ledger": "eu"}, 422, "dunning-levels-missing", "/ledger"),
    ("a day to come", "POST", "/dunning/run", {"on": str(TODAY + timedelta(days=9))}, 422, "dunning-ahead", "/on"),
    ("levels that fall", "PUT", "/ledgers/main/dunning-levels", {"levels": LEVELS["levels"][::-1]}, 422,
     "dunning-levels-not-ascending", "/levels/1/days_after_due"),
    ("a level on the due day", "PUT", "/ledgers/main/dunning-levels",
     {"levels": [{"days_after_due": 0, "title": "x", "text": "x"}]}, 422, "malformed", "/levels/0/days_after_due"),
    ("a hold of nothing", "POST", "/dunning/holds", {"reason": "x"}, 422, "hold-of-one", None),
    ("a hold of no invoice", "POST", "/dunning/holds", {"invoice_id": str(UUID(int=7))}, 422, "unknown-invoice",
     "/invoice_id"),
    ("a hold of nobody", "POST", "/dunning/holds", {"customer": "Nobody"}, 422, "unknown-customer", "/customer"),
    ("a promise without a day", "POST", "/dunning/holds", {"customer": "Acme Corp", "kind": "promise"}, 422,
     "promise-without-day", "/until"),
    ("a hold that is none", "POST", f"/dunning/holds/{UUID(int=7)}/release", None, 404, "unknown-dunning-hold", None),
    ("a letter that is none", "GET", f"/dunning/letters/{UUID(int=7)}", None, 404, "unknown-dunning-letter", None),
    ("a document of none", "GET", f"/dunning/letters/{UUID(int=7)}/document", None, 404, "unknown-dunning-letter",
     None),
    ("a preview in seconds", "GET", "/dunning/preview?on=1767225600", None, 422, "malformed", "/on"),
    ("a preview before documents", "GET", "/dunning/preview?on=1899-12-31", None, 422, "malformed", "/on"),
    ("a preview behind documents", "GET", "/dunning/preview?on=3000-01-01", None, 422, "malformed", "/on"),
    ("a fee by no currency", "PUT", "/ledgers/main/dunning-levels",
     {"levels": [{"days_after_due": 1, "title": "x", "text": "x", "fees": {"usd": "1.00"}}]}, 422, "malformed",
     "/levels/0/fees/usd"),
    ("a preview without levels", "GET", "/dunning/preview?ledger=eu", None, 422, "dunning-levels-missing", "/ledger"),
]  # fmt: skip


async def test_what_is_wrong_is_said_with_its_place(service: Service) -> None:
    for what, method, path, body, status, code, pointer in BAD:
        answered, told, _ = await service.send(method, path, body)
        assert (answered, told["code"]) == (status, code), (what, told)
        assert pointer is None or told["errors"][0]["pointer"] == pointer, (what, told)


GUARDED = [
    ("a level without a letter", "update invoices set dunning_level = 3, version = version + 1 where dunning_level = 1",
     "dunning_level_unsent"),
    ("a level taken back", "update invoices set dunning_level = 0, version = version + 1 where dunning_level = 1",
     "dunning_level_unsent"),
    ("another round of what is open", "update invoices set dunning_level = 0, dunning_round = 1, version = version + 1 "
     "where dunning_level = 1", "dunning_level_unsent"),
    ("a level a second time", "insert into dunning_steps select * from dunning_steps", "dunning_step_illegal"),
    ("a step of a draft", "insert into dunning_steps select i.organization, i.id, 0, 1, l.id, l.sent_on "
     "from invoices i, dunning_letters l where i.status = 'draft'", "dunning_step_illegal"),
    ("a letter changed", "update dunning_letters set level = 9", None),
    ("a letter gone", "delete from dunning_letters", None),
    ("a step gone", "delete from dunning_steps", None),
    ("a hold changed", "update dunning_holds set until = '2030-01-01'", None),
    ("a hold released again", "update dunning_holds set released_at = now(); "
     "update dunning_holds set released_at = null", "hold_released"),
]  # fmt: skip


async def test_the_database_refuses(service: Service) -> None:
    late = await overdue(service, 40)
    await service.acme.make(service.acme.wish(issue=False))
    await run(service)
    await service.send("POST", "/dunning/holds", {"invoice_id": str(late["id"])})
    async with service.acme.pool.acquire() as connection:
        for what, statement, constraint in GUARDED:
            with pytest.raises(asyncpg.PostgresError) as refused:
                await connection.execute(statement)
            if constraint is None:
                assert isinstance(refused.value, asyncpg.InsufficientPrivilegeError), what
            else:
                assert getattr(refused.value, "constraint_name", None) == constraint, (what, refused.value)


async def test_another_organization_sees_none_of_it(service: Service) -> None:
    await overdue(service, 40)
    (letter,) = (await run(service))["letters"]
    other = service.headers(organization="other")
    for path in (f"/dunning/letters/{letter['id']}", f"/dunning/letters/{letter['id']}/document"):
        assert (await service.send("GET", path, None, other))[0] == 404
    assert (await service.send("GET", "/dunning/letters", None, other))[1]["items"] == []
    assert (await service.send("GET", "/ledgers/main/dunning-levels", None, other))[1]["levels"] == []
