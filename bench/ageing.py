"""How long the ageing takes over a million open invoices: GET /receivables/ageing, whole, by pages, and of the past.

    python -m bench.ageing [--open 1000000] [--json FILE]

Starts a PostgreSQL of its own and invoicing's application in this process, and asks it over HTTP, as a reader under
row-level security. The rows are written by COPY with every check, key and trigger of the tables on: issued invoices of
20,000 customers over two years with the frozen content of a real one; then, as payments came, one in ten is paid in
part and one in six more is paid whole (and so not open any more), each with its payment and allocation, the sums proven
by the deferred triggers; 20,000 receipts are not placed. Afterwards the tables are vacuumed and analyzed, as autovacuum
would have done. A bare count(*) of the same rows, by the same role, is the reference.
"""

import argparse
import asyncio
import gc
import json
import random
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import asyncpg
import uvicorn
import uvloop

from bench.report import Report
from libs.common import runtime
from libs.common.auth import DevIssuer, Verifier, create_dev_issuer
from libs.common.db import Pool, create_pool, migrate, transaction
from libs.common.http import create_app
from libs.common.sealing import Sealer
from libs.devstack.backends import Embedded
from libs.devstack.databases import ROLES, ServiceDsns, create_service, service_dsns, with_database
from services.invoicing.api import InvoicingApi
from services.invoicing.asking import Done
from services.invoicing.catalog import MappingWish, put_mapping
from services.invoicing.customers import CustomerWish, create_customer
from services.invoicing.invoice_plans import InvoiceWish
from services.invoicing.invoices import make_invoices
from services.invoicing.pools import MIGRATIONS, create_writer_pool
from services.invoicing.receivable_reads import as_reader
from services.invoicing.writing import Tools

BENCH: Final = "bench"
CUSTOMERS: Final = 20_000
UNPLACED: Final = 20_000
DAYS: Final = 730
TODAY: Final = datetime(2026, 6, 30, 12, tzinfo=UTC)
SLICE: Final = 50_000
RUNS: Final = 3
INVOICES: Final = (
    "organization", "id", "ledger", "customer", "series", "year", "serial", "number", "status", "posting", "currency",
    "issued_on", "tax_point_on", "due_on", "net", "tax", "total", "content", "created_at", "issued_at",
)  # fmt: skip
PAYMENTS: Final = (
    "organization", "id", "ledger", "provider", "payment_id", "customer", "currency", "amount", "received_on", "method",
    "allocated", "created_at",
)  # fmt: skip
ALLOCATIONS: Final = ("organization", "id", "source", "source_id", "invoice", "amount", "on_date", "created_at")
POSTINGS: Final = (
    "organization", "id", "ledger", "document", "purpose", "type", "value", "state", "created_at", "sequence",
    "effective_on",
)  # fmt: skip
MOVEMENTS: Final = ("organization", "posting", "place", "ledger", "role", "party", "currency", "amount", "sequence")


@asynccontextmanager
async def place() -> AsyncIterator[tuple[str, ServiceDsns]]:
    """PostgreSQL in a temporary folder with invoicing's database: the superuser's address and the roles'."""
    with tempfile.TemporaryDirectory(prefix="ledgerbus-bench-") as folder:
        backend = Embedded(Path(folder))
        admin = await backend.start_postgres()
        try:
            passwords = dict.fromkeys(ROLES, "bench")
            await create_service(admin, "invoicing", passwords)
            dsns = service_dsns(with_database(admin, "invoicing"), "invoicing", passwords)
            await migrate(dsns.migrator, MIGRATIONS)
            yield with_database(admin, "invoicing"), dsns
        finally:
            await backend.stop()


@dataclass(frozen=True, slots=True)
class Asking:
    """The application on a real port, and who asks."""

    url: str
    token: str

    async def get(self, query: str = "") -> tuple[float, dict[str, Any]]:
        """Seconds from asking to the last byte, and the answer."""
        request = urllib.request.Request(
            f"{self.url}/api/v1/receivables/ageing?{query}", headers={"Authorization": f"Bearer {self.token}"}
        )

        def ask() -> tuple[float, bytes]:
            started = time.perf_counter()
            with urllib.request.urlopen(request) as answer:
                content: bytes = answer.read()
            return time.perf_counter() - started, content

        taken, content = await asyncio.to_thread(ask)
        return taken, json.loads(content)


@asynccontextmanager
async def application(writer: Pool, reader: Pool, sealer: Sealer) -> AsyncIterator[Asking]:
    """Invoicing's routes on a port that the system picks."""
    with tempfile.TemporaryDirectory(prefix="ledgerbus-bench-") as folder:
        key, jwks = Path(folder) / "key", Path(folder) / "jwks.json"
        create_dev_issuer(key, jwks)
        issuer = DevIssuer(key, "http://issuer.test", "ledgerbus", "development")
        verifier = Verifier("http://issuer.test", "ledgerbus", jwks)
        app = create_app("invoicing", "0", readiness=runtime.Readiness(), verifier=verifier)
        InvoicingApi(Tools(writer, reader, lambda: TODAY, sealer)).add_to(app)
        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, access_log=False, lifespan="off")
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve())
        while not server.started:
            assert not task.done(), "the server ended before it began"
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            yield Asking(f"http://127.0.0.1:{port}", issuer.token("bench", BENCH, roles=("viewer",)))
        finally:
            server.should_exit = True
            await task
            await verifier.close()


async def customers(pool: Pool, sealer: Sealer, count: int = CUSTOMERS) -> tuple[list[UUID], str]:
    """So many customers, sealed as always, and the content of one real invoice."""
    ids: list[UUID] = []
    async with transaction(pool) as connection:
        mapped = await put_mapping(
            connection, BENCH, "main", MappingWish(standard=True, functional_currency="USD"), TODAY
        )
        assert isinstance(mapped, Done), mapped
        for number in range(count):
            wish = CustomerWish(name=f"Customer {number:05d}", email=f"accounts@customer-{number}.example")
            made = await create_customer(connection, sealer, BENCH, wish, TODAY)
            assert isinstance(made, Done), made
            ids.append(made.body["id"])
        draft = InvoiceWish(organization=BENCH, ledger="main", customer=str(ids[0]), currency="USD", total="120.00")
        (done,) = await make_invoices(connection, sealer, [draft], TODAY)
        assert isinstance(done, Done), done
        content: str = await connection.fetchval("select content::text from invoices where id = $1", done.body["id"])
    return ids, content


@dataclass(slots=True)
class Filling:
    """Writes what was issued and paid."""

    connection: Any
    customers: list[UUID]
    content: str
    chosen: random.Random

    async def invoices(self, open_count: int) -> int:
        """All invoices; gives how many there are. A fifth more than stay open: those are paid later."""
        count = open_count + open_count // 6
        for start in range(0, count, SLICE):
            rows = [self.invoice(number, count) for number in range(start, min(start + SLICE, count))]
            await self.connection.copy_records_to_table("invoices", records=rows, columns=INVOICES)
        return count

    def invoice(self, number: int, count: int) -> tuple[Any, ...]:
        """The row of one of so many invoices, issued and posted, each later than the one before."""
        at = TODAY - timedelta(days=DAYS) + timedelta(days=DAYS) * (number / count)
        day, net = at.date(), self.chosen.randrange(1_000, 500_000)
        due = day + timedelta(days=self.chosen.choice((14, 30, 30, 60)))
        serial, tax = number + 1, net // 5
        customer = self.customers[number * 7919 % len(self.customers)]
        return (
            BENCH, invoice_id(number), "main", customer, "bench", 2026, serial,
            f"B-{serial:07d}", "issued", "posted", "USD", day, day, due, net, tax, net + tax, self.content, at, at,
        )  # fmt: skip

    async def payments(self, open_count: int, count: int) -> None:
        """One in ten of the open ones paid in part, all of the rest paid whole, each some days after its issue."""
        partly = set(self.chosen.sample(range(count), count // 10))
        wholly = set(self.chosen.sample(sorted(set(range(count)) - partly), count - open_count))
        for numbers in _slices(sorted(partly | wholly)):
            async with self.connection.transaction():
                totals = await self.connection.fetch(
                    "select id, customer, total, issued_at from invoices where organization = $1 and id = any($2)",
                    BENCH, [invoice_id(number) for number in numbers],
                )  # fmt: skip
                await self._pay(totals, {invoice_id(number) for number in numbers if number in wholly})

    async def _pay(self, totals: list[Any], wholly: set[UUID]) -> None:
        paid = []
        for row in totals:
            amount = row["total"] if row["id"] in wholly else row["total"] // 3
            at = min(row["issued_at"] + timedelta(days=self.chosen.randrange(3, 90)), TODAY)
            paid.append((row, amount, at, UUID(int=row["id"].int + 1), UUID(int=row["id"].int + 2)))
        await self.connection.copy_records_to_table(
            "payments", columns=PAYMENTS,
            records=[
                (BENCH, payment, "main", "bench", str(payment), row["customer"], "USD", amount, at.date(), "card",
                 amount, at)
                for row, amount, at, payment, _ in paid
            ],
        )  # fmt: skip
        await self.connection.execute(
            """
            update invoices i set paid = p.amount, version = version + 1,
                status = case when p.amount = i.total then 'paid' else 'part-paid' end
            from unnest($2::uuid[], $3::numeric[]) as p (id, amount) where i.organization = $1 and i.id = p.id
            """,
            BENCH, [row["id"] for row, *_ in paid], [amount for _, amount, *_ in paid],
        )  # fmt: skip
        await self.connection.copy_records_to_table(
            "allocations", columns=ALLOCATIONS,
            records=[
                (BENCH, allocation, "payment", payment, row["id"], amount, at.date(), at)
                for row, amount, at, payment, allocation in paid
            ],
        )  # fmt: skip

    async def receipts(self) -> None:
        """Money that is not placed yet: postings with their movements."""
        ids = [UUID(int=(number << 64) | 9) for number in range(1, UNPLACED + 1)]
        for numbers in _slices(list(range(UNPLACED))):
            await self.connection.copy_records_to_table(
                "postings", columns=POSTINGS,
                records=[
                    (BENCH, ids[no], "main", f"payment/{ids[no]}", "payment", "t", b"{}", "posted", TODAY, no + 1,
                     TODAY.date() - timedelta(days=no % DAYS))
                    for no in numbers
                ],
            )  # fmt: skip
            await self.connection.copy_records_to_table(
                "movements", columns=MOVEMENTS,
                records=[
                    (BENCH, ids[no], 0, "main", "unapplied-receipts", str(self.customers[no]), "USD", -500, no + 1)
                    for no in numbers
                ],
            )  # fmt: skip


def invoice_id(number: int) -> UUID:
    """The id of an invoice: rising, as ids do."""
    return UUID(int=((number + 1) << 64) | 16)


def _slices(numbers: list[int]) -> list[list[int]]:
    return [numbers[start : start + SLICE] for start in range(0, len(numbers), SLICE)]


async def fill(admin: str, ids: list[UUID], content: str, open_count: int) -> None:
    """Writes everything, and looks after the tables as autovacuum does."""
    connection = await asyncpg.connect(admin)
    filling = Filling(connection, ids, content, random.Random(7))
    started = time.perf_counter()
    count = await filling.invoices(open_count)
    await filling.payments(open_count, count)
    await filling.receipts()
    await connection.execute("vacuum analyze")
    print(f"{count:,} invoices, {count - open_count:,} of them paid, in {time.perf_counter() - started:.0f} s\n")
    await connection.close()


async def counted(reader: Pool) -> tuple[float, int]:
    """Milliseconds of a bare count of the open invoices, by the role that reads."""
    async with as_reader(reader, BENCH) as connection:
        started = time.perf_counter()
        count: int = await connection.fetchval(
            "select count(*) from open_invoices where organization = $1 and ledger = 'main'", BENCH
        )
        return (time.perf_counter() - started) * 1_000, count


async def questions(asking: Asking) -> AsyncIterator[tuple[str, list[float], str]]:
    """What was asked, milliseconds of each run, and what came."""
    first = await asking.get("limit=100")
    cursor = first[1]["next_cursor"]
    past, long_ago = date(2026, 5, 31), date(2025, 6, 30)
    for name, query in (
        ("whole, as of today", ""),
        ("a page of 100 customers", f"limit=100&cursor={cursor}"),
        ("whole, as of a month ago", f"as_of={past}"),
        ("whole, as of a year ago", f"as_of={long_ago}"),
        ("whole, as known a month ago", "known_at=2026-05-31T12:00:00Z"),
        ("a page of 100 customers, as of a month ago", f"as_of={past}&limit=100"),
    ):
        await asking.get(query)
        answers = [await asking.get(query) for _ in range(RUNS)]
        rows = len(answers[0][1]["rows"])
        yield name, [taken * 1_000 for taken, _ in answers], f"{rows:,} rows"


async def measure(open_count: int, json_file: Path | None) -> None:
    """Makes the invoices and asks."""
    settings = {"open invoices": f"{open_count:,}", "customers": f"{CUSTOMERS:,}", "postgres": "18, reader, RLS on"}
    report = Report("ageing", settings)
    report.head()
    sealer = Sealer([bytes(32)], bytes(32))
    async with place() as (admin, dsns):
        writer = await create_writer_pool(dsns.writer, max_size=2)
        reader = await create_pool(dsns.reader, name="reader", max_size=2)
        ids, content = await customers(writer, sealer)
        await fill(admin, ids, content, open_count)
        counts = [await counted(reader) for _ in range(RUNS + 1)][1:]
        assert counts[0][1] >= open_count, counts
        reference = report.add("bare count(*) of the open invoices", [taken for taken, _ in counts], "ms").value
        gc.freeze()
        gc.set_threshold(*runtime.GC_THRESHOLDS)  # as in the service's own process
        async with application(writer, reader, sealer) as asking:
            async for name, runs, note in questions(asking):
                report.add(name, runs, "ms", reference, note)
        await writer.close()
        await reader.close()
    if json_file is not None:
        report.write(json_file)


def main() -> None:
    """Reads the command line and measures."""
    parser = argparse.ArgumentParser(prog="bench.ageing", description=__doc__)
    parser.add_argument("--open", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path, default=None)
    chosen = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure(chosen.open, chosen.json))


if __name__ == "__main__":
    main()
