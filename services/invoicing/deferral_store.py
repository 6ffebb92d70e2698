"""Deferred revenue as it is kept: what is over of invoices' lines, how far each invoice has come, ledgers' calendars.

Who recognises for a period end holds the deferral from the claim to the commit, and the invoice after it.
"""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from libs.common.db import Connection


class DeferralRow(NamedTuple):
    """An issued invoice that defers revenue; `ends_on` is the last day of its deferred lines."""

    organization: str
    invoice: UUID
    ledger: str
    ends_on: date
    recognised_through: date


class RecognitionRow(NamedTuple):
    """What of a line is over: recognised or credited, as booked."""

    organization: str
    id: UUID
    ledger: str
    invoice: UUID
    line: int
    kind: str
    through_on: date
    amount: int
    created_at: datetime


class DeferringLedger(NamedTuple):
    """A ledger with something deferred: its calendar (None where its log was not heard yet), the earliest day that one
    of its invoices has come to, and the database's time."""

    organization: str
    ledger: str
    time_zone: str | None
    day_cut_off: time | None
    fiscal_year_start: str | None
    recognised_through: date
    clock: datetime


class PassedEnd(NamedTuple):
    """A ledger and the last of its period ends that has passed."""

    organization: str
    ledger: str
    on: date


async def insert_deferrals(connection: Connection, rows: Sequence[DeferralRow]) -> None:
    """Stores that invoices issued now defer revenue."""
    if not rows:
        return
    await connection.execute(
        """
        insert into deferrals (organization, invoice, ledger, ends_on, recognised_through)
        select * from unnest($1::text[], $2::uuid[], $3::text[], $4::date[], $5::date[])
        """,
        *([row[place] for row in rows] for place in range(len(DeferralRow._fields))),
    )


async def deferring_ledgers(connection: Connection) -> list[DeferringLedger]:
    """Every organization's ledgers that defer something and recognise by themselves."""
    rows = await connection.fetch(
        """
        select s.organization, s.ledger, c.time_zone, c.day_cut_off, c.fiscal_year_start, d.recognised_through,
            now() as clock
        from receivables_settings s
        cross join lateral (
            select recognised_through from deferrals
            where organization = s.organization and ledger = s.ledger and not is_over
            order by recognised_through limit 1) d
        left join calendars c on c.organization = s.organization and c.ledger = s.ledger
        where s.recognition = 'period-end'
        """
    )
    return [DeferringLedger(*row) for row in rows]


async def claim_due(connection: Connection, ends: Sequence[PassedEnd], limit: int) -> list[asyncpg.Record]:
    """Deferrals with a period end that has passed and is not done, ledger by ledger as they stand in `ends`, the
    longest due first, held; those that another process holds are left, and those that were refused until they are
    tried again."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select due.*
        from unnest($1::text[], $2::text[], $3::date[]) as passed (organization, ledger, on_date)
        cross join lateral (
            select d.organization, d.invoice, d.ledger, d.ends_on, d.recognised_through from deferrals d
            where d.organization = passed.organization and d.ledger = passed.ledger
              and d.recognised_through < passed.on_date
              and not d.is_over and (d.retry_at is null or d.retry_at <= now())
            order by d.recognised_through limit $4
            for no key update skip locked) due
        limit $4
        """,
        *([end[place] for end in ends] for place in range(len(PassedEnd._fields))),
        limit,
    )
    return rows


async def advance(connection: Connection, organization: str, invoice: UUID, through: date, is_over: bool) -> None:
    """Period ends up to a day are done for a deferral that the caller holds."""
    await connection.execute(
        """
        update deferrals
           set recognised_through = greatest(recognised_through, $3), is_over = is_over or $4, rejection = null,
               retry_at = null
         where organization = $1 and invoice = $2
        """,
        organization,
        invoice,
        through,
        is_over,
    )


async def put_off(connection: Connection, organization: str, invoice: UUID, why: str, wait: timedelta) -> None:
    """A period end could not be done; `why` is the rejection as JSON text."""
    await connection.execute(
        """
        update deferrals set rejection = $3::text::jsonb, retry_at = now() + $4
        where organization = $1 and invoice = $2
        """,
        organization,
        invoice,
        why,
        wait,
    )


async def hold_deferring(
    connection: Connection, organization: str, ledger: str, after: UUID | None, limit: int
) -> list[asyncpg.Record]:
    """Deferrals of a ledger that are not over, in the order of their invoices' ids, held until the commit."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select invoice, ends_on from deferrals
        where organization = $1 and ledger = $2 and ($3::uuid is null or invoice > $3) and not is_over
        order by invoice limit $4
        for no key update
        """,
        organization,
        ledger,
        after,
        limit,
    )
    return rows


async def recognised_of(connection: Connection, organization: str, invoices: Sequence[UUID]) -> list[asyncpg.Record]:
    """What of invoices' deferred lines is over: sums by invoice, line and kind."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select invoice, line, kind, sum(amount) as amount from recognitions
        where organization = $1 and invoice = any($2) group by invoice, line, kind
        """,
        organization,
        list(invoices),
    )
    return rows


async def insert_recognitions(connection: Connection, rows: Sequence[RecognitionRow]) -> None:
    """Stores what of deferred lines is over."""
    if not rows:
        return
    columns: list[list[Any]] = [[row[place] for row in rows] for place in range(len(RecognitionRow._fields))]
    await connection.execute(
        """
        insert into recognitions (organization, id, ledger, invoice, line, kind, through_on, amount, created_at)
        select * from unnest($1::text[], $2::uuid[], $3::text[], $4::uuid[], $5::smallint[], $6::text[], $7::date[],
            $8::numeric[], $9::timestamptz[])
        """,
        *columns,
    )
