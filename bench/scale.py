"""How the writer behaves when there is much of something: ledgers, lines, accounts.

    python -m bench.scale [--only ledgers,growth,accounts] [--seconds 3] [--runs 3] [--lines 10000000] [--json FILE]

`ledgers` spreads traffic over 1,000 ledgers, one entry each at a time (16 in flight) and ten waiting at each. `growth`
fills one ledger with lines (as bench.as_of does), then posts to it as to an empty one. `accounts` opens accounts in one
ledger, touches all of them, and says how large the process grows.
"""

import argparse
import asyncio
import os
import random
import resource
import time
from pathlib import Path
from typing import Any

import asyncpg
import uvloop

from bench.as_of import fill
from bench.report import Report
from bench.writer_direct import ASKER, Place, open_books, place, wish, writer_run
from libs.common.clock import now
from libs.common.journal import AccountRequest, EntryRequest, LedgerRequest, LineRequest
from services.ledger.commands import Books, Wish, ask, enqueue, open_ledger
from services.ledger.pools import create_writer_pool
from services.ledger.queued import Limits

PARTS = ("ledgers", "growth", "accounts")
LEDGERS = 1_000
OPENED_AT_ONCE = 2_000


# --- many ledgers -----------------------------------------------------------------------------------------------------


async def open_many(dsn: str) -> list[str]:
    """A thousand ledgers with two accounts each; their codes."""
    books = await open_books(dsn, Limits())
    codes = [f"l{number}" for number in range(LEDGERS)]
    for code in codes:
        await open_ledger(books, LedgerRequest(code=code, name=code), ASKER, None)
        for account in ("A", "B"):
            await ask(books, in_ledger(code, AccountRequest(code=account, name=account, type="asset", currency="USD")))
    await books.pool.close()
    return codes


def in_ledger(code: str, request: Any) -> Wish:
    """A wish for one of the ledgers."""
    made = wish(request)
    return Wish(made.asker, code, request, made.key, made.fingerprint, made.size, made.lookup, made.traceparent)


def payment() -> EntryRequest:
    """An entry between the two accounts of a ledger."""
    return EntryRequest(lines=[LineRequest("A", "debit", "1.00"), LineRequest("B", "credit", "1.00")])


async def spread_run(dsn: str, codes: list[str], in_flight: int, waiting: int, seconds: float) -> float:
    """Entries per second over all ledgers: `in_flight` of them at work at a time, `waiting` requests at each."""
    books = Books(await create_writer_pool(dsn), now, Limits())
    ledgers = [await books.get("bench", code) for code in codes]
    chosen, started, posted = random.Random(1), time.perf_counter(), 0

    async def post() -> None:
        nonlocal posted
        while time.perf_counter() - started < seconds:
            ledger = chosen.choice(ledgers)
            wishes = [in_ledger(ledger.code, payment()) for _ in range(waiting)]
            outcomes = await asyncio.gather(*(enqueue(books, ledger, one) for one in wishes))
            posted += sum(bool(outcome.records) for outcome in outcomes)

    await asyncio.gather(*(post() for _ in range(in_flight)))
    elapsed = time.perf_counter() - started
    await books.pool.close()
    return posted / elapsed


async def measure_ledgers(report: Report, at: Place, runs: int, seconds: float) -> None:
    """Traffic that never meets: one statement for each ledger."""
    codes = await open_many(at.writer)
    for in_flight, waiting in ((16, 1), (16, 10)):
        figures = [await spread_run(at.writer, codes, in_flight, waiting, seconds) for _ in range(runs)]
        report.add(f"1,000 ledgers, {in_flight} at work, {waiting} waiting at each", figures, "entries/s")


# --- growth -----------------------------------------------------------------------------------------------------------


async def measure_growth(report: Report, runs: int, seconds: float, lines: int) -> None:
    """Entries per second on a ledger that is empty, and on one that has many lines; each on a PostgreSQL of its own."""
    async with place() as at:
        empty = [(await writer_run(at.writer, 1_000, seconds)).entries_per_s for _ in range(runs)]
    before = report.add("batches of 1,000 on an empty ledger", empty, "entries/s")
    async with place() as at:
        books = await open_books(at.writer, Limits())
        ledger = await books.get("bench", "main")
        await books.pool.close()
        started = time.perf_counter()
        await grow(at, ledger.no, lines)
        took = time.perf_counter() - started
        full = [(await writer_run(at.writer, 1_000, seconds)).entries_per_s for _ in range(runs)]
    report.add(f"batches of 1,000 with {lines:,} lines", full, "entries/s", before.value, f"filled in {took:.0f} s")


async def grow(at: Place, ledger_no: int, lines: int) -> None:
    """Fills the ledger; its log goes on behind a record that stands for all the others."""
    admin = await asyncpg.connect(at.admin)
    try:
        head = await admin.fetchrow("select sequence, hash from ledgers where no = $1", ledger_no)
        accounts = await admin.fetchval("select max(no) from accounts where ledger_no = $1", ledger_no)
        assert head is not None, "the ledger was opened"
        last = await fill(at.admin, ledger_no, head["sequence"] + 1, lines // 2, accounts)
        await admin.execute("set session_replication_role = replica")
        await admin.execute(
            "insert into log (ledger_no, sequence, payload, hash) values ($1, $2, '{}', $3)",
            ledger_no,
            last,
            head["hash"],
        )
    finally:
        await admin.close()


# --- accounts ---------------------------------------------------------------------------------------------------------


def resident_mib() -> float:
    """What this process has in memory now, MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2


async def measure_accounts(report: Report, at: Place, count: int) -> None:
    """How large the process is with so many accounts in a ledger, all of them touched."""
    books = await open_books(at.writer, Limits())
    before = resident_mib()
    for start in range(0, count, OPENED_AT_ONCE):
        opened = (
            ask(books, wish(AccountRequest(code=f"B{no}", name=f"B{no}", type="liability", currency="USD")))
            for no in range(start, min(start + OPENED_AT_ONCE, count))
        )
        await asyncio.gather(*opened)
        books.observe()
    ledger = await books.get("bench", "main")
    for start in range(0, count, OPENED_AT_ONCE):
        wishes = [
            wish(EntryRequest(lines=[LineRequest("A0", "debit", "1.00"), LineRequest(f"B{no}", "credit", "1.00")]))
            for no in range(start, min(start + OPENED_AT_ONCE, count))
        ]
        await asyncio.gather(*(enqueue(books, ledger, one) for one in wishes))
        books.observe()
    report.add("memory before, 1,000 accounts", [before], "MiB")
    report.add(f"memory after {count:,} accounts, all touched", [resident_mib()], "MiB")
    report.add("most memory it ever had", [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024], "MiB")
    report.add("accounts in the cache at the end", [books.writer_of(ledger).cached_accounts], "accounts")
    await books.pool.close()


async def measure(
    parts: list[str], runs: int, seconds: float, lines: int, accounts: int, json_file: Path | None
) -> None:
    """Measures the parts asked for, each on a PostgreSQL of its own, and prints them."""
    report = Report("scale", {"runs": str(runs), "seconds a run": str(seconds), "postgres": "18, fsync on"})
    report.head()
    if "ledgers" in parts:
        async with place() as at:
            await measure_ledgers(report, at, runs, seconds)
    if "growth" in parts:
        await measure_growth(report, runs, seconds, lines)
    if "accounts" in parts:
        async with place() as at:
            await measure_accounts(report, at, accounts)
    if json_file is not None:
        report.write(json_file)


def main() -> None:
    """Reads the command line and measures."""
    parser = argparse.ArgumentParser(prog="bench.scale", description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help="parts to measure, separated by commas")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--lines", type=int, default=10_000_000)
    parser.add_argument("--accounts", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path, default=None)
    chosen = parser.parse_args()
    parts = [part for part in chosen.only.split(",") if part]
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure(parts, chosen.runs, chosen.seconds, chosen.lines, chosen.accounts, chosen.json))


if __name__ == "__main__":
    main()
