"""The writer without any entrance, against a bare COPY of the same rows: what the statement and its guards cost."""

import asyncio
import contextlib
import gc
import random
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg

from bench.report import Report
from libs.common.clock import new_id, now
from libs.common.db import migrate
from libs.common.journal import AccountRequest, EntryRequest, LineRequest
from libs.common.runtime import GC_THRESHOLDS
from libs.devstack.backends import Embedded
from libs.devstack.databases import ROLES, create_service, service_dsns, with_database
from services.ledger.commands import Asker, Books, Wish, ask, enqueue, open_organization
from services.ledger.pools import MIGRATIONS, create_writer_pool
from services.ledger.queued import Limits

ACCOUNTS = 1_000
ASKER = Asker("bench", "api", "bench", "api/bench")
TODAY = date(2026, 1, 15)
BATCHES = (1, 10, 100, 1_000)
WISHES_PER_S = {1: 3_000, 10: 20_000, 100: 40_000, 1_000: 40_000}
"""Requests made ready before a run's clock starts, per second of the run: more than the writer can take."""

COPIED = {
    "log": ("ledger_no", "sequence", "payload", "hash"),
    "requests": ("ledger_no", "scope", "key", "fingerprint", "sequence", "rejection"),
    "entries": (
        "ledger_no", "id", "sequence", "kind", "effective_on", "value_on", "description", "external_id",
        "origin_service", "origin_document", "reverses", "line_count",
    ),
    "lines": (
        "ledger_no", "account_no", "sequence", "line", "debit", "amount", "currency", "balance_after", "effective_on",
        "party",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """A PostgreSQL of one's own with a migrated ledger database."""

    writer: str
    reader: str
    migrator: str
    admin: str


@contextlib.asynccontextmanager
async def place() -> AsyncIterator[Place]:
    """Starts PostgreSQL in a temporary folder and makes the ledger's database in it."""
    with tempfile.TemporaryDirectory(prefix="ledgerbus-bench-") as folder:
        backend = Embedded(Path(folder))
        admin = await backend.start_postgres()
        try:
            passwords = dict.fromkeys(ROLES, "bench")
            await create_service(admin, "ledger", passwords)
            dsns = service_dsns(with_database(admin, "ledger"), "ledger", passwords)
            await migrate(dsns.migrator, MIGRATIONS)
            yield Place(dsns.writer, dsns.reader, dsns.migrator, with_database(admin, "ledger"))
        finally:
            await backend.stop()


def entry(chosen: random.Random, *, hot: bool = False) -> EntryRequest:
    """A payment between two of the accounts; `hot`: always from the first."""
    debited = 0 if hot else chosen.randrange(ACCOUNTS)
    credited = chosen.randrange(1, ACCOUNTS) if hot else (debited + 1) % ACCOUNTS
    amount = f"{chosen.randrange(1, 1000)}.{chosen.randrange(100):02d}"
    return EntryRequest(
        effective_on=TODAY,
        description="payment",
        lines=[LineRequest(f"A{debited}", "debit", amount), LineRequest(f"A{credited}", "credit", amount)],
    )


def wish(request: Any) -> Wish:
    """A wish with a key of its own."""
    key = str(new_id())
    return Wish(ASKER, "main", request, key, key.encode()[:32], 200, False, None)


async def open_books(dsn: str, limits: Limits) -> Books:
    """Books with 1,000 accounts in the ledger `main`."""
    books = Books(await create_writer_pool(dsn), now, limits)
    if await books.find("bench", "main") is None:
        await open_organization(books, "bench", "Bench", "USD", ASKER)
        await asyncio.gather(
            *(
                ask(books, wish(AccountRequest(code=f"A{no}", name=f"A{no}", type="asset", currency="USD")))
                for no in range(ACCOUNTS)
            )
        )
    return books


class Run(NamedTuple):
    """What one run of the writer made, and the processor time of this process for each entry, asking included."""

    entries_per_s: float
    processor_us: float


async def writer_run(dsn: str, batch: int, seconds: float, *, hot: bool = False) -> Run:
    """Posts with `batch` requests in a statement and, for full ones, the next batch waiting behind it."""
    books = await open_books(dsn, Limits(batch_requests=batch))
    ledger = await books.get("bench", "main")
    chosen = random.Random(1)
    depth = batch if batch < 100 else 2 * batch
    ready = [wish(entry(chosen, hot=hot)) for _ in range(int(seconds * WISHES_PER_S[batch]))]
    ready.reverse()
    gc.freeze()  # what is made ready is not the writer's to look through
    gc.set_threshold(*GC_THRESHOLDS)
    waiting: list[asyncio.Future[Any]] = []
    posted, started, processor_s = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - started < seconds and len(ready) >= depth:
        while len(waiting) < depth:
            waiting.append(enqueue(books, ledger, ready.pop()))
        done, waiting = waiting[:batch], waiting[batch:]
        for outcome in await asyncio.gather(*done):
            assert outcome.records, outcome
        posted += len(done)
    await asyncio.gather(*waiting)
    posted += len(waiting)
    elapsed, processor_s = time.perf_counter() - started, time.process_time() - processor_s
    await books.pool.close()
    return Run(posted / elapsed, processor_s / posted * 1e6)


async def contention_run(dsn: str, writers: int, seconds: float) -> float:
    """Entries per second of several writers at one ledger, 100 requests waiting at each."""
    all_books = [await open_books(dsn, Limits(batch_requests=100)) for _ in range(writers)]
    started = time.perf_counter()

    async def post(books: Books) -> int:
        ledger, chosen, posted = await books.get("bench", "main"), random.Random(1), 0
        while time.perf_counter() - started < seconds:
            outcomes = await asyncio.gather(*(enqueue(books, ledger, wish(entry(chosen))) for _ in range(100)))
            posted += sum(bool(outcome.records) for outcome in outcomes)
        return posted

    posted = sum(await asyncio.gather(*(post(books) for books in all_books)))
    elapsed = time.perf_counter() - started
    for books in all_books:
        await books.pool.close()
    return posted / elapsed


async def copy_run(place_: Place, batch: int, seconds: float) -> tuple[float, float]:
    """Entries per second of bare COPYs of the rows the writer stores: whole loop, and in the database alone."""
    admin = await asyncpg.connect(place_.admin)
    await admin.execute("drop schema if exists bare cascade; create schema bare")
    for table in COPIED:
        await admin.execute(f"create table bare.{table} (like public.{table} including indexes including constraints)")
    chosen = random.Random(1)
    copied, in_database, started, sequence = 0, 0.0, time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        rows = _rows(chosen, batch, sequence)
        sequence += batch
        before = time.perf_counter()
        async with admin.transaction():
            for table, columns in COPIED.items():
                await admin.copy_records_to_table(table, schema_name="bare", columns=columns, records=rows[table])
        in_database += time.perf_counter() - before
        copied += batch
    elapsed = time.perf_counter() - started
    await admin.close()
    return copied / elapsed, copied / in_database


_PAYLOAD = (
    '{{"type":"entry-posted","organization":"bench","ledger":"main","ledger_id":"{id}","epoch":1,"sequence":{sequence},'
    '"recorded_at":"2026-01-15T09:00:00.000000Z","actor":"bench","request":{{"service":"api","scope":"api/bench",'
    '"key":"{id}","fingerprint":"{print}"}},"entry":{{"id":"{id}","kind":"normal","effective_on":"2026-01-15",'
    '"value_on":"2026-01-15","description":"payment","lines":[{{"account":"A1","side":"debit","amount":"{amount}",'
    '"currency":"USD","balance_after":"100000.00"}},{{"account":"A2","side":"credit","amount":"{amount}",'
    '"currency":"USD","balance_after":"-100000.00"}}]}}}}'
)


def _rows(chosen: random.Random, batch: int, sequence: int) -> dict[str, list[tuple[Any, ...]]]:
    rows: dict[str, list[tuple[Any, ...]]] = {table: [] for table in COPIED}
    for _ in range(batch):
        sequence += 1
        id_, amount = new_id(), Decimal(chosen.randrange(1, 100_000))
        debited = chosen.randrange(ACCOUNTS)
        payload = _PAYLOAD.format(id=id_, sequence=sequence, amount=amount, print="0" * 64)
        rows["log"].append((1, sequence, payload, b"h" * 32))
        rows["requests"].append((1, "api/bench", str(id_), b"f" * 32, sequence, None))
        rows["entries"].append((1, id_, sequence, "normal", TODAY, TODAY, "payment", None, None, None, None, 2))
        for line, (account, debit) in enumerate(((debited, True), ((debited + 1) % ACCOUNTS, False)), 1):
            rows["lines"].append((1, account, sequence, line, debit, amount, "USD", amount, TODAY, None))
    return rows


async def measure(report: Report, runs: int, seconds: float) -> None:
    """All figures of the writer and of COPY, run in turn so that a change of the machine's speed meets both."""
    async with place() as where:
        copies: list[tuple[float, float]] = []
        figures: dict[tuple[int, bool], list[Run]] = {}
        contended: dict[int, list[float]] = {}
        for _ in range(runs):
            copies.append(await copy_run(where, 1_000, seconds))
            for batch in BATCHES:
                figures.setdefault((batch, False), []).append(await writer_run(where.writer, batch, seconds))
            figures.setdefault((1_000, True), []).append(await writer_run(where.writer, 1_000, seconds, hot=True))
            for writers in (1, 2, 4):
                contended.setdefault(writers, []).append(await contention_run(where.writer, writers, seconds))
        loop = report.add("COPY batch 1,000, whole loop", [whole for whole, _ in copies], "entries/s")
        report.add("COPY batch 1,000, in the database", [inner for _, inner in copies], "entries/s")
        for batch in BATCHES:
            rates, processor_us = zip(*figures[batch, False], strict=True)
            spread = report.add(f"writer direct, batch {batch:,}", rates, "entries/s", loop.value)
            report.add("  processor time of the process, an entry", processor_us, "us")
        rates, _ = zip(*figures[1_000, True], strict=True)
        report.add("writer direct, batch 1,000, one hot account", rates, "entries/s", spread.value, "of spread")
        alone = report.add("1 writer at one ledger, 100 waiting", contended[1], "entries/s")
        for writers in (2, 4):
            name = f"{writers} writers at one ledger, 100 waiting at each"
            report.add(name, contended[writers], "entries/s", alone.value)
