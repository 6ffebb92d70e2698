"""How fast what follows an invoice is done: reminders of what is overdue, and recurring invoices when they are due.

    python -m bench.following [--only dunning,recurring] [--overdue 100000] [--recurring 10000] [--json FILE]

Starts a PostgreSQL of its own; invoicing's commands run in this process, as the role that writes, with every check, key
and trigger on; nothing is sent to Kafka. Each customer owes ten of the overdue invoices, which are written by COPY. All
are reminded twice, first without a fee, then with one, by as many runs of dunning (500 letters, a transaction each) as
it takes; what the first, second and last third of them took are the runs of a figure. Each recurring invoice has three
days that were missed; each day of all of them is a run of the figure, made in lots as the service makes them. The
references are bare COPYs of the rows that were stored: with indexes and checks, no triggers.
"""

import argparse
import asyncio
import gc
import io
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg
import uvloop

from bench.ageing import BENCH, INVOICES, SLICE, TODAY, Filling, customers, place
from bench.report import Report
from libs.common import runtime
from libs.common.clock import now
from libs.common.db import Pool, transaction
from libs.common.sealing import Sealer
from services.invoicing.asking import Done
from services.invoicing.dunning import Run, put_levels, run_dunning
from services.invoicing.invoice_plans import InvoiceWish
from services.invoicing.pools import create_writer_pool
from services.invoicing.recurring import RecurrenceWish, create_recurrence
from services.invoicing.recurring_api import read_template
from services.invoicing.reminding import Level
from services.invoicing.repeating import Repeating
from services.invoicing.schedules import Schedule

PARTS: Final = ("dunning", "recurring")
OWED: Final = 10
"""Overdue invoices of each customer."""
RUNS: Final = 3
APART: Final = 7
COPIES: Final = 1_000
OVERDUE_ON: Final = TODAY.date() + timedelta(days=100)
"""By then every invoice is overdue for its first level."""
LEVELS: Final = [
    Level(days_after_due=APART, title="Reminder", text="Please pay.", fees={}),
    Level(days_after_due=2 * APART, title="Second reminder", text="Please pay now.", fees={"USD": "5.00"}),
]
TEMPLATE: Final = (
    '{{"ledger": "main", "customer": "{customer}", "currency": "USD", "lines": ['
    '{{"description": "Hosting", "unit_price": "100.00", "tax": {{"category": "S", "rate": "20"}}}}, '
    '{{"description": "Support", "quantity": "3", "unit_price": "15.00", "tax": {{"category": "S", "rate": "20"}}}}]}}'
)
SENT: Final = "(select id from dunning_letters where fee_invoice is null order by id limit {count})"
LETTERS: Final = {
    "dunning_letters": f"select l.* from dunning_letters l join {SENT} c on c.id = l.id",
    "dunning_steps": f"select s.* from dunning_steps s join {SENT} c on c.id = s.letter",
}
DRAWN: Final = "(select invoice as id from occurrences where invoice is not null order by invoice limit {count})"
RECURRED: Final = {
    "invoices": f"select i.* from invoices i join {DRAWN} c on c.id = i.id",
    "invoice_lines": f"select l.* from invoice_lines l join {DRAWN} c on c.id = l.invoice",
    "invoice_taxes": f"select t.* from invoice_taxes t join {DRAWN} c on c.id = t.invoice",
    "postings": f"select p.* from postings p join {DRAWN} c on p.document = 'invoice/' || c.id",
    "movements": f"""
        select m.* from movements m join postings p on p.organization = m.organization and p.id = m.posting
        join {DRAWN} c on p.document = 'invoice/' || c.id""",
    "occurrences": f"select o.* from occurrences o join {DRAWN} c on c.id = o.invoice",
}


class Sent(NamedTuple):
    """What one run of dunning did."""

    letters: int
    raised: int
    spent_s: float


@dataclass(frozen=True, slots=True)
class Following:
    """What is measured, on a database that is filled."""

    writer: Pool
    admin: "asyncpg.Connection[asyncpg.Record]"
    sealer: Sealer
    report: Report
    customers: Sequence[UUID]

    async def dunning(self, overdue: int) -> None:
        """Two levels for everybody: letters a second, and overdue invoices raised a second."""
        async with transaction(self.writer) as connection:
            put = await put_levels(connection, BENCH, "main", LEVELS, None, TODAY)
        assert isinstance(put, Done), put
        reference = 0.0
        for weeks, name in enumerate(("without a fee", "with a fee each")):
            sent = await self._level(OVERDUE_ON + timedelta(days=APART * weeks), overdue)
            reference = reference or await copied(self.admin, LETTERS)
            thirds = [sent[len(sent) * no // RUNS : len(sent) * (no + 1) // RUNS] for no in range(RUNS)]
            spent = [sum(each.spent_s for each in third) for third in thirds]
            letters = [sum(each.letters for each in third) / s for third, s in zip(thirds, spent, strict=True)]
            raised = [sum(each.raised for each in third) / s for third, s in zip(thirds, spent, strict=True)]
            self.report.add(f"letters, {name}", letters, "letters/s", reference)
            self.report.add(f"  invoices raised by them, {name}", raised, "invoices/s")
        self.report.add("bare COPY of 1,000 letters with their steps", [reference], "letters/s", note="reference")

    async def _level(self, on: date, overdue: int) -> list[Sent]:
        """Runs of dunning until everybody has a letter."""
        sent: list[Sent] = []
        more = True
        while more:
            started = time.perf_counter()
            async with transaction(self.writer) as connection:
                done = await run_dunning(connection, self.sealer, Run(BENCH, "main", on), _noon(on))
            spent_s = time.perf_counter() - started
            assert isinstance(done, Done), done
            assert not done.body["refused"], done.body["refused"][:1]
            letters, more = done.body["letters"], done.body["more"]
            sent.append(Sent(len(letters), sum(len(letter["raised"]) for letter in letters), spent_s))
        assert sum(each.letters for each in sent) == len(self.customers), "everybody has a letter"
        assert sum(each.raised for each in sent) == overdue, "everything is raised"
        await self.admin.execute("vacuum analyze")
        return sent

    async def recurring(self, count: int) -> None:
        """Three missed days of everybody's: invoices made a second."""
        first = (now() - timedelta(days=RUNS - 1)).date()
        started = time.perf_counter()
        for number in range(count):
            async with transaction(self.writer) as connection:
                wish = _recurrence(self.customers[number % len(self.customers)], first)
                made = await create_recurrence(connection, self.sealer, wish, now())
            assert isinstance(made, Done), made
        print(f"{count:,} recurring invoices in {time.perf_counter() - started:.0f} s\n")
        await self.admin.execute("vacuum analyze")
        loop = Repeating(self.writer, self.sealer, read_template)
        figures = []
        for _ in range(RUNS):
            made_count, started = 0, time.perf_counter()
            while made_count < count:
                made_count += await loop.step()
            figures.append(made_count / (time.perf_counter() - started))
        assert await loop.step() == 0, "every missed day is made"
        assert await self.admin.fetchval("select count(*) from occurrences where state = 'made'") == RUNS * count
        reference = await copied(self.admin, RECURRED)
        self.report.add("recurring invoices made and issued", figures, "invoices/s", reference)
        self.report.add("bare COPY of the rows of 1,000 of them", [reference], "invoices/s", note="reference")


def _recurrence(customer: UUID, first: date) -> RecurrenceWish:
    template = TEMPLATE.format(customer=customer)
    wish = read_template(BENCH, template)
    assert isinstance(wish, InvoiceWish), wish
    schedule = Schedule(starts_on=first, cron="0 0 * * *")
    return RecurrenceWish(invoice=wish, template=template, schedule=schedule, count=RUNS)


def _noon(on: date) -> datetime:
    return datetime(on.year, on.month, on.day, 12, tzinfo=UTC)


async def copied(admin: "asyncpg.Connection[asyncpg.Record]", queries: Mapping[str, str]) -> float:
    """How many a second bare COPYs of the rows of 1,000 come to: the median of three."""
    await admin.execute("drop schema if exists bare cascade; create schema bare")
    stored: dict[str, bytes] = {}
    for table, query in queries.items():
        await admin.execute(f"create table bare.{table} (like public.{table} including indexes including constraints)")
        rows = io.BytesIO()
        await admin.copy_from_query(query.format(count=COPIES), output=rows, format="binary")
        stored[table] = rows.getvalue()
    spent = []
    for _ in range(RUNS):
        await admin.execute(f"truncate {', '.join(f'bare.{table}' for table in queries)}")
        started = time.perf_counter()
        async with admin.transaction():
            for table, content in stored.items():
                await admin.copy_to_table(table, schema_name="bare", source=io.BytesIO(content), format="binary")
        spent.append(time.perf_counter() - started)
    return COPIES / sorted(spent)[RUNS // 2]


async def fill(admin: "asyncpg.Connection[asyncpg.Record]", ids: list[UUID], content: str, overdue: int) -> None:
    """The overdue invoices, of all customers in turn; then the tables are looked after as autovacuum does."""
    filling = Filling(admin, ids, content, random.Random(7))
    for start in range(0, overdue, SLICE):
        rows = [filling.invoice(number, overdue) for number in range(start, min(start + SLICE, overdue))]
        await admin.copy_records_to_table("invoices", records=rows, columns=INVOICES)
    await admin.execute("vacuum analyze")


async def measure(parts: Sequence[str], overdue: int, recurring: int, json_file: Path | None) -> None:
    """Fills a database of its own and measures the parts asked for."""
    settings = {
        "overdue invoices": f"{overdue:,}",
        "recurring invoices": f"{recurring:,}, of two lines, three days missed",
        "customers": f"{overdue // OWED:,}",
        "postgres": "18, fsync on",
    }
    report = Report("following", settings)
    report.head()
    sealer = Sealer([bytes(32)], bytes(32))
    async with place() as (address, dsns):
        writer = await create_writer_pool(dsns.writer, max_size=2)
        admin: Any = await asyncpg.connect(address)
        ids, content = await customers(writer, sealer, overdue // OWED)
        gc.freeze()
        gc.set_threshold(*runtime.GC_THRESHOLDS)  # as in the service's own process
        following = Following(writer, admin, sealer, report, ids)
        if "dunning" in parts:
            await fill(admin, ids, content, overdue)
            await following.dunning(overdue)
        if "recurring" in parts:
            await following.recurring(recurring)
        await admin.close()
        await writer.close()
    if json_file is not None:
        report.write(json_file)


def main() -> None:
    """Reads the command line and measures."""
    parser = argparse.ArgumentParser(prog="bench.following", description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--overdue", type=int, default=100_000)
    parser.add_argument("--recurring", type=int, default=10_000)
    parser.add_argument("--json", type=Path, default=None)
    chosen = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure(chosen.only.split(","), chosen.overdue, chosen.recurring, chosen.json))


if __name__ == "__main__":
    main()
