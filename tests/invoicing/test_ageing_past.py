"""The ageing through the database, of past days and past knowledge, against adding up one by one."""

from collections.abc import AsyncIterator
from datetime import date, datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from libs.common.db import Connection, Pool, create_pool
from services.invoicing import ageing
from services.invoicing.ageing import Aged, Basis, OpenRow
from services.invoicing.ageing_reads import LAST_PARTY, Asked, page_of_customers, put_back, still_open
from services.invoicing.receivable_reads import as_reader
from tests.invoicing.conftest import InvoicingDatabase
from tests.invoicing.histories import START, Trader
from tests.invoicing.serving import Service, invoicing_service
from tests.invoicing.trading import LEDGER, ORGANIZATION, company

EDGES = (7, 30)


@pytest.fixture
async def service(writer: Pool, receivables: InvoicingDatabase, tmp_path: Path) -> AsyncIterator[Service]:
    """Invoicing's application on a real server."""
    async with invoicing_service(writer, receivables, tmp_path) as running:
        yield running


def one_by_one(trader: Trader, as_of: date, known_at: datetime, basis: Basis) -> list[Aged]:
    rows = [
        OpenRow(str(made.customer), made.currency, amount, made.due_on, made.issued_on)
        for invoice, amount in trader.open_at(as_of, known_at).items()
        if amount
        for made in [trader.made[invoice]]
    ]
    return ageing.buckets(as_of, basis, rows, EDGES)


async def as_of_then(connection: Connection, asked: Asked, known_at: datetime) -> list[Aged]:
    open_ = await still_open(connection, asked, asked.as_of, known_at)
    return ageing.aged([*open_, *await put_back(connection, asked, known_at)], EDGES)


@pytest.mark.parametrize("seed", range(3))
async def test_any_day_as_it_was_known_at_any_time(writer: Pool, receivables: InvoicingDatabase, seed: int) -> None:
    chosen = Random(seed)
    trader = Trader(await company(writer), chosen)
    await trader.begin()
    await trader.live(80)
    assert len(trader.effects) > 20
    reader = await create_pool(receivables.dsns.reader, name="reader", max_size=1)
    async with as_reader(reader, ORGANIZATION) as connection:
        span = (trader.at - START) / timedelta(hours=1)
        for _ in range(60):
            known_at = START + timedelta(hours=chosen.uniform(0, span + 48))
            as_of = (START + timedelta(hours=chosen.uniform(0, span + 48))).date()
            basis: Basis = chosen.choice(("due", "issue"))
            asked = Asked(ORGANIZATION, LEDGER, as_of, basis, ageing.thresholds(EDGES))
            found = await as_of_then(connection, asked, known_at)
            assert found == one_by_one(trader, as_of, known_at, basis), (as_of, known_at)
            after, paged = asked.parties.after, []
            while after != LAST_PARTY:
                page = asked._replace(parties=await page_of_customers(connection, ORGANIZATION, after, 2))
                paged += await as_of_then(connection, page, known_at)
                after = page.parties.through
            assert paged == found
        last = Asked(ORGANIZATION, LEDGER, trader.at.date(), "due", ageing.thresholds(EDGES))
        found = ageing.aged(await still_open(connection, last), EDGES)
        assert found == one_by_one(trader, trader.at.date(), trader.at, "due")
    await reader.close()


async def test_pages_of_customers_are_the_whole(service: Service) -> None:
    trader = Trader(service.acme, Random(11))
    await trader.begin(5)
    await trader.live(80)
    await service.acme.post_all()
    asked = "/receivables/ageing?as_of=2026-04-20&known_at=2027-01-01T00:00:00Z&edges=7,30"
    status, whole, _ = await service.send("GET", asked)
    assert (status, whole["next_cursor"]) == (200, None), whole
    assert len(whole["rows"]) > 2
    rows, path = [], f"{asked}&limit=2"
    while True:
        status, page, _ = await service.send("GET", path)
        assert (status, page["totals"]) == (200, None), page
        rows += page["rows"]
        if page["next_cursor"] is None:
            break
        path = f"{asked}&limit=2&cursor={page['next_cursor']}"
    assert rows == whole["rows"]
    status, told, _ = await service.send("GET", f"{asked.replace('7,30', '7,31')}&cursor={page_cursor(path)}")
    assert (status, told["code"], told["errors"][0]["pointer"]) == (422, "cursor-invalid", "/cursor")


def page_cursor(path: str) -> str:
    return path.partition("&cursor=")[2]
