"""How fast invoices are issued over HTTP: straight to invoicing and through the gateway, and until the books have them.

    python -m bench.issuing [--only http,gateway,copy] [--seconds 4] [--runs 3] [--json FILE]

An invoice has three lines and two tax rates and is issued by the one request that makes it; customers differ. All
services of the stack run, on parts of their own in a temporary folder, so behind each invoice stand its entry in the
ledger, the answer, and the facts that invoicing hears of it. A run's clock ends with the last HTTP answer; it is also
told how many were issued and posted a second, until the last one's entry was confirmed. The reference is a bare COPY of
the very rows that invoicing stored for the last invoices. At the end the books are verified, receivables tie out, and
the numbers are 1 to n.
"""

import argparse
import asyncio
import io
import os
import random
import tempfile
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import aiohttp
import asyncpg
import orjson
import uvloop

from bench.load import Load, closed_loop, post_request
from bench.processors import Processors
from bench.report import Report
from bench.stack_load import CONNECTIONS, ORGANIZATION, SAMPLE_RATIO, ahead, verify
from libs.cli import books, charts
from libs.cli.session import Stack, running
from libs.common.clock import new_id
from libs.devstack.databases import with_database
from libs.devstack.stack import stack_status, start_detached, stop_stack

PARTS = ("http", "gateway", "copy")
USED = ("invoicing", "ledger", "gateway", "postgres", "kafka")
CUSTOMERS = 500
COPIED_INVOICES = 1_000
POSTED_PATIENCE_S = 120.0

COPIED = {
    "invoices": "select d.* from invoices d join bare.chosen c on c.organization = d.organization and c.id = d.id",
    "invoice_lines": "select d.* from invoice_lines d join bare.chosen c on c.id = d.invoice",
    "invoice_taxes": "select d.* from invoice_taxes d join bare.chosen c on c.id = d.invoice",
    "postings": "select d.* from postings d join bare.chosen c on d.document = 'invoice/' || c.id",
    "movements": """
        select d.* from movements d join postings p on p.organization = d.organization and p.id = d.posting
        join bare.chosen c on p.document = 'invoice/' || c.id""",
    "requests": "select d.* from requests d where d.body is not null order by d.created_at desc limit {count}",
    "outbox": "select d.* from outbox d order by d.id desc limit {count}",
}


async def measure(parts: list[str], runs: int, seconds: float, json_file: Path | None) -> None:
    """Measures the parts asked for, on a stack of its own, and prints them."""
    ratio = os.environ.setdefault("LEDGERBUS_TRACE_SAMPLE_RATIO", SAMPLE_RATIO)
    settings = {
        "runs": str(runs),
        "seconds a run": str(seconds),
        "invoice": "3 lines, 2 tax rates, issued at once",
        "customers": str(CUSTOMERS),
        "postgres": "18, fsync on",
        "trace sample ratio": ratio,
    }
    report = Report("issuing", settings)
    report.head()
    with tempfile.TemporaryDirectory(prefix="ledgerbus-bench-") as folder:
        data_dir = Path(folder)
        await asyncio.to_thread(start_detached, data_dir, quiet=True)
        try:
            await _measured(report, running(data_dir), data_dir, parts, runs, seconds)
        finally:
            await asyncio.to_thread(stop_stack, data_dir)
    if json_file is not None:
        report.write(json_file)


async def _measured(
    report: Report, stack: Stack, data_dir: Path, parts: list[str], runs: int, seconds: float
) -> None:  # fmt: skip
    status = stack_status(data_dir)
    customers = await _prepare(stack)
    used = Processors(status, USED, "us/invoice")
    database = await asyncpg.connect(with_database(status["postgres"]["dsn"], "invoicing"))
    reference = None
    try:
        issuing = _Issuing(report, stack, used, database, customers, runs, seconds)
        if "http" in parts:
            await issuing.over_http(status["invoicing"]["url"], "issued straight at invoicing")
        if "gateway" in parts:
            await issuing.over_http(stack.gateway, "issued through the gateway")
        if "copy" in parts:
            reference = await _copied(report, database, runs, seconds)
        await _prove(stack, database)
    finally:
        await database.close()
    for figure in report.figures:
        if reference is not None and figure.unit == "invoices/s":
            figure.reference, figure.ratio = reference, round(figure.value / reference, 3)


async def _prepare(stack: Stack) -> list[str]:
    """The organization, its accounts and mapping, and customers; gives their ids."""
    async with stack.operator() as operator:
        await books.ensure_organization(operator, ORGANIZATION)
    chart = charts.read("receivables")
    async with stack.client(ORGANIZATION) as client:
        await books.open_accounts(client, "main", chart.accounts)
        await books.map_accounts(client, "main", chart.mapping)
        made = [
            await client.post("/customers", {"name": f"Customer {no}", "address": {"city": "Ghent", "country": "BE"}})
            for no in range(CUSTOMERS)
        ]
    return [each.body["id"] for each in made]


def _body(chosen: random.Random, customers: list[str]) -> bytes:
    """Three lines, the first two at 20 %, the last at 5 %."""
    lines = [
        {
            "description": f"Item {chosen.randrange(1_000)}",
            "quantity": str(chosen.randrange(1, 20)),
            "unit_price": f"{chosen.randrange(1, 500)}.{chosen.randrange(100):02d}",
            "tax": {"category": "S", "rate": rate},
        }
        for rate in ("20", "20", "5")
    ]
    return orjson.dumps({"customer": chosen.choice(customers), "currency": "USD", "issue": True, "lines": lines})


class _Issuing:
    """One way in after the other, with what all of them need."""

    def __init__(
        self,
        report: Report,
        stack: Stack,
        used: Processors,
        database: "asyncpg.Connection[asyncpg.Record]",
        customers: list[str],
        runs: int,
        seconds: float,
    ) -> None:
        self._report, self._stack, self._used, self._database = report, stack, used, database
        self._customers, self._runs, self._seconds = customers, runs, seconds

    async def over_http(self, url: str, name: str) -> None:
        """50 connections, and one; how many were issued, and how many until their entries were confirmed."""
        request = self._request(url)
        loads: list[Load] = []
        idle: list[Load] = []
        posted: list[float] = []
        await closed_loop(url, CONNECTIONS, 1.0, request)
        await self._all_posted()
        for _ in range(self._runs):
            ready = ahead(request, self._seconds)
            with self._used.run() as run:
                started = time.perf_counter()
                loads.append(await closed_loop(url, CONNECTIONS, self._seconds, ready))
                run.entries = len(loads[-1].latencies)
                await self._all_posted()
                posted.append(run.entries / (time.perf_counter() - started))
            idle.append(await closed_loop(url, 1, self._seconds / 2, ahead(request, self._seconds / 10)))
            await self._all_posted()
        for load in (*loads, *idle):
            assert set(load.statuses) == {201}, load.statuses
        self._report.add(f"{name}, {CONNECTIONS} connections", [load.per_s for load in loads], "invoices/s")
        self._report.add(f"{name}, to the last confirmed entry", posted, "invoices/s")
        for share in (0.5, 0.99):
            self._report.add(f"{name}, p{100 * share:g}", [load.percentile_ms(share) for load in loads], "ms")
        self._report.add(f"{name}, one connection, p50", [load.percentile_ms(0.5) for load in idle], "ms")
        self._used.tell(self._report, name)

    def _request(self, url: str) -> Callable[[], bytes]:
        token, chosen = self._stack.token(ORGANIZATION, ["controller"]), random.Random(1)
        host = url.removeprefix("http://")
        return lambda: post_request(
            host, "/api/v1/invoices", token, _body(chosen, self._customers), str(new_id())
        )  # fmt: skip

    async def _all_posted(self) -> None:
        """Until every entry that was asked for is confirmed, and heard as a fact."""
        give_up_s = time.perf_counter() + POSTED_PATIENCE_S
        while await self._database.fetchval(
            """
            select exists (select 1 from postings where state = 'requested')
                or (select max(sequence) from heads) is distinct from (select max(sequence) from postings)
            """
        ):
            assert time.perf_counter() < give_up_s, "the last invoices were not posted in time"
            await asyncio.sleep(0.02)


async def _copied(
    report: Report, database: "asyncpg.Connection[asyncpg.Record]", runs: int, seconds: float
) -> float:  # fmt: skip
    """Invoices a second of bare COPYs of the rows that were stored for them: with indexes and checks, no triggers."""
    await database.execute(
        f"""
        drop schema if exists bare cascade;
        create schema bare;
        create table bare.chosen as
            select organization, id from invoices where number is not null order by serial desc limit {COPIED_INVOICES}
        """
    )
    stored: dict[str, bytes] = {}
    for table, query in COPIED.items():
        await database.execute(
            f"create table bare.{table} (like public.{table} including indexes including constraints)"
        )  # fmt: skip
        rows = io.BytesIO()
        await database.copy_from_query(query.format(count=COPIED_INVOICES), output=rows, format="binary")
        stored[table] = rows.getvalue()
    figures = []
    for _ in range(runs):
        spent, copied = 0.0, 0
        while spent < seconds / 2:
            started = time.perf_counter()
            async with database.transaction():
                for table, content in stored.items():
                    await database.copy_to_table(
                        table, schema_name="bare", source=io.BytesIO(content), format="binary"
                    )  # fmt: skip
            spent += time.perf_counter() - started
            copied += COPIED_INVOICES
            await database.execute(f"truncate {', '.join(f'bare.{table}' for table in COPIED)}")
        figures.append(copied / spent)
    figure = report.add("bare COPY of the rows of 1,000 invoices", figures, "invoices/s", note="reference")
    await database.execute("drop schema bare cascade")
    return figure.value


async def _prove(stack: Stack, database: "asyncpg.Connection[asyncpg.Record]") -> None:
    """The books verify, receivables tie out, numbers have no gap."""
    await verify(stack)
    headers = {"Authorization": f"Bearer {stack.token(ORGANIZATION, ['controller'])}"}
    async with (
        aiohttp.ClientSession(stack.gateway, headers=headers) as session,
        session.get("/api/v1/receivables/tie-out", params={"ledger": "main"}) as answer,
    ):
        proof = await answer.json()
    assert proof["ties"], proof["rows"][:3]
    count = await database.fetchval("select count(serial) from invoices")
    last = await database.fetchval("select max(serial) from invoices")
    open_ = await database.fetchval("select sum(open) from invoices")
    assert count == last, (count, last)
    print(f"receivables tie out; numbers are 1 to {last}, {Decimal(open_) / 100:,.2f} USD are open")


def main() -> None:
    """Reads the command line and measures."""
    parser = argparse.ArgumentParser(prog="bench.issuing", description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help="parts to measure, separated by commas")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--json", type=Path, default=None)
    chosen = parser.parse_args()
    parts = [part for part in chosen.only.split(",") if part]
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure(parts, chosen.runs, chosen.seconds, chosen.json))


if __name__ == "__main__":
    main()
