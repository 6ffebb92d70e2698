"""Reports that may be long, piece by piece: account statement, general ledger, journal, as JSON or CSV.

Each piece is read in a short transaction of its own, bounded by the sequence the report began at, so that the whole is
one state of the books however long it takes and nothing is held while a slow client reads. A report that was cut off
is not valid JSON, and as CSV lacks the part that says what it states.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import date
from typing import Any

import orjson

from libs.common import csv_text
from libs.common.db import Connection, Pool
from libs.common.money import from_text, to_text
from services.ledger.account_sum import AccountSum
from services.ledger.reads import as_reader
from services.ledger.reports import running
from services.ledger.reports.answers import Stated, StatementLine, TieOut
from services.ledger.reports.running import Place, Running
from services.ledger.reports.trial_balance import debits_equal_credits, tie_out, totals_of
from services.ledger.state import Ledger
from services.ledger.statement_reads import LINES_PER_SLICE, read_journal, read_lines, read_window

JOURNAL_COLUMNS = (
    "sequence", "recorded_at", "effective_on", "value_on", "id", "kind", "description", "external_id", "origin",
    "reverses", "account", "side", "amount", "currency", "party", "line_description",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Books:
    """One ledger as one caller reads it, between two days, at a sequence."""

    pool: Pool
    organization: str
    ledger: Ledger
    since: date | None
    through: date | None
    sequence: int

    def reading(self) -> AbstractAsyncContextManager[Connection]:
        """A short read-only transaction."""
        return as_reader(self.pool, self.organization, self.ledger)


async def slices(
    books: Books, account_no: int, run: Running, after: Place | None = None, limit: int | None = None
) -> AsyncIterator[list[StatementLine]]:
    """The account's lines with running balance after a place, a slice at a time, `limit` lines at most."""
    since, last_day = books.since or date.min, books.through or date.max
    if after is not None:
        since = after.effective_on
    left = limit
    while left is None or left > 0:
        size = LINES_PER_SLICE if left is None else min(left, LINES_PER_SLICE)
        async with books.reading() as connection:
            window = await read_window(connection, books.ledger, account_no, since, last_day, books.sequence)
            if window is None:
                return
            lines = await read_lines(connection, books.ledger, account_no, window, after, size)
        if lines:
            yield run.through(lines)
            after = lines[-1].place
            left = None if left is None else left - len(lines)
        if len(lines) == size:
            since = lines[-1].place.effective_on
        elif window.last >= last_day:
            return
        else:
            since = date.fromordinal(window.last.toordinal() + 1)


async def statement_csv(
    books: Books, account_no: int, run: Running, closing: int, stated: Mapping[str, Any], currency: str
) -> AsyncIterator[bytes]:
    """An account statement as CSV; `stated` has opening and closing."""
    yield csv_text.table([running.COLUMNS])
    async for lines in slices(books, account_no, run):
        yield csv_text.records(running.COLUMNS, running.AMOUNT_COLUMNS, lines)
    tie = tie_out("lines-make-closing", currency, run.exponent, run.balance, closing)
    yield csv_text.stated({**stated, "tie_outs": [tie]})


@dataclass(frozen=True, slots=True)
class LedgerPart:
    """An account of the general ledger: its sums before the range and at its end."""

    opening: AccountSum
    closing: AccountSum


async def general_ledger_json(books: Books, stated: Stated, parts: Sequence[LedgerPart]) -> AsyncIterator[bytes]:
    """The general ledger as one JSON object."""
    yield orjson.dumps(stated)[:-1] + b',"accounts":['
    totals = _Totals()
    for place, part in enumerate(parts):
        run = _run(part)
        account, exponent = part.closing, part.closing.exponent
        head = {
            "account": account.code, "name": account.name, "type": account.type, "currency": account.currency,
            "normal_side": account.normal_side, "opening": to_text(run.balance, exponent),
        }  # fmt: skip
        yield (b"," if place else b"") + orjson.dumps(head)[:-1] + b',"lines":['
        first = True
        async for lines in slices(books, account.no, run):
            yield (b"" if first else b",") + orjson.dumps(lines)[1:-1]
            first = False
        totals.add(part, run)
        foot = {
            "debits": to_text(run.debits, exponent),
            "credits": to_text(run.credits, exponent),
            "closing": to_text(run.balance, exponent),
        }
        yield b"]," + orjson.dumps(foot)[1:]
    yield b"]," + orjson.dumps(totals.answer())[1:]


async def general_ledger_csv(books: Books, stated: Stated, parts: Sequence[LedgerPart]) -> AsyncIterator[bytes]:
    """The general ledger as CSV: an opening and a closing row around each account's lines."""
    yield csv_text.table([("account", "name", "currency", *running.COLUMNS)])
    totals = _Totals()
    for part in parts:
        run, account = _run(part), part.closing
        own = (account.code, account.name, account.currency)

        def row(words: str, run: Running = run, own: tuple[Any, ...] = own) -> list[Any]:
            empty: list[Any] = [None] * (len(running.COLUMNS) - 1)
            empty[running.COLUMNS.index("description")] = words
            return [*own, *empty, csv_text.Amount(to_text(run.balance, run.exponent))]

        yield csv_text.table([row("opening balance")])
        async for lines in slices(books, account.no, run):
            yield csv_text.table([*own, *_cells(running.COLUMNS, running.AMOUNT_COLUMNS, line)] for line in lines)
        totals.add(part, run)
        yield csv_text.table([row("closing balance")])
    yield csv_text.stated({**stated, **totals.answer()})


async def journal_json(books: Books, stated: Stated, exponents: Mapping[str, int]) -> AsyncIterator[bytes]:
    """The journal as one JSON object."""
    yield orjson.dumps(stated)[:-1] + b',"entries":['
    totals, first = _Totals(), True
    async for entries in _entries(books):
        totals.add_entries(entries, exponents)
        yield (b"" if first else b",") + orjson.dumps(entries)[1:-1]
        first = False
    yield b"]," + orjson.dumps(totals.answer())[1:]


async def journal_csv(books: Books, stated: Stated, exponents: Mapping[str, int]) -> AsyncIterator[bytes]:
    """The journal as CSV, one row a line."""
    yield csv_text.table([JOURNAL_COLUMNS])
    totals = _Totals()
    async for entries in _entries(books):
        totals.add_entries(entries, exponents)
        yield csv_text.records(JOURNAL_COLUMNS, frozenset({"amount"}), _journal_rows(entries))
    yield csv_text.stated({**stated, **totals.answer()})


async def _entries(books: Books) -> AsyncIterator[list[dict[str, Any]]]:
    after = 0
    while True:
        async with books.reading() as connection:
            entries = await read_journal(
                connection, books.ledger, books.since, books.through, after, books.sequence
            )  # fmt: skip
        if not entries:
            return
        yield entries
        after = entries[-1]["sequence"]


def _journal_rows(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            **entry,
            "origin": (entry["origin"] or {}).get("document"),
            "party": None,
            **line,
            "description": entry["description"],
            "line_description": line.get("description"),
        }
        for entry in entries
        for line in entry["lines"]
    ]


def _run(part: LedgerPart) -> Running:
    account = part.closing
    return Running(account.normal_side, account.exponent, part.opening.posted)


def _cells(columns: Sequence[str], amounts: frozenset[str], line: Mapping[str, Any]) -> list[Any]:
    return [csv_text.Amount(line[name]) if name in amounts else line[name] for name in columns]


class _Totals:
    """Turnover by currency as the pieces go by, and whether the lines made every account's closing balance."""

    def __init__(self) -> None:
        self._turnover: dict[str, tuple[int, int]] = {}
        self._exponents: dict[str, int] = {}
        self._closing: dict[str, tuple[int, int, bool]] = {}

    def add(self, part: LedgerPart, run: Running) -> None:
        account = part.closing
        assert account.currency is not None
        self._add(account.currency, account.exponent, run.debits, run.credits)
        left, right, ok = self._closing.get(account.currency, (0, 0, True))
        same = run.balance == account.posted
        self._closing[account.currency] = (left + run.balance, right + account.posted, ok and same)

    def add_entries(self, entries: Sequence[Mapping[str, Any]], exponents: Mapping[str, int]) -> None:
        for entry in entries:
            for line in entry["lines"]:
                exponent = exponents[line["currency"]]
                amount = from_text(line["amount"], exponent)
                debit, credit = (amount, 0) if line["side"] == "debit" else (0, amount)
                self._add(line["currency"], exponent, debit, credit)

    def answer(self) -> dict[str, Any]:
        turnover = dict(sorted(self._turnover.items()))
        ties: list[TieOut] = debits_equal_credits(turnover, self._exponents)
        for code, (left, right, ok) in sorted(self._closing.items()):
            ties.append({**tie_out("lines-make-closing", code, self._exponents[code], left, right), "ok": ok})
        balanced = all(debits == credits_ for debits, credits_ in turnover.values())
        return {"totals": totals_of(turnover, self._exponents), "balanced": balanced, "tie_outs": ties}

    def _add(self, currency: str, exponent: int, debits: int, credits_: int) -> None:
        before = self._turnover.get(currency, (0, 0))
        self._turnover[currency] = (before[0] + debits, before[1] + credits_)
        self._exponents[currency] = exponent
