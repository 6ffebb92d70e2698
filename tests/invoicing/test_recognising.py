"""Deferred revenue at period ends: by the ledger's calendar, each end once whoever looks, period by period."""

import asyncio
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

import asyncpg
import pytest

from libs.common import metrics
from libs.common.clock import now
from libs.common.db import Pool, transaction
from libs.common.periods import FiscalCalendar
from services.invoicing import facts_store
from services.invoicing.asking import Done
from services.invoicing.catalog import MappingWish, put_mapping
from services.invoicing.credit_notes import LineCredit, NoteWish, issue_credit_note
from services.invoicing.deferral_store import DeferringLedger
from services.invoicing.deferrals import run_deferrals
from services.invoicing.facts_store import Calendar
from services.invoicing.invoice_plans import LineWish
from services.invoicing.posting_requests import retry
from services.invoicing.recognising import Recognising, standing
from services.invoicing.recognition import end_behind, passed_end
from services.invoicing.redrafting import redraft
from services.invoicing.voiding import void_invoice
from tests.invoicing.conftest import InvoicingDatabase
from tests.invoicing.hearing import eventually, execute, running
from tests.invoicing.trading import LEDGER, ORGANIZATION, VAT, Company, body_of, company

MONTHS = FiscalCalendar("01-01")
A_DAY = timedelta(days=1)


def ends(count: int) -> list[date]:
    """The last period ends that have passed, the oldest first."""
    found = [passed_end(MONTHS, now().date())]
    while len(found) < count:
        found.insert(0, passed_end(MONTHS, found[0]))
    return found


def service(since: date, days: int = 365, price: int = 365) -> LineWish:
    """A dollar a day, unless said."""
    return LineWish(
        description="Service", unit_price=Decimal(price), tax=VAT, service_from=since,
        service_to=since + timedelta(days=days - 1),
    )  # fmt: skip


async def calendar(pool: Pool, zone: str = "UTC", cut_off: time = time(0), start: str = "01-01") -> None:
    """The ledger's calendar was heard."""
    async with transaction(pool) as connection:
        await facts_store.store_calendars(connection, [Calendar(ORGANIZATION, LEDGER, zone, cut_off, start)])


async def all_steps(loop: Recognising) -> int:
    """Looks until nothing is due; gives how many deferrals were brought on by a period end."""
    count = 0
    while brought_on := await loop.step():
        count += brought_on
    return count


async def recognised(acme: Company, invoice: UUID | None = None) -> list[tuple[date, int]]:
    """(period end, cents) of what was recognised, one after another."""
    rows = await acme.all(
        "select through_on, amount from recognitions where kind = 'recognised' and ($1::uuid is null or invoice = $1)"
        " order by through_on, invoice",
        invoice,
    )
    return [(row["through_on"], int(row["amount"])) for row in rows]


def lag() -> float:
    return metrics.INVOICING_RECOGNITION_LAG_DAYS._value.get()  # type: ignore[no-any-return]


# --- when a period ends -----------------------------------------------------------------------------------------------

BERLIN, LATE = "Europe/Berlin", time(22)
STANDINGS = [
    # zone, cut-off, year begins, done through, now, the last end that has passed, days of lag
    ("UTC", time(0), "01-01", date(2026, 1, 14), "2026-01-31T23:59Z", date(2025, 12, 31), 0),
    ("UTC", time(0), "01-01", date(2026, 1, 14), "2026-02-01T00:00Z", date(2026, 1, 31), 1),
    ("UTC", time(0), "01-01", date(2026, 1, 31), "2026-02-01T00:00Z", date(2026, 1, 31), 0),
    ("UTC", time(0), "01-01", date(2025, 11, 30), "2026-02-01T00:00Z", date(2026, 1, 31), 32),
    (BERLIN, time(0), "01-01", date(2026, 1, 14), "2026-01-31T23:00Z", date(2026, 1, 31), 1),
    (BERLIN, LATE, "01-01", date(2026, 1, 14), "2026-01-31T21:00Z", date(2026, 1, 31), 1),
    (BERLIN, time(3), "01-01", date(2026, 1, 14), "2026-02-01T01:00Z", date(2025, 12, 31), 0),
    ("UTC", time(0), "04-06", date(2026, 1, 14), "2026-02-05T23:00Z", date(2026, 1, 5), 0),
    ("UTC", time(0), "04-06", date(2026, 1, 14), "2026-02-06T00:00Z", date(2026, 2, 5), 1),
    (None, None, None, date(2026, 1, 14), "2026-02-03T00:00Z", date(2026, 1, 31), 3),
]


@pytest.mark.parametrize(("zone", "cut_off", "start", "through", "at", "passed", "days"), STANDINGS)
def test_how_a_ledger_stands(
    zone: str | None, cut_off: time | None, start: str | None, through: date, at: str, passed: date, days: int
) -> None:
    ledger = DeferringLedger("demo", "main", zone, cut_off, start, through, datetime.fromisoformat(at))
    found = standing(ledger)
    assert (found.passed, found.lag_days) == (("demo", "main", passed), days)
    assert found.is_due is (days > 0 and zone is not None)


# --- what is done then ------------------------------------------------------------------------------------------------


async def test_after_downtime_every_period_end_is_done_once_in_turn(writer: Pool) -> None:
    acme = await company(writer)
    await calendar(writer)
    first, second, third = ends(3)
    issued = first - timedelta(days=9)
    made = await acme.issued(issued_on=issued, lines=(service(issued),))
    await acme.post_all()
    loop = Recognising(writer, now)
    assert await loop.step() == 1
    assert await recognised(acme) == [(first, 1000)]
    assert lag() == (now().date() - first).days
    assert await all_steps(loop) == 2
    assert await recognised(acme) == [
        (first, 1000), (second, 100 * (second - first).days), (third, 100 * (third - second).days),
    ]  # fmt: skip
    assert (await loop.step(), lag()) == (0, 0)
    postings = await acme.all("select * from postings where purpose like 'recognition/%' order by purpose")
    assert [row["purpose"] for row in postings] == [f"recognition/{end}" for end in ends(3)]
    assert {row["document"] for row in postings} == {f"invoice/{made['id']}"}
    told = [body_of(row["value"]) for row in postings]
    assert told[0]["lines"][0]["amount"] == "10.00"
    assert [body["effective_on"] for body in told] == [str(end) for end in ends(3)]


async def test_it_goes_by_itself_until_it_is_stopped(writer: Pool) -> None:
    acme = await company(writer)
    await calendar(writer)
    issued = ends(2)[0]
    await acme.issued(issued_on=issued, lines=(service(issued),))
    woken: list[None] = []
    loop = Recognising(writer, now, wake=lambda: woken.append(None), look_every_s=3600)

    async def all_done() -> bool:
        return [end for end, _ in await recognised(acme)] == ends(2)

    async with running(loop.run):
        await eventually(all_done)
    assert len(woken) == 2


async def test_two_loops_at_once_do_each_period_end_once(writer: Pool) -> None:
    acme = await company(writer)
    await calendar(writer)
    issued = ends(3)[0]
    made = [await acme.issued(issued_on=issued, lines=(service(issued),)) for _ in range(6)]
    loops = [Recognising(writer, now, batch=2) for _ in range(2)]
    counts = await asyncio.gather(*map(all_steps, loops))
    assert sum(counts) == 18
    for each in made:
        assert [end for end, _ in await recognised(acme, each["id"])] == ends(3)
    assert (await acme.one("select count(*) as n from postings where purpose like 'recognition/%'"))["n"] == 18


async def test_what_was_asked_for_before_is_not_recognised_again_at_the_period_s_end(writer: Pool) -> None:
    acme = await company(writer)
    await calendar(writer)
    first, second = ends(2)
    issued = first - timedelta(days=9)
    await acme.issued(issued_on=issued, lines=(service(issued),))
    for through in (first, second - A_DAY):
        async with transaction(writer) as connection:
            assert isinstance(await run_deferrals(connection, ORGANIZATION, LEDGER, through, now()), Done)
    assert await all_steps(Recognising(writer, now)) == 1
    days = (second - first).days
    assert await recognised(acme) == [(first, 1000), (second - A_DAY, 100 * (days - 1)), (second, 100)]
    async with transaction(writer) as connection:
        done = await run_deferrals(connection, ORGANIZATION, LEDGER, second, now())
        assert isinstance(done, Done)
        assert done.body["lines"] == 0


async def test_nothing_is_recognised_before_the_invoice_s_day_and_nothing_of_goods(writer: Pool) -> None:
    acme = await company(writer)
    await calendar(writer)
    first, second = ends(2)
    await acme.issued(issued_on=first + A_DAY, lines=(service(first - timedelta(days=9)),))
    await acme.issued(issued_on=first)
    assert await all_steps(Recognising(writer, now)) == 1
    assert await recognised(acme) == [(second, 100 * (10 + (second - first).days))]


async def test_a_deferral_is_over_with_its_service_and_with_its_invoice(writer: Pool) -> None:
    acme = await company(writer)
    await calendar(writer)
    first = ends(2)[0]
    ended = await acme.issued(issued_on=first - A_DAY, lines=(service(first - A_DAY, days=2, price=2),))
    void = await acme.issued(issued_on=first - A_DAY, lines=(service(first - A_DAY),))
    await acme.post_all()
    async with transaction(writer) as connection:
        assert isinstance(await void_invoice(connection, ORGANIZATION, void["id"], None, now()), Done)
    await all_steps(Recognising(writer, now))
    assert await recognised(acme) == [(first, 200)]
    over = await acme.all("select invoice from deferrals where is_over")
    assert {row["invoice"] for row in over} == {ended["id"]}
    assert await acme.all("select from postings where purpose like 'recognition/%' and document = $1",
                          f"invoice/{void['id']}") == []  # fmt: skip


async def test_by_hand_nothing_comes_by_itself_until_that_is_changed(writer: Pool) -> None:
    acme = await company(writer)
    await calendar(writer)
    issued = ends(2)[0]
    await acme.issued(issued_on=issued, lines=(service(issued),))
    loop = Recognising(writer, now)
    for recognition, done, stands in (("by-hand", 0, 0), ("period-end", 2, 0)):
        wish = MappingWish(standard=True, recognition=recognition)
        async with transaction(writer) as connection:
            told = await put_mapping(connection, ORGANIZATION, LEDGER, wish, now())
            assert isinstance(told, Done)
            assert told.body["recognition"] == recognition
        assert await all_steps(loop) == done
        assert lag() == stands
    assert [end for end, _ in await recognised(acme)] == ends(2)


async def test_until_its_calendar_was_heard_a_ledger_waits_and_the_lag_says_so(writer: Pool) -> None:
    acme = await company(writer)
    end = ends(1)[0]
    await acme.issued(issued_on=end, lines=(service(end),))
    loop = Recognising(writer, now)
    assert (await loop.step(), lag()) == (0, (now().date() - end).days)
    await calendar(writer)
    assert (await all_steps(loop), await recognised(acme)) == (1, [(end, 100)])
    assert (await loop.step(), lag()) == (0, 0)


async def _rate(pool: Pool, rate: str, on: date) -> None:
    await pool.execute(
        "insert into rates (organization, provider, base, counter, rate, rate_on, published_at, known_at, event_source,"
        " event_id) values (null, 'ecb', 'EUR', 'USD', $1::text::numeric, $2, clock_timestamp(), clock_timestamp(),"
        " 'fx', gen_random_uuid()::text)",
        rate,
        on,
    )


async def test_what_waits_for_a_rate_keeps_back_no_other_and_comes_at_its_issue_s_rate(writer: Pool) -> None:
    acme = await company(writer, currencies=["EUR"])
    await calendar(writer)
    end = ends(1)[0]
    abroad = await acme.issued(currency="EUR", issued_on=end, lines=(service(end),))
    at_home = await acme.issued(issued_on=end, lines=(service(end),))
    loop = Recognising(writer, now, batch=1)
    assert await all_steps(loop) == 2
    assert await recognised(acme) == [(end, 100)]
    assert [row["invoice"] for row in await acme.all("select invoice from recognitions")] == [at_home["id"]]
    (why,) = await acme.all("select rejection->>'code' as code from deferrals where rejection is not null")
    assert (why["code"], lag() > 0) == ("rate-missing", True)
    await _rate(writer, "1.2", end)
    (posting,) = await acme.all("select id from postings where state = 'waiting' and purpose = 'issue'")
    async with transaction(writer) as connection:
        assert await retry(connection, ORGANIZATION, posting["id"], now(), redraft) == "requested"
    await _rate(writer, "2", end)  # put right later: what is booked is booked
    await writer.execute("update deferrals set retry_at = now() where retry_at is not null")
    assert await all_steps(loop) == 1
    assert await recognised(acme, abroad["id"]) == [(end, 120)]


async def test_what_the_database_refuses_keeps_back_no_other(writer: Pool, receivables: InvoicingDatabase) -> None:
    acme = await company(writer)
    await calendar(writer)
    end = ends(1)[0]
    made = [await acme.issued(issued_on=end, lines=(service(end),)) for _ in range(3)]
    broken = made[1]["id"]
    await execute(
        receivables.admin,
        "insert into recognitions select 'demo', gen_random_uuid(), 'main', $1, 0, 'recognised', $2, 1, now()",
        broken,
        end,
    )
    loop = Recognising(writer, now)
    assert await all_steps(loop) == 3
    assert await recognised(acme) == [(end, amount) for amount in ((100, 1, 100))]
    (row,) = await acme.all("select invoice, rejection->>'code' as code from deferrals where rejection is not null")
    assert (row["invoice"], row["code"], lag() > 0) == (broken, "guard-refused", True)


async def test_a_credit_note_abroad_takes_what_is_deferred_as_booked(writer: Pool) -> None:
    acme = await company(writer, currencies=["EUR"])
    await calendar(writer)
    end = ends(1)[0]
    await _rate(writer, "0.5", end)
    made = await acme.issued(currency="EUR", issued_on=end, lines=(service(end),))
    await _rate(writer, "3", end)
    await all_steps(Recognising(writer, now))
    assert await recognised(acme) == [(end, 50)]
    wish = NoteWish(
        organization=ORGANIZATION, invoice=made["id"], lines=[LineCredit(1, "100.00", None)], amount=None,
        reason="too much", issued_on=now().date(),
    )  # fmt: skip
    async with transaction(writer) as connection:
        assert isinstance(await issue_credit_note(connection, wish, now()), Done)
    (credited,) = await acme.all("select amount from recognitions where kind = 'credited'")
    assert int(credited["amount"]) == 5000
    async with transaction(writer) as connection:
        await run_deferrals(connection, ORGANIZATION, LEDGER, date(2999, 1, 1), now())
    await acme.post_all()
    (left,) = await acme.all("select sum(amount) as amount from movements where role = 'deferred-revenue'")
    assert int(left["amount"]) == 0


REFUSED = [
    ("recognised for less", "update deferrals set recognised_through = recognised_through - 1", "recognition_falls"),
    ("over no more", "update deferrals set is_over = true; update deferrals set is_over = false", "recognition_falls"),
    ("another end", "update deferrals set ends_on = ends_on + 1", "deferral_is_fixed"),
    ("of another ledger", "update deferrals set ledger = 'x'", "deferral_is_fixed"),
    ("gone", "delete from deferrals", "append_only"),
    ("a refusal that is never tried again", "update deferrals set rejection = '{}'", "refused_is_tried_again"),
    ("another calendar", "update calendars set fiscal_year_start = '02-01'", "append_only"),
    ("a calendar gone", "delete from calendars", "append_only"),
    ("a period end twice", "insert into recognitions select organization, gen_random_uuid(), ledger, invoice, line, "
     "kind, through_on, 1, now() from recognitions", "recognised_once"),
    ("a setting that is none", "update receivables_settings set recognition = 'x'",
     "receivables_settings_recognition_check"),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "constraint"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
async def test_the_database_refuses(
    writer: Pool, receivables: InvoicingDatabase, statement: str, constraint: str
) -> None:
    """Whoever asks, the superuser too."""
    acme = await company(writer)
    await calendar(writer)
    end = ends(1)[0]
    await acme.issued(issued_on=end, lines=(service(end),))
    await all_steps(Recognising(writer, now))
    with pytest.raises(asyncpg.PostgresError) as refused:
        await execute(receivables.admin, statement)
    assert getattr(refused.value, "constraint_name", None) == constraint, refused.value


def test_a_period_end_is_behind_what_is_done() -> None:
    day = date(2026, 1, 1)
    while day < date(2028, 1, 1):
        assert day < end_behind(MONTHS, day) <= day + timedelta(days=31)
        day += A_DAY
