"""Lines for statements, totals and the journal: in slices, each bounded by days, sequences and a count.

Lines are kept by account and sequence, a statement wants them by effective day. The daily totals say which days have
lines and in which blocks of sequences, so a slice takes the next days that lie within a few blocks (a `Window`) and
sorts the lines of those blocks alone. Everything is bounded by a sequence, so slices read in different transactions
fit together.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

import asyncpg
import orjson

from libs.common.db import Connection
from services.ledger.records import entry_answer
from services.ledger.reports.running import LineRead, Place
from services.ledger.state import Ledger

WINDOW_BLOCKS = 4
WINDOW_DAYS = 366
LINES_PER_SLICE = 5_000
ENTRIES_PER_SLICE = 500


class Window(NamedTuple):
    """Days that follow each other and the sequences their lines are among."""

    first: date
    last: date
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class LineFilters:
    """Which lines of an account; None is all. `q` is part of description or external id, `metadata` a JSON object."""

    since: date | None = None
    through: date | None = None
    side: str | None = None
    q: str | None = None
    party: str | None = None
    origin: str | None = None
    metadata: str | None = None

    @property
    def only_days(self) -> bool:
        """Whether the daily totals can answer."""
        return not any((self.side, self.q, self.party, self.origin, self.metadata))


async def read_hash(connection: Connection, ledger: Ledger, sequence: int) -> str:
    """The log's hash at a sequence; nothing at 0."""
    found = await connection.fetchval(
        "select hash from log where ledger_no = $1 and sequence = $2", ledger.no, sequence
    )  # fmt: skip
    return bytes(found).hex() if found is not None else ""


async def read_window(
    connection: Connection, ledger: Ledger, account_no: int, since: date, through: date, sequence: int
) -> Window | None:
    """The next days that have lines, as many as lie in a few blocks; always at least one."""
    row = await connection.fetchrow(
        """
        select min(effective_on) as first, max(effective_on) as last, min(low) as low, max(high) as high
        from (
            select effective_on, low, high, row_number() over days as place,
                max(high) over days - min(low) over days as span
            from (
                select effective_on, min(block) as low, max(block) as high
                from daily_totals
                where ledger_no = $1 and account_no = $2 and effective_on between $3 and $4
                    and block <= $5::bigint >> 16
                group by effective_on order by effective_on limit $7
            ) next
            window days as (order by effective_on)
        ) spanned
        where place = 1 or span < $6
        """,
        ledger.no,
        account_no,
        since,
        through,
        sequence,
        WINDOW_BLOCKS,
        WINDOW_DAYS,
    )
    assert row is not None, "an aggregate has a row"
    if row["first"] is None:
        return None
    return Window(row["first"], row["last"], row["low"] << 16, min(((row["high"] + 1) << 16) - 1, sequence))


async def read_lines(
    connection: Connection, ledger: Ledger, account_no: int, window: Window, after: Place | None, limit: int
) -> list[LineRead]:
    """Lines of a window after a place, in the order of effective day, sequence and line."""
    begin = after or Place(date.min, 0, 0)
    rows = await connection.fetch(
        """
        select n.effective_on, n.sequence, n.line, n.debit, n.amount, n.party, e.value_on, e.id, e.kind, e.description,
            e.external_id, e.origin_document
        from (
            select * from lines
            where ledger_no = $1 and account_no = $2 and sequence between $3 and $4
                and effective_on between $5 and $6 and (effective_on, sequence, line) > ($7, $8, $9)
            order by effective_on, sequence, line limit $10
        ) n
        join entries e on e.ledger_no = $1 and e.sequence = n.sequence
        order by n.effective_on, n.sequence, n.line
        """,
        ledger.no,
        account_no,
        window.low,
        window.high,
        window.first,
        window.last,
        begin.effective_on,
        begin.sequence,
        begin.line,
        limit,
    )
    return [_line(row) for row in rows]


async def read_filtered_lines(
    connection: Connection,
    ledger: Ledger,
    account_no: int,
    filters: LineFilters,
    after: tuple[int, int],
    sequence: int,
    limit: int,
) -> list[LineRead]:
    """Lines that pass the filters, after a sequence and line, in the order of posting."""
    rows = await connection.fetch(
        """
        select n.effective_on, n.sequence, n.line, n.debit, n.amount, n.party, e.value_on, e.id, e.kind, e.description,
            e.external_id, e.origin_document
        from lines n
        join entries e on e.ledger_no = n.ledger_no and e.sequence = n.sequence
        where n.ledger_no = $1 and n.account_no = $2 and n.sequence <= $3 and (n.sequence, n.line) > ($4, $5)
            and n.effective_on between $6 and $7 and ($8::boolean is null or n.debit = $8)
            and ($9::text is null or strpos(lower(e.description || ' ' || coalesce(e.external_id, '')), lower($9)) > 0)
            and ($10::text is null or n.party = $10) and ($11::text is null or e.origin_document = $11)
            and ($12::jsonb is null or (
                select coalesce(g.payload::jsonb -> 'entry' -> 'metadata', '{}') from log g
                where g.ledger_no = $1 and g.sequence = n.sequence) @> $12::jsonb)
        order by n.sequence, n.line limit $13
        """,
        ledger.no,
        account_no,
        sequence,
        *after,
        *_values(filters),
        limit,
    )
    return [_line(row) for row in rows]


async def read_filtered_sums(
    connection: Connection, ledger: Ledger, account_no: int, filters: LineFilters, sequence: int
) -> tuple[int, int]:
    """Debits and credits of the lines that pass the filters."""
    row = await connection.fetchrow(
        """
        select coalesce(sum(n.amount) filter (where n.debit), 0) as debits,
            coalesce(sum(n.amount) filter (where not n.debit), 0) as credits
        from lines n
        join entries e on e.ledger_no = n.ledger_no and e.sequence = n.sequence
        where n.ledger_no = $1 and n.account_no = $2 and n.sequence <= $3
            and n.effective_on between $4 and $5 and ($6::boolean is null or n.debit = $6)
            and ($7::text is null or strpos(lower(e.description || ' ' || coalesce(e.external_id, '')), lower($7)) > 0)
            and ($8::text is null or n.party = $8) and ($9::text is null or e.origin_document = $9)
            and ($10::jsonb is null or (
                select coalesce(g.payload::jsonb -> 'entry' -> 'metadata', '{}') from log g
                where g.ledger_no = $1 and g.sequence = n.sequence) @> $10::jsonb)
        """,
        ledger.no,
        account_no,
        sequence,
        *_values(filters),
    )
    assert row is not None, "an aggregate has a row"
    return int(row["debits"]), int(row["credits"])


async def read_journal(
    connection: Connection, ledger: Ledger, since: date | None, through: date | None, after: int, sequence: int
) -> list[dict[str, Any]]:
    """Entries of effective days after a sequence, in order; a reversal after `sequence` has not happened yet."""
    rows = await connection.fetch(
        """
        select g.payload, g.hash, r.id as reversed_by
        from entries e
        join log g on g.ledger_no = e.ledger_no and g.sequence = e.sequence
        left join entries r on r.ledger_no = e.ledger_no and r.reverses = e.id and r.sequence <= $3
        where e.ledger_no = $1 and e.sequence > $2 and e.sequence <= $3 and e.effective_on between $4 and $5
        order by e.sequence limit $6
        """,
        ledger.no,
        after,
        sequence,
        since or date.min,
        through or date.max,
        ENTRIES_PER_SLICE,
    )
    return [entry_answer(orjson.loads(row["payload"]), bytes(row["hash"]), row["reversed_by"]) for row in rows]


def _values(filters: LineFilters) -> tuple[Any, ...]:
    return (
        filters.since or date.min,
        filters.through or date.max,
        None if filters.side is None else filters.side == "debit",
        filters.q,
        filters.party,
        filters.origin,
        filters.metadata,
    )


def _line(row: asyncpg.Record) -> LineRead:
    return LineRead(
        place=Place(row["effective_on"], row["sequence"], row["line"]),
        value_on=row["value_on"],
        entry=row["id"],
        kind=row["kind"],
        description=row["description"],
        external_id=row["external_id"],
        origin=row["origin_document"],
        party=row["party"],
        side="debit" if row["debit"] else "credit",
        amount=int(row["amount"]),
    )
