"""How long balances and the trial balance take on an account with many lines, under row-level security.

    python -m bench.as_of [--lines 1000000] [--json FILE]

Makes one account with that many lines in a PostgreSQL of its own: lines and entries are written by COPY with the
triggers off, balances and daily totals are added up from them, so the books are those the writer would have left (but
for the log). Effective days run over two years, one entry in ten is backdated by up to 60 days. Then a reader asks, as
the service does, at random days and sequences.
"""

import argparse
import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import uvloop

from bench.report import Report
from bench.writer_direct import open_books, place
from libs.common.db import Pool, create_pool
from services.ledger.balance_reads import AsOf, read_account_kept, read_balance
from services.ledger.queued import Limits
from services.ledger.reads import as_reader
from services.ledger.state import Ledger
from services.ledger.sums import read_sums

FIRST_DAY, DAYS, BACKDATED_DAYS = date(2024, 1, 1), 730, 60
HOT = 1
SLICE = 100_000
LINES = (
    "ledger_no", "account_no", "sequence", "line", "debit", "amount", "currency", "balance_after", "effective_on",
    "party",
)  # fmt: skip
ENTRIES = ("ledger_no", "id", "sequence", "kind", "effective_on", "value_on", "description", "line_count")


def day_of(number: int, count: int, chosen: random.Random) -> date:
    """The effective day of the entry at this place of the history."""
    day = FIRST_DAY + timedelta(days=number * DAYS // count)
    return day - timedelta(days=chosen.randrange(BACKDATED_DAYS)) if chosen.random() < 0.1 else day


async def fill(dsn: str, ledger_no: int, first: int, count: int, accounts: int) -> int:
    """Writes `count` entries between the hot account and another; gives the last sequence."""
    chosen, hot = random.Random(7), 0
    others = [0] * (accounts + 1)
    connection = await asyncpg.connect(dsn)
    await connection.execute("set session_replication_role = replica")
    for start in range(0, count, SLICE):
        lines, entries = [], []
        for number in range(start, min(start + SLICE, count)):
            sequence, other = first + number, chosen.randrange(2, accounts + 1)
            day, amount = day_of(number, count, chosen), chosen.randrange(1, 100_000)
            debit = chosen.random() < 0.55
            hot += amount if debit else -amount
            others[other] += -amount if debit else amount
            entry = UUID(int=(sequence << 64) | ledger_no)
            entries.append((ledger_no, entry, sequence, "normal", day, day, "payment", 2))
            lines.append((ledger_no, HOT, sequence, 0, debit, amount, "USD", hot, day, None))
            lines.append((ledger_no, other, sequence, 1, not debit, amount, "USD", others[other], day, None))
        await connection.copy_records_to_table("lines", records=lines, columns=LINES)
        await connection.copy_records_to_table("entries", records=entries, columns=ENTRIES)
    last = first + count - 1
    await connection.execute("update ledgers set sequence = $2 where no = $1", ledger_no, last)
    await connection.execute(
        """
        insert into daily_totals (ledger_no, account_no, effective_on, block, debits, credits)
        select ledger_no, account_no, effective_on, sequence >> 16, coalesce(sum(amount) filter (where debit), 0),
            coalesce(sum(amount) filter (where not debit), 0)
        from lines group by ledger_no, account_no, effective_on, sequence >> 16
        """
    )
    await connection.execute(
        """
        update balances b set debits = s.debits, credits = s.credits
        from (select account_no, sum(debits) as debits, sum(credits) as credits from daily_totals group by 1) s
        where s.account_no = b.account_no
        """
    )
    await connection.execute("vacuum analyze")
    await connection.close()
    return last


async def timed(ask: Callable[[], Awaitable[Any]], times: int) -> list[float]:
    """Milliseconds of each call, sorted; the first few are not counted."""
    taken = []
    for number in range(times + 5):
        started = time.perf_counter()
        await ask()
        if number >= 5:
            taken.append((time.perf_counter() - started) * 1_000)
    return sorted(taken)


class Asking:
    """A reader at random days and sequences."""

    def __init__(self, pool: Pool, ledger: Ledger, code: str, first: int, last: int) -> None:
        self.pool, self.ledger, self.code = pool, ledger, code
        self.first, self.last = first, last
        self.chosen = random.Random(11)

    def day(self) -> date:
        return FIRST_DAY + timedelta(days=self.chosen.randrange(DAYS))

    def sequence(self) -> int:
        return self.chosen.randrange(self.first, self.last + 1)

    async def balance(self, asked: AsOf) -> None:
        async with as_reader(self.pool, "bench", self.ledger) as connection:
            account = await read_account_kept(connection, self.ledger, self.code)
            assert account is not None
            await read_balance(connection, self.ledger, account, asked)

    async def trial_balance(self, through: date | None, sequence: int | None) -> None:
        async with as_reader(self.pool, "bench", self.ledger) as connection:
            await read_sums(connection, self.ledger, since=None, through=through, sequence=sequence)

    async def questions(self) -> AsyncIterator[tuple[str, list[float]]]:
        """What was asked, and the milliseconds it took, sorted."""
        times = 200
        yield "balance now", await timed(lambda: self.balance(AsOf()), times)
        yield "balance as of a day", await timed(lambda: self.balance(AsOf(self.day())), times)
        yield "balance as of a sequence", await timed(lambda: self.balance(AsOf(None, self.sequence())), times)
        yield "balance as of both", await timed(lambda: self.balance(AsOf(self.day(), self.sequence())), 50)
        yield "trial balance now", await timed(lambda: self.trial_balance(None, None), 20)
        yield "trial balance as of a day", await timed(lambda: self.trial_balance(self.day(), None), 20)
        yield "trial balance as of both", await timed(lambda: self.trial_balance(self.day(), self.sequence()), 20)


async def plans(asking: Asking) -> None:
    """Prints how the lines of a block are found: by key on one account, by block range over all."""
    low = (asking.last >> 17) << 16
    async with as_reader(asking.pool, "bench", asking.ledger) as connection:
        for where in ("account_no = 1 and", ""):
            rows = await connection.fetch(
                "explain select sum(amount) from lines where ledger_no = $1 and " + where
                + " sequence >= $2 and sequence <= $3 and effective_on <= $4",
                asking.ledger.no, low, low + 60_000, FIRST_DAY + timedelta(days=DAYS),
            )  # fmt: skip
            print("\n".join(f"    {row[0]}" for row in rows), flush=True)


async def measure(count: int, json_file: Path | None) -> None:
    """Makes the account and asks."""
    report = Report("as_of", {"lines on the account": f"{count:,}", "postgres": "18, role of the reader, RLS on"})
    report.head()
    async with place() as at:
        books = await open_books(at.writer, Limits())
        ledger = await books.get("bench", "main")
        async with books.pool.acquire() as connection:
            first = 1 + await connection.fetchval("select sequence from ledgers where no = $1", ledger.no)
            code = await connection.fetchval("select code from accounts where no = $1", HOT)
            accounts = await connection.fetchval("select max(no) from accounts")
        await books.pool.close()
        started = time.perf_counter()
        last = await fill(at.admin, ledger.no, first, count, accounts)
        print(f"made in {time.perf_counter() - started:.0f} s\n", flush=True)
        pool = await create_pool(at.reader, name="reader", max_size=1)
        asking = Asking(pool, ledger, code, first, last)
        async for name, taken in asking.questions():
            report.add(f"{name}, p50", [taken[len(taken) // 2]], "ms")
            report.add(f"{name}, p99", [taken[len(taken) * 99 // 100]], "ms")
        await plans(asking)
        await pool.close()
    if json_file is not None:
        report.write(json_file)


def main() -> None:
    """Reads the command line and measures."""
    parser = argparse.ArgumentParser(prog="bench.as_of", description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path, default=None)
    chosen = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure(chosen.lines, chosen.json))


if __name__ == "__main__":
    main()
