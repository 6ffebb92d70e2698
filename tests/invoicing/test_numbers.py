"""Numbers: 1..n without gaps and in the order of commits, whoever issues at once and whatever fails."""

import asyncio
import random
from typing import Any

import asyncpg

from libs.common.clock import now
from libs.common.db import Pool, transaction
from services.invoicing.asking import Asker, Wish, fingerprint_of
from services.invoicing.invoices import make_invoices
from services.invoicing.issuing import IssueQueue
from tests.invoicing.conftest import InvoicingDatabase
from tests.invoicing.trading import Company, company

ISSUES, FAILURES = 200, 50


class BrokenError(Exception):
    """What makes a transaction roll back after its number was drawn."""


async def _issue(acme: Company, place: int, fails: bool) -> None:
    try:
        async with transaction(acme.pool) as connection:
            await make_invoices(connection, acme.sealer, [acme.wish(client_ref=str(place))], now())
            if fails:
                raise BrokenError
    except BrokenError:
        return


async def _watch(dsn: str, seen: list[list[int]], stopping: asyncio.Event) -> None:
    """What every moment shows of the numbers: committed ones alone."""
    connection = await asyncpg.connect(dsn)
    try:
        while not stopping.is_set():
            rows = await connection.fetch("select serial from invoices where serial is not null order by serial")
            seen.append([row["serial"] for row in rows])
            await asyncio.sleep(0.002)
    finally:
        await connection.close()


async def test_200_issues_at_once_with_50_failures_are_numbered_in_the_order_of_commits(
    writer: Pool, receivables: InvoicingDatabase
) -> None:
    acme = await company(writer)
    fails = [place < FAILURES for place in range(ISSUES)]
    random.Random(5).shuffle(fails)
    seen: list[list[int]] = []
    stopping = asyncio.Event()
    watching = asyncio.create_task(_watch(receivables.admin, seen, stopping))
    await asyncio.gather(*(_issue(acme, place, fail) for place, fail in enumerate(fails)))
    stopping.set()
    await watching
    numbers = [row["number"] for row in await acme.all("select number from invoices order by serial")]
    assert numbers == [f"2026-{serial:06d}" for serial in range(1, ISSUES - FAILURES + 1)]
    assert all(snapshot == list(range(1, len(snapshot) + 1)) for snapshot in seen), "a later number was seen first"
    assert len({len(snapshot) for snapshot in seen}) > 1, "nobody looked while numbers were given"


async def test_what_is_refused_draws_no_number(writer: Pool) -> None:
    acme = await company(writer)
    made = await acme.make(acme.wish(), acme.wish(customer="Nobody"), acme.wish(currency="XBT"), acme.wish())
    assert [getattr(each, "code", None) for each in made] == [None, "unknown-customer", "unknown-currency", None]
    assert [row["serial"] for row in await acme.all("select serial from invoices order by serial")] == [1, 2]


async def test_series_and_years_count_for_themselves(writer: Pool) -> None:
    acme = await company(writer)
    later = acme.wish().issued_on
    assert later is not None
    await acme.make(acme.wish(), acme.wish(series="SHOP"), acme.wish(issued_on=later.replace(year=2027)), acme.wish())
    rows = await acme.all("select number from invoices order by number")
    assert [row["number"] for row in rows] == ["2026-000001", "2026-000002", "2027-000001", "SHOP-2026-000001"]


async def test_invoices_that_arrive_together_are_committed_together(writer: Pool) -> None:
    acme = await company(writer)
    queue = IssueQueue(writer, now, acme.sealer)

    async def ask(key: str) -> Any:
        wish = Wish(Asker("demo", "api/alice"), key, fingerprint_of("same"))
        return await queue.ask(wish, acme.wish())

    outcomes = await asyncio.gather(*(ask(str(place)) for place in range(60)))
    assert {outcome.status for outcome in outcomes} == {201}
    rows = await acme.all("select serial, xmin::text as written from invoices order by serial")
    assert [row["serial"] for row in rows] == list(range(1, 61))
    assert len({row["written"] for row in rows}) <= 3


async def test_who_asks_again_after_an_answer_joins_the_next_batch(writer: Pool) -> None:
    acme = await company(writer)
    queue = IssueQueue(writer, now, acme.sealer, linger_s=10)

    async def ask_again_and_again(place: int) -> None:
        for time in range(3):
            await asyncio.sleep(0.003 * place if time else 0)
            wish = Wish(Asker("demo", "api/alice"), f"{place}/{time}", fingerprint_of("same"))
            await queue.ask(wish, acme.wish())

    await asyncio.gather(*(ask_again_and_again(place) for place in range(20)))
    rows = await acme.all("select distinct xmin::text from invoices")
    assert len(rows) == 3


async def test_50_copies_of_one_wish_are_one_invoice(writer: Pool) -> None:
    acme = await company(writer)
    queues = [IssueQueue(writer, now, acme.sealer) for _ in range(5)]
    wish = Wish(Asker("demo", "api/alice"), "the-key", fingerprint_of("same"))
    asked = [queues[place % 5].ask(wish, acme.wish()) for place in range(50)]
    outcomes = await asyncio.gather(*asked)
    assert len({outcome.body for outcome in outcomes}) == 1
    assert sum(not outcome.replayed for outcome in outcomes) == 1
    assert (await acme.one("select count(*) as n from invoices"))["n"] == 1
    other = await queues[0].ask(wish._replace(fingerprint=fingerprint_of("other")), acme.wish())
    assert other.rejection is not None
    assert (other.status, other.rejection.code) == (422, "key-reused-with-other-content")
