"""Exports: a ledger up to one sequence as a file of any length, in constant memory.

    head at S  ->  accounts by code, slice by slice  ->  entries by sequence, slice by slice  ->  trailer

Every slice is a short transaction of its own, bounded by `sequence <= S`: what is below S never changes, so the slices
fit together, and nobody waits for an old snapshot. Memory holds one slice and each account's name. A file that broke
off has no trailer; of the log itself the last line is the last record, and its sequence and hash are in the headers.

Posting comes first: after each slice an export rests for as long as requests wait or are being written, `REST` times as
long as it worked at most. So it takes a ninth of the time beside a busy writer, and all of it beside an idle one.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, NamedTuple

import orjson

from libs.common.clock import monotonic_s
from libs.common.db import Pool
from services.ledger import exchange_reads, reads
from services.ledger.exchange.beancount_text import BeancountWriter
from services.ledger.exchange.chart_file import COLUMNS, account_row, csv_text
from services.ledger.exchange.entry_rows import ENTRY_COLUMNS, entry_rows
from services.ledger.exchange.hledger_text import HledgerWriter
from services.ledger.exchange.written import Extent, Writer
from services.ledger.state import Ledger

ACCOUNTS_AT_ONCE: Final = 500
RECORDS_AT_ONCE: Final = 500
REST: Final = 8
REST_S_MAX: Final = 1.0
LOOK_EVERY_S: Final = 0.005


class ExportFormat(NamedTuple):
    """How a format is sent. `by_day`: whether `from` and `to` choose among its entries."""

    media_type: str
    suffix: str
    by_day: bool


EXPORTS: Final[Mapping[str, ExportFormat]] = {
    "ndjson": ExportFormat("application/x-ndjson", "ndjson", by_day=False),
    "hledger": ExportFormat("text/plain; charset=utf-8", "journal", by_day=True),
    "beancount": ExportFormat("text/plain; charset=utf-8", "beancount", by_day=True),
    "accounts-csv": ExportFormat("text/csv; charset=utf-8", "accounts.csv", by_day=False),
    "entries-csv": ExportFormat("text/csv; charset=utf-8", "entries.csv", by_day=True),
}

_WRITERS: Final[Mapping[str, Callable[[Extent], Writer]]] = {"hledger": HledgerWriter, "beancount": BeancountWriter}


@dataclass(frozen=True, slots=True)
class Export:
    """One export of one ledger; `reader` is a pool of the reader's role, `busy` says whether requests wait."""

    reader: Pool
    ledger: Ledger
    extent: Extent
    busy: Callable[[], bool]

    async def pieces(self, format_: str) -> AsyncIterator[bytes]:
        """The file, some hundred records at a time."""
        began_s = monotonic_s()
        async for piece in self._pieces(format_):
            worked_s = monotonic_s() - began_s
            yield piece
            await give_way(self.busy, worked_s)
            began_s = monotonic_s()

    async def _pieces(self, format_: str) -> AsyncIterator[bytes]:
        if format_ == "ndjson":
            async for records in self._log():
                yield b"".join(orjson.dumps(record) + b"\n" for record in records)
        elif format_ == "accounts-csv":
            yield csv_text([list(COLUMNS)]).encode()
            async for accounts in self._accounts():
                yield csv_text([account_row(account) for account in accounts]).encode()
        elif format_ == "entries-csv":
            yield csv_text([list(ENTRY_COLUMNS)]).encode()
            async for entries in self._entries():
                yield csv_text([row for sequence, entry in entries for row in entry_rows(sequence, entry)]).encode()
        else:
            writer = _WRITERS[format_](self.extent)
            yield writer.head().encode()
            async for accounts in self._accounts():
                yield "".join(writer.account(account) for account in accounts).encode()
            async for entries in self._entries():
                yield "".join(writer.entry(sequence, entry) for sequence, entry in entries).encode()
            yield writer.tail().encode()

    async def _log(self) -> AsyncIterator[list[dict[str, Any]]]:
        for after in range(0, self.extent.sequence, RECORDS_AT_ONCE):
            through = min(after + RECORDS_AT_ONCE, self.extent.sequence)
            async with reads.as_reader(self.reader, self.extent.organization, self.ledger) as connection:
                records = await exchange_reads.list_log(connection, self.ledger, after, through)
            yield records

    async def _accounts(self) -> AsyncIterator[list[dict[str, Any]]]:
        after = ""
        while True:
            async with reads.as_reader(self.reader, self.extent.organization, self.ledger) as connection:
                accounts = await exchange_reads.list_accounts_at(
                    connection, self.ledger, after, self.extent.sequence, ACCOUNTS_AT_ONCE
                )
            if not accounts:
                return
            yield accounts
            after = accounts[-1]["code"]

    async def _entries(self) -> AsyncIterator[list[tuple[int, dict[str, Any]]]]:
        extent = self.extent
        for after in range(0, extent.sequence, RECORDS_AT_ONCE):
            through = min(after + RECORDS_AT_ONCE, extent.sequence)
            async with reads.as_reader(self.reader, extent.organization, self.ledger) as connection:
                entries = await exchange_reads.list_entries_between(
                    connection, self.ledger, after, through, extent.from_on, extent.to_on
                )
            yield entries


async def give_way(busy: Callable[[], bool], worked_s: float) -> None:
    """Rests while `busy`, at most in proportion to the time worked."""
    until_s = monotonic_s() + min(REST_S_MAX, REST * worked_s)
    while monotonic_s() < until_s:
        if not busy():
            return
        await asyncio.sleep(LOOK_EVERY_S)


async def begin_export(
    reader: Pool,
    ledger: Ledger,
    sequence: int | None,
    from_on: date | None,
    to_on: date | None,
    busy: Callable[[], bool],
) -> Export | None:
    """An export up to a sequence, the log's head where none is given; None where the log has not come so far."""
    async with reads.as_reader(reader, ledger.organization, ledger) as connection:
        head = await exchange_reads.read_head(connection, ledger, sequence)
    if head is None:
        return None
    extent = Extent(
        organization=ledger.organization,
        ledger=ledger.code,
        functional_currency=ledger.functional_currency.code,
        sequence=head.sequence,
        hash=head.hash,
        from_on=from_on,
        to_on=to_on,
    )
    return Export(reader, ledger, extent, busy)
