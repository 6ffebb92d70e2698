"""Whole books out and in again: how long it takes, and how large the ledger's process grows.

    python -m bench.exchange [--lines 1000000] [--small 100000] [--json FILE]

On a stack of its own it posts entries of two lines, first a small number of lines and then the large one, each to a
ledger of its own; exports them in every format there is; and imports each journal into a fresh ledger, whose trial
balance has to be the source's. The most memory that the ledger's process had is told for each step (the kernel's own
mark, set back before it), so that the small books and the large ones stand side by side: what grows with the lines
shows. Files lie on disk, so this program stays small beside it.
"""

import argparse
import asyncio
import os
import random
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import uvloop

from bench.report import Report
from libs.cli.session import Stack, running
from libs.common.clock import new_id
from libs.devstack.stack import stack_status, start_detached, stop_stack

ORGANIZATION = "bench"
ACCOUNTS = 1_000
ENTRIES_A_PIECE = 500
EXPORTED = ("ndjson", "hledger", "beancount", "entries-csv", "accounts-csv")
IMPORTED = {"ndjson": "application/x-ndjson", "hledger": "text/plain", "beancount": "text/plain"}
READ_AT_ONCE = 1024 * 1024


@dataclass(slots=True)
class Process:
    """The ledger's process, as the kernel counts its memory."""

    pid: int

    def begin(self) -> float:
        """Sets the mark of the most memory back to what is resident now; gives that, MiB."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5", encoding="ascii")
        return self.most_mib()

    def most_mib(self) -> float:
        """The most memory that was resident since the mark was set, MiB."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:"))


@dataclass(slots=True)
class Exchange:
    """What every step needs: the ledger's address and process, a folder for files, the figures."""

    session: aiohttp.ClientSession
    process: Process
    folder: Path
    report: Report

    async def measured(self, what: str, lines: int, step: Callable[[], Awaitable[Any]]) -> None:
        """Runs one step and adds its seconds, lines a second and memory."""
        self.process.begin()
        started = time.perf_counter()
        await step()
        took = time.perf_counter() - started
        self.report.add(f"{what}, {lines:,} lines", [lines / took], "lines/s", note=f"{took:.1f} s")
        self.report.add(f"{what}, {lines:,} lines, most memory", [self.process.most_mib()], "MiB")

    async def open_ledger(self, code: str) -> None:
        """A fresh set of books."""
        async with self.session.post("/api/v1/ledgers", json={"code": code, "name": code}) as answer:
            assert answer.status == 201, await answer.text()

    async def fill(self, ledger: str, entries: int) -> None:
        """Accounts, then entries as one bulk."""
        chart = {
            "accounts": [
                {"code": f"A{no}", "name": f"Account {no}", "type": "asset", "currency": "USD"}
                for no in range(ACCOUNTS)
            ]
        }
        body = orjson.dumps(chart)
        last = await self._streamed(f"{ledger}/import/accounts-json", "application/json", lambda: _once(body))
        assert last["accounts"] == {"opened": ACCOUNTS}, last
        last = await self._streamed(f"{ledger}/entries/bulk", "application/x-ndjson", lambda: _entries(entries))
        assert last["status"] == "posted", last

    async def export(self, ledger: str, format_: str) -> None:
        """One export, into the file that `file` names."""
        with self.file(format_).open("wb") as file:
            async with self.session.get(f"/api/v1/ledgers/{ledger}/export/{format_}") as answer:
                assert answer.status == 200, await answer.text()
                async for piece in answer.content.iter_chunked(READ_AT_ONCE):
                    file.write(piece)

    async def take(self, ledger: str, format_: str, entries: int) -> None:
        """Imports the file of a format; every entry of it has to be posted."""
        last = await self._streamed(
            f"{ledger}/import/{format_}", IMPORTED[format_], lambda: _pieces_of(self.file(format_))
        )
        assert last["entries"] == {"posted": entries}, last

    async def balances(self, ledger: str) -> list[Any]:
        """Code, debits and credits of every account."""
        async with self.session.get(f"/api/v1/ledgers/{ledger}/reports/trial-balance") as answer:
            report = await answer.json()
        assert report["balanced"], report["totals"]
        return [(row["account"], row["debits"], row["credits"]) for row in report["rows"]]

    def file(self, format_: str) -> Path:
        """Where the export of a format lies."""
        return self.folder / f"books.{format_}"

    async def _streamed(self, path: str, content_type: str, body: Callable[[], AsyncIterator[bytes]]) -> dict[str, Any]:
        """Sends a stream and reads the results while they come; the last of them."""
        headers = {"Content-Type": content_type, "Idempotency-Key": str(new_id())}
        rest = b""
        async with self.session.post(f"/api/v1/ledgers/{path}", data=body(), headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            async for piece in answer.content.iter_chunked(READ_AT_ONCE):
                rest = (rest + piece)[-16 * 1024 :]
        last: dict[str, Any] = orjson.loads(rest.rstrip().rpartition(b"\n")[2])
        return last


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _entries(count: int) -> AsyncIterator[bytes]:
    chosen = random.Random(1)
    for first in range(0, count, ENTRIES_A_PIECE):
        yield b"".join(_entry(chosen) for _ in range(min(ENTRIES_A_PIECE, count - first)))


def _entry(chosen: random.Random) -> bytes:
    debited, amount = chosen.randrange(ACCOUNTS), f"{chosen.randrange(1, 1000)}.{chosen.randrange(100):02d}"
    lines = [
        {"account": f"A{debited}", "side": "debit", "amount": amount},
        {"account": f"A{(debited + 1) % ACCOUNTS}", "side": "credit", "amount": amount},
    ]
    day = f"2026-{chosen.randrange(1, 13):02d}-{chosen.randrange(1, 29):02d}"
    return orjson.dumps({"effective_on": day, "description": "payment", "lines": lines}) + b"\n"


async def _pieces_of(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(READ_AT_ONCE):
            yield piece


async def _one_size(exchange: Exchange, lines: int) -> None:
    """Everything with books of so many lines."""
    entries, source = lines // 2, f"source-{lines}"
    await exchange.open_ledger(source)
    await exchange.measured("posted as a bulk", lines, lambda: exchange.fill(source, entries))
    wanted = await exchange.balances(source)
    for format_ in EXPORTED:

        async def export(format_: str = format_) -> None:
            await exchange.export(source, format_)

        await exchange.measured(f"export {format_}", lines, export)
        size_mib = exchange.file(format_).stat().st_size / 1024**2
        print(f"{'':58s} {size_mib:12,.1f} MiB of file", flush=True)
    for format_ in IMPORTED:
        ledger = f"from-{format_}-{lines}"
        await exchange.open_ledger(ledger)

        async def take(format_: str = format_, ledger: str = ledger) -> None:
            await exchange.take(ledger, format_, entries)

        await exchange.measured(f"import {format_}", lines, take)
        assert await exchange.balances(ledger) == wanted, f"{ledger} differs from {source}"
    print(f"{lines:,} lines: every import has the balances of its source\n", flush=True)


async def _open_organization(stack: Stack) -> None:
    operator = {"Authorization": f"Bearer {stack.token(None, ['operator'])}"}
    async with aiohttp.ClientSession(stack.gateway, headers=operator) as session:
        body = {"slug": ORGANIZATION, "name": "Bench", "functional_currency": "USD"}
        async with session.post("/api/v1/organizations", json=body) as answer:
            assert answer.status == 201, await answer.text()


async def measure(sizes: list[int], json_file: Path | None) -> None:
    """Starts a stack of its own, measures each size in turn, prints the figures, stops it."""
    os.environ["LEDGERBUS_TRACE_SAMPLE_RATIO"] = "0.01"
    report = Report("exchange", {"accounts": f"{ACCOUNTS:,}", "lines an entry": "2", "postgres": "18, fsync on"})
    report.head()
    with tempfile.TemporaryDirectory(prefix="ledgerbus-bench-") as folder:
        data_dir = Path(folder)
        await asyncio.to_thread(start_detached, data_dir, quiet=True)
        try:
            stack, status = running(data_dir), stack_status(data_dir)["ledger"]
            await _open_organization(stack)
            headers = {"Authorization": f"Bearer {stack.token(ORGANIZATION, ['controller'])}"}
            timeout = aiohttp.ClientTimeout(total=None)
            async with aiohttp.ClientSession(status["url"], headers=headers, timeout=timeout) as session:
                exchange = Exchange(session, Process(status["pid"]), data_dir, report)
                report.add("the ledger's process at its start", [exchange.process.begin()], "MiB")
                for lines in sizes:
                    await _one_size(exchange, lines)
        finally:
            await asyncio.to_thread(stop_stack, data_dir)
    if json_file is not None:
        report.write(json_file)


def main() -> None:
    """Reads the command line and measures."""
    parser = argparse.ArgumentParser(prog="bench.exchange", description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--small", type=int, default=100_000)
    parser.add_argument("--json", type=Path, default=None)
    chosen = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure(sorted({chosen.small, chosen.lines}), chosen.json))


if __name__ == "__main__":
    main()
