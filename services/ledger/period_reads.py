"""How closing stands: a day's versions, the months and years, and what is unfinished before a month is closed.

A closed day has no stored balances: they are the sums of what is dated on or before it as of a sequence, which every
balance can be asked for. Version 1 is at the sequence of the record that closed it, each later one at an entry that was
dated on or before it although it was closed (table backdatings); days never open again. A check says only what the
ledger's own tables know, and names what they cannot know.
"""

from collections.abc import Iterable
from datetime import date
from typing import Any

import asyncpg

from libs.common.db import Connection
from libs.common.periods import FiscalCalendar
from services.ledger.answers import (
    CheckRow,
    CloseCheckAnswer,
    DayAnswer,
    PeriodRow,
    PeriodsAnswer,
    PeriodStatus,
)
from services.ledger.closing_store import first_effective_on
from services.ledger.records import instant
from services.ledger.state import Closed, Ledger

LISTED_MAX = 100
HOLDS_LOOKED_AT = 1_000


async def read_day(connection: Connection, ledger: Ledger, on: date, after: int, limit: int) -> DayAnswer:
    """A day and its versions after one, in order."""
    head = await connection.fetchrow(
        """
        select l.sequence,
            (select min(c.sequence) from closings c
             where c.ledger_no = l.no and c.days_closed_through >= $2) as closed_at
        from ledgers l where l.no = $1
        """,
        ledger.no,
        on,
    )
    assert head is not None, "a ledger is never removed"
    rows = await connection.fetch(
        """
        select row_number() over (order by sequence) as version, sequence
        from (
            select $3::bigint as sequence where $3::bigint is not null
            union all
            select b.sequence from backdatings b
            where b.ledger_no = $1 and b.effective_on <= $2 and b.sequence > $3::bigint
        ) v
        order by sequence offset $4 limit $5
        """,
        ledger.no,
        on,
        head["closed_at"],
        after,
        limit,
    )
    return {
        "ledger": ledger.code,
        "date": on.isoformat(),
        "status": "closed" if head["closed_at"] is not None else "open",
        "versions": [{"version": row["version"], "sequence": row["sequence"]} for row in rows],
        "next_after": rows[-1]["version"] if len(rows) == limit else None,
        "sequence": head["sequence"],
    }


async def _closed(connection: Connection, ledger: Ledger) -> tuple[int, Closed]:
    row = await connection.fetchrow(
        "select sequence, days_closed_through, soft_closed_through, closed_through from ledgers where no = $1",
        ledger.no,
    )
    assert row is not None, "a ledger is never removed"
    return row["sequence"], Closed(*tuple(row)[1:])


# --- months and years -------------------------------------------------------------------------------------------------


async def read_periods(connection: Connection, ledger: Ledger, today: date) -> PeriodsAnswer:
    """Months from the first entry to `today`, each with the record that moved it to its status; years alike."""
    sequence, closed = await _closed(connection, ledger)
    first_on = await first_effective_on(connection, ledger.no)
    rows = await connection.fetch(
        """
        select c.sequence, c.type, c.period, c.reason, c.soft_closed_through, c.closed_through,
            g.payload::jsonb ->> 'recorded_at' as recorded_at, g.payload::jsonb ->> 'actor' as actor
        from closings c join log g on g.ledger_no = c.ledger_no and g.sequence = c.sequence
        where c.ledger_no = $1 and c.type <> 'day-closed'
        order by c.sequence
        """,
        ledger.no,
    )
    calendar = FiscalCalendar(ledger.fiscal_year_start)
    months = range(calendar.month_of(first_on), calendar.month_of(max(today, first_on)) + 1) if first_on else range(0)
    return {
        "ledger": ledger.code,
        "items": month_rows(calendar, months, rows),
        "years": year_rows(calendar, rows),
        "days_closed_through": _text(closed.days),
        "soft_closed_through": _text(closed.softly),
        "closed_through": _text(closed.months),
        "sequence": sequence,
    }


def month_rows(calendar: FiscalCalendar, months: range, closings: Iterable[asyncpg.Record]) -> list[PeriodRow]:
    """Each month with the last record that moved its status."""
    moved: dict[int, tuple[PeriodStatus, asyncpg.Record]] = {}
    before: tuple[date | None, date | None] = (None, None)
    for row in closings:
        after = (row["soft_closed_through"], row["closed_through"])
        ends = [calendar.month_of(through) for through in (*before, *after) if through is not None]
        begin = min(ends) if None not in before + after else months.start
        for month in range(begin, max(ends, default=begin - 1) + 1):
            status = _status(calendar, month, *after)
            if status != _status(calendar, month, *before):
                moved[month] = status, row
        before = after
    return [
        _row(calendar.name(month), calendar.begins(month), calendar.ends(month), moved.get(month)) for month in months
    ]


def _status(calendar: FiscalCalendar, month: int, softly: date | None, months: date | None) -> PeriodStatus:
    ends = calendar.ends(month)
    if months is not None and ends <= months:
        return "closed"
    return "soft-closed" if softly is not None and ends <= softly else "open"


def year_rows(calendar: FiscalCalendar, closings: Iterable[asyncpg.Record]) -> list[PeriodRow]:
    """The fiscal years that were ever closed, each with the last record that moved it."""
    moved: dict[int, tuple[PeriodStatus, asyncpg.Record]] = {}
    for row in closings:
        if row["type"] in ("year-closed", "year-reopened"):
            status: PeriodStatus = "closed" if row["type"] == "year-closed" else "open"
            moved[int(row["period"])] = status, row
    return [
        _row(str(year), calendar.begins(calendar.last_month(year) - 11), calendar.ends(calendar.last_month(year)), by)
        for year, by in sorted(moved.items())
    ]


def _row(name: str, begins: date, ends: date, moved: tuple[PeriodStatus, asyncpg.Record] | None) -> PeriodRow:
    status: PeriodStatus = moved[0] if moved is not None else "open"
    row = moved[1] if moved is not None else None
    return {
        "period": name,
        "begins_on": begins.isoformat(),
        "ends_on": ends.isoformat(),
        "status": status,
        "sequence": row["sequence"] if row is not None else None,
        "recorded_at": row["recorded_at"] if row is not None else None,
        "actor": row["actor"] if row is not None else None,
        "reason": row["reason"] if row is not None else None,
    }


def _text(day: date | None) -> str | None:
    return day.isoformat() if day is not None else None


# --- what a close waits for -------------------------------------------------------------------------------------------


async def check_period(
    connection: Connection, ledger: Ledger, period: str, today: date, waiting: int
) -> CloseCheckAnswer:
    """Everything to look at before a month is closed. `waiting`: requests in this process's queue for the ledger."""
    sequence, closed = await _closed(connection, ledger)
    calendar = FiscalCalendar(ledger.fiscal_year_start)
    month = calendar.month_named(period)
    begins, ends = calendar.begins(month), calendar.ends(month)
    checks = [
        _check_ended(ends, today),
        await _check_order(connection, ledger, calendar, month, closed),
        _check_waiting(waiting),
        await _check_holds(connection, ledger, ends),
        await _check_revaluation(connection, ledger, begins, ends),
        await _check_recognition(connection, ledger, calendar, month),
        await _check_reconcilable(connection, ledger, begins, ends),
        await _check_year_end(connection, ledger, calendar, month),
    ]
    return {
        "ledger": ledger.code,
        "period": period,
        "status": _status(calendar, month, closed.softly, closed.months),
        "closable": all(check["status"] != "blocking" for check in checks),
        "checks": checks,
        "sequence": sequence,
    }


def _ok(check: str, detail: str, not_known: str | None = None, **facts: Any) -> CheckRow:
    return {"check": check, "status": "ok", "detail": detail, "facts": facts, "not_known": not_known}


def _warning(check: str, detail: str, not_known: str | None = None, **facts: Any) -> CheckRow:
    return {"check": check, "status": "warning", "detail": detail, "facts": facts, "not_known": not_known}


def _blocking(check: str, detail: str, **facts: Any) -> CheckRow:
    return {"check": check, "status": "blocking", "detail": detail, "facts": facts, "not_known": None}


def _check_ended(ends: date, today: date) -> CheckRow:
    facts = {"ends_on": ends.isoformat(), "accounting_day": today.isoformat()}
    if ends < today:
        return _ok("period-ended", "The month has ended.", **facts)
    return _blocking("period-ended", "The month has not ended in the ledger's time zone.", **facts)


async def _check_order(
    connection: Connection, ledger: Ledger, calendar: FiscalCalendar, month: int, closed: Closed
) -> CheckRow:
    first_on = await first_effective_on(connection, ledger.no)
    if closed.months is not None:
        expected = calendar.month_of(closed.months) + 1
    elif first_on is not None:
        expected = calendar.month_of(first_on)
    else:
        return _blocking("earlier-periods", "The ledger has no entries, so there is nothing to close.", expected=None)
    if month == expected:
        return _ok("earlier-periods", "Every earlier month is closed.", expected=calendar.name(expected))
    if month < expected:
        return _ok("earlier-periods", "It is closed, or before the first entry.", expected=calendar.name(expected))
    return _blocking("earlier-periods", "An earlier month is not closed.", expected=calendar.name(expected))


def _check_waiting(waiting: int) -> CheckRow:
    not_known = "Requests that other instances hold, that are still on Kafka, or that other services have not sent yet."
    if not waiting:
        return _ok("requests-waiting", "No request waits in this instance.", not_known, waiting=0)
    return _warning("requests-waiting", "Requests wait in this instance's queue.", not_known, waiting=waiting)


async def _check_holds(connection: Connection, ledger: Ledger, ends: date) -> CheckRow:
    """Holds have no accounting date; what counts is the accounting day on which they were placed."""
    rows = await connection.fetch(
        """
        select h.id, (g.payload::jsonb ->> 'recorded_at')::timestamptz as recorded_at
        from holds h join log g on g.ledger_no = h.ledger_no and g.sequence = h.placed_sequence
        where h.ledger_no = $1 and h.status = 'pending'
        order by h.placed_sequence limit $2
        """,
        ledger.no,
        HOLDS_LOOKED_AT,
    )
    open_ = [
        {"hold": str(row["id"]), "placed_at": instant(row["recorded_at"])}
        for row in rows
        if ledger.accounting_day(row["recorded_at"]) <= ends
    ]
    if not open_:
        return _ok("open-holds", "No hold placed in the month or before is pending.", count=0)
    more = " or more" if len(open_) == HOLDS_LOOKED_AT else ""
    detail = f"{len(open_)}{more} placed in the month or before are pending."
    return _warning("open-holds", detail, count=len(open_), holds=open_[:LISTED_MAX])


async def _check_revaluation(connection: Connection, ledger: Ledger, begins: date, ends: date) -> CheckRow:
    rows = await connection.fetch(
        """
        select a.currency, count(*) as accounts,
            exists (
                select from accounts x
                join lines n on n.ledger_no = x.ledger_no and n.account_no = x.no and n.effective_on between $3 and $4
                join entries e on e.ledger_no = n.ledger_no and e.sequence = n.sequence and e.kind = 'revaluation'
                where x.ledger_no = $1 and x.code = 'FX-EQUIVALENT-' || a.currency
            ) as revalued
        from accounts a
        cross join lateral (
            select sum(d.debits - d.credits) as balance from daily_totals d
            where d.ledger_no = a.ledger_no and d.account_no = a.no and d.effective_on <= $4
        ) t
        where a.ledger_no = $1 and a.currency <> $2 and a.monetary and a.type in ('asset', 'liability')
            and t.balance <> 0
        group by a.currency order by a.currency
        """,
        ledger.no,
        ledger.functional_currency.code,
        begins,
        ends,
    )
    missing = [row["currency"] for row in rows if not row["revalued"]]
    not_known = "Whether the rates of a revaluation were the closing rates."
    if missing:
        detail = f"Monetary balances in {', '.join(missing)} have no revaluation entry in the month."
        return _warning("revaluation", detail, not_known, currencies=missing)
    detail = "Every foreign monetary balance has a revaluation in the month." if rows else "There is none to revalue."
    return _ok("revaluation", detail, not_known, currencies=[row["currency"] for row in rows])


async def _check_recognition(connection: Connection, ledger: Ledger, calendar: FiscalCalendar, month: int) -> CheckRow:
    row = await connection.fetchrow(
        """
        select exists (select from entries where ledger_no = $1 and kind = 'recognition'
                and effective_on between $2 and $3) as before,
            exists (select from entries where ledger_no = $1 and kind = 'recognition'
                and effective_on between $4 and $5) as within
        """,
        ledger.no,
        calendar.begins(month - 1),
        calendar.ends(month - 1),
        calendar.begins(month),
        calendar.ends(month),
    )
    assert row is not None, "one row"
    not_known = "What is deferred and when it is due: the schedules are invoicing's."
    if row["within"]:
        return _ok("recognition", "The month has recognition entries.", not_known)
    if row["before"]:
        detail = "The month before has recognition entries, this one has none."
        return _warning("recognition", detail, not_known)
    return _ok("recognition", "Neither this month nor the one before has recognition entries.", not_known)


async def _check_reconcilable(connection: Connection, ledger: Ledger, begins: date, ends: date) -> CheckRow:
    rows = await connection.fetch(
        """
        select a.code from accounts a
        where a.ledger_no = $1 and a.reconcilable and exists (
            select from daily_totals d
            where d.ledger_no = a.ledger_no and d.account_no = a.no and d.effective_on between $2 and $3
        )
        order by a.code
        """,
        ledger.no,
        begins,
        ends,
    )
    not_known = "Whether they, or what moved in earlier months, are reconciled: recon is not connected to this check."
    if not rows:
        return _ok("reconciliation", "No reconcilable account moved in the month.", not_known, accounts=[])
    detail = f"{len(rows)} reconcilable accounts moved in the month."
    codes = [row["code"] for row in rows[:LISTED_MAX]]
    return _warning("reconciliation", detail, not_known, accounts=codes, count=len(rows))


async def _check_year_end(connection: Connection, ledger: Ledger, calendar: FiscalCalendar, month: int) -> CheckRow:
    year = calendar.year_of(month)
    if month != calendar.last_month(year):
        return _ok("year-end", "It is not the last month of a fiscal year.")
    type_ = await connection.fetchval(
        """
        select type from closings
        where ledger_no = $1 and period = $2 and type in ('year-closed', 'year-reopened')
        order by sequence desc limit 1
        """,
        ledger.no,
        str(year),
    )
    if type_ == "year-closed":
        return _ok("year-end", f"The year {year} is closed.", year=year)
    return _warning("year-end", f"It ends the year {year}: closing the year closes it too.", year=year)
