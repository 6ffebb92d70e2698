"""Closing on the real books: no path into a closed month, a year's end and back, races, and what is told of it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import pytest

from libs.common.db import Pool, create_pool
from libs.common.journal import EntryRequest, LedgerRequest, ReversalRequest, TransferRequest
from libs.common.periods import DayClose, PeriodStep, YearStep
from services.ledger import period_reads, reads
from services.ledger.commands import Books, ask_step, open_ledger
from services.ledger.state import Ledger
from services.ledger.verify import verify
from tests.ledger.asking import ASKER, PERMITTED, account, entry, open_accounts, step, take, tell, wish
from tests.ledger.conftest import LedgerDatabase
from tests.ledger.test_races import contenders

__all__ = ["contenders"]

JANUARY = date(2025, 1, 15)


@pytest.fixture
async def auditor(database: LedgerDatabase) -> AsyncIterator[Pool]:
    """A pool of the role that proves."""
    pool = await create_pool(database.dsns.auditor, name="ledger-auditor", max_size=1)
    try:
        yield pool
    finally:
        await pool.close()


@pytest.fixture
async def reader(database: LedgerDatabase) -> AsyncIterator[Pool]:
    """A pool of the role that reads under row-level security."""
    pool = await create_pool(database.dsns.reader, name="ledger-reader", max_size=1)
    try:
        yield pool
    finally:
        await pool.close()


def sale(amount: str = "1.00", on: date = JANUARY, **more: Any) -> EntryRequest:
    """Cash for a sale."""
    return entry(f"CASH debit {amount}", f"SALES credit {amount}", effective_on=on, **more)


async def open_shop(books: Books) -> None:
    """Accounts of a shop."""
    await open_accounts(
        books,
        account("CASH"),
        account("SALES", "income"),
        account("RENT", "expense"),
        account("RE", "equity"),
        account("BANK-EUR", currency="EUR"),
        account("FEES-EUR", "income", "EUR"),
    )


async def balances(books: Books) -> dict[str, int]:
    """Debits less credits of every account that is not zero."""
    async with books.pool.acquire() as connection:
        rows = await connection.fetch(
            "select a.code, b.debits - b.credits as balance from balances b join accounts a on a.no = b.account_no"
        )
    return {row["code"]: int(row["balance"]) for row in rows if row["balance"]}


async def code_of(books: Books, request: Any, **more: Any) -> str:
    """The rejection's code, or `posted`."""
    answer = await tell(books, request, **more)
    return answer.rejection.code if answer.rejection is not None else "posted"


async def test_no_request_changes_a_closed_month(books: Books, auditor: Pool) -> None:
    await open_shop(books)
    posted = await tell(books, sale("10.00"))
    assert posted.body is not None
    await take(books, PeriodStep(period="2025-01", step="close"))
    for asker in (ASKER, PERMITTED):
        assert await code_of(books, sale(), asker=asker) == "period-closed"
        assert await code_of(books, sale(kind="opening"), asker=asker) == "period-closed"
        back = ReversalRequest(entry_id=posted.body["id"], effective_on=JANUARY)
        assert await code_of(books, back, asker=asker) == "period-closed"
        moved = TransferRequest(source="CASH", target="RENT", amount="1.00", effective_on=JANUARY)
        assert await code_of(books, moved, asker=asker) == "period-closed"
        assert await code_of(books, sale(), asker=asker, dry_run=True) == "period-closed"
    assert await balances(books) == {"CASH": 1000, "SALES": -1000}
    moved_on = await tell(books, sale("2.00", if_closed="next-open-day"))
    assert moved_on.body is not None
    assert (moved_on.body["effective_on"], moved_on.body["value_on"]) == ("2025-02-01", "2025-01-15")
    assert (await verify(auditor, await books.get("demo", "main"))).ok


async def test_a_year_is_closed_in_one_statement_and_reopened_in_one(books: Books, auditor: Pool) -> None:
    await open_shop(books)
    await tell(books, sale("100.00", date(2025, 11, 3)))
    await tell(books, entry("RENT debit 30.00", "CASH credit 30.00", effective_on=date(2025, 12, 31)))
    await tell(books, entry("BANK-EUR debit 7.00", "FEES-EUR credit 7.00", effective_on=date(2025, 12, 1)))
    await tell(books, sale("5.00", date(2026, 1, 2)))
    before = await balances(books)
    await take(books, PeriodStep(period="2025-11", step="close"), DayClose(day=date(2026, 1, 3)))
    close = YearStep(year=2025, step="close", retained_earnings="RE")
    closed = await step(books, close, "year")
    assert closed.body is not None
    assert (closed.body["type"], len(closed.body["entries"])) == ("year-closed", 2)
    assert closed.body["closed_through"] == "2025-12-31"
    assert await balances(books) == {
        "CASH": 7500, "BANK-EUR": 700, "SALES": -500, "RE": -7000, "RE-EUR": -700
    }  # fmt: skip
    again = await step(books, close, "year")
    assert (again.replayed, again.body) == (True, closed.body)
    stands = await step(books, close)
    assert (stands.replayed, stands.body) == (False, closed.body)
    reopened = await step(books, YearStep(year=2025, step="reopen", reason="audit"), "back")
    assert reopened.body is not None
    assert (reopened.body["type"], reopened.body["entries"]) == ("year-reopened", closed.body["entries"])
    assert await balances(books) == before
    assert (await step(books, YearStep(year=2025, step="reopen", reason="audit"), "back")).body == reopened.body
    await tell(books, sale("1.00", date(2025, 12, 30)), asker=PERMITTED)
    second = await take(books, close)
    assert second.body is not None
    assert len(second.body["entries"]) == 2
    report = await verify(auditor, await books.get("demo", "main"), slice_records=3)
    assert report.ok, report


async def test_a_year_end_of_many_accounts_is_several_entries(books: Books, auditor: Pool) -> None:
    await open_shop(books)
    count = 1_100
    await asyncio.gather(*(tell(books, account(f"X{number}", "expense")) for number in range(count)))
    lines = [f"X{number} debit 0.0{1 + number % 9}" for number in range(count)]
    for some in (lines[:600], lines[600:]):
        total = sum(int(line[-1]) for line in some)
        await tell(books, entry(*some, f"CASH credit {total / 100:.2f}", effective_on=date(2025, 12, 5)))
    closed = await take(books, YearStep(year=2025, step="close", retained_earnings="RE"))
    assert closed.body is not None
    assert len(closed.body["entries"]) == 2
    left = await balances(books)
    assert (set(left), left["CASH"] + left["RE"]) == ({"CASH", "RE"}, 0)
    await take(books, YearStep(year=2025, step="reopen", reason="more bills"))
    assert len(await balances(books)) == count + 1
    assert (await verify(auditor, await books.get("demo", "main"))).ok


async def test_a_close_that_races_postings_lets_none_in_behind_it(contenders: list[Books], auditor: Pool) -> None:
    """Whoever posts reads another cache than whoever closes; the statement and the row lock decide."""
    closing, *posting = contenders
    await open_shop(closing)
    await tell(closing, sale())
    stop = asyncio.Event()

    async def post(books: Books) -> list[str]:
        codes = []
        while not stop.is_set():
            codes.append(await code_of(books, sale()))
        return codes

    running = [asyncio.create_task(post(books)) for books in posting[:2]]
    try:
        await asyncio.sleep(0.2)
        closed = await take(closing, PeriodStep(period="2025-01", step="close"))
        await asyncio.sleep(0.2)
        await take(closing, PeriodStep(period="2025-01", step="reopen", reason="x"))
    finally:
        stop.set()
    codes = [code for told in await asyncio.gather(*running) for code in told]
    assert {"posted", "period-closed"} <= set(codes) <= {"posted", "period-closed", "day-closed"}
    async with closing.pool.acquire() as connection:
        late = await connection.fetchval(
            "select count(*) from entries where sequence > $1 and effective_on = $2", closed.sequence, JANUARY
        )
    assert late == 0
    assert (await verify(auditor, await closing.get("demo", "main"))).ok


async def test_two_who_close_at_once_close_once(contenders: list[Books], auditor: Pool) -> None:
    await open_shop(contenders[0])
    await tell(contenders[0], sale())
    answers = await asyncio.gather(*(step(books, PeriodStep(period="2025-01", step="close")) for books in contenders))
    assert len({answer.sequence for answer in answers}) == 1
    assert (await verify(auditor, await contenders[0].get("demo", "main"))).ok


async def test_a_day_s_versions_and_how_the_months_stand(books: Books, reader: Pool) -> None:
    await open_shop(books)
    await tell(books, sale())
    first = await take(books, DayClose(day=date(2025, 1, 20)))
    second = await tell(books, sale(), asker=PERMITTED)
    await tell(books, sale(on=date(2025, 1, 18)), asker=PERMITTED)
    await take(books, PeriodStep(period="2025-01", step="close"))
    ledger = await books.get("demo", "main")
    async with reads.as_reader(reader, "demo", ledger) as connection:
        day = await period_reads.read_day(connection, ledger, date(2025, 1, 16), 0, 10)
        open_day = await period_reads.read_day(connection, ledger, date(2025, 2, 1), 0, 10)
        later = await period_reads.read_day(connection, ledger, date(2025, 1, 16), 1, 1)
        periods = await period_reads.read_periods(connection, ledger, date(2025, 3, 3))
    assert (day["status"], day["versions"]) == (
        "closed",
        [{"version": 1, "sequence": first.sequence}, {"version": 2, "sequence": second.sequence}],
    )
    assert (later["versions"], later["next_after"]) == ([{"version": 2, "sequence": second.sequence}], 2)
    assert (open_day["status"], open_day["versions"]) == ("open", [])
    stand = [(row["period"], row["status"], row["actor"]) for row in periods["items"]]
    assert stand == [("2025-01", "closed", "alice"), ("2025-02", "open", None), ("2025-03", "open", None)]


async def test_a_close_check_says_what_is_unfinished(books: Books, reader: Pool) -> None:
    await open_shop(books)
    await open_accounts(books, account("TILL", reconcilable=True))
    await tell(books, entry("BANK-EUR debit 7.00", "FEES-EUR credit 7.00", effective_on=JANUARY))
    await tell(books, entry("TILL debit 7.00", "SALES credit 7.00", effective_on=date(2025, 12, 2)))
    ledger = await books.get("demo", "main")
    assert await statuses(reader, ledger, "2025-01", date(2025, 1, 31)) == {
        "period-ended": "blocking", "revaluation": "warning"
    }  # fmt: skip
    assert await statuses(reader, ledger, "2025-12", date(2026, 1, 1), 3) == {
        "earlier-periods": "blocking",
        "requests-waiting": "warning",
        "revaluation": "warning",
        "reconciliation": "warning",
        "year-end": "warning",
    }


async def test_a_close_check_says_what_it_cannot_know(books: Books, reader: Pool) -> None:
    """Whatever the ledger's own books say, what other services know is not known here, and no `ok` hides that."""
    await open_shop(books)
    await open_accounts(books, account("TILL", reconcilable=True))
    ledger = await books.get("demo", "main")
    for moved in (False, True):
        if moved:
            await tell(books, entry("TILL debit 7.00", "SALES credit 7.00", effective_on=JANUARY))
        async with reads.as_reader(reader, "demo", ledger) as connection:
            found = await period_reads.check_period(connection, ledger, "2025-01", date(2025, 2, 1), 0)
        not_known = {check["check"] for check in found["checks"] if check["not_known"] is not None}
        assert not_known == {"requests-waiting", "revaluation", "recognition", "reconciliation"}


async def statuses(reader: Pool, ledger: Ledger, period: str, today: date, waiting: int = 0) -> dict[str, str]:
    """The checks that are not ok."""
    async with reads.as_reader(reader, "demo", ledger) as connection:
        found = await period_reads.check_period(connection, ledger, period, today, waiting)
    assert found["closable"] == all(check["status"] != "blocking" for check in found["checks"])
    return {check["check"]: check["status"] for check in found["checks"] if check["status"] != "ok"}


async def test_months_begin_with_the_fiscal_year_s_day(books: Books) -> None:
    request = LedgerRequest(code="uk", name="UK", fiscal_year_start="04-06", retained_earnings="RE")
    await open_ledger(books, request, ASKER, None)
    ledger = await books.get("demo", "uk")
    for opened in (account("CASH"), account("SALES", "income"), account("RE", "equity")):
        await tell(books, opened, ledger="uk")
    await tell(books, sale("3.00", date(2025, 4, 5)), ledger="uk")
    assert ledger.retained_earnings == "RE"
    answer = await tell(books, sale("4.00", date(2025, 4, 6)), ledger="uk")
    assert answer.rejection is None
    closed = await ask_step(books, ledger, wish(YearStep(year=2024, step="close"), ledger="uk", lookup=True))
    assert closed.body is not None, closed.rejection
    assert (closed.body["closed_through"], closed.body["period"]) == ("2025-04-05", "2024")
    assert await balances(books) == {"CASH": 700, "SALES": -400, "RE": -300}
