"""Recurring invoices as they are kept: what recurs and when, and each day that was due with its invoice or its reason.

Whatever moves a recurrence on holds its row from the read to the commit. What is due is asked by the database's clock.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from libs.common.db import Connection


class OccurrenceRow(NamedTuple):
    """A day that was due: its invoice, or the rejection as JSON text."""

    organization: str
    id: UUID
    recurrence: UUID
    on_date: date
    due_at: datetime
    service_from: date | None
    service_to: date | None
    state: str
    invoice: UUID | None
    rejection: str | None
    created_at: datetime
    made_at: datetime | None


class AdvanceRow(NamedTuple):
    """Where a recurrence is after its occurrence: at the next, or at its end."""

    organization: str
    id: UUID
    last_on: date
    status: str
    next_on: date | None
    next_at: datetime | None


async def insert_recurrence(connection: Connection, row: Mapping[str, Any]) -> asyncpg.Record:
    """Stores a new recurrence; gives it as it is kept."""
    stored: asyncpg.Record | None = await connection.fetchrow(
        """
        insert into recurrences (organization, id, ledger, customer, template, schedule, starts_on, ends_on, count,
            issue, payment_terms_days, service_period, status, next_on, next_at, created_at)
        values ($1, $2, $3, $4, $5::text::jsonb, $6::text::jsonb, $7, $8, $9, $10, $11, $12, 'active', $13, $14, $15)
        returning *
        """,
        *(
            row[name]
            for name in (
                "organization",
                "id",
                "ledger",
                "customer",
                "template",
                "schedule",
                "starts_on",
                "ends_on",
                "count",
                "issue",
                "payment_terms_days",
                "service_period",
                "next_on",
                "next_at",
                "created_at",
            )
        ),
    )
    assert stored is not None, "an insert gives its row"
    return stored


async def lock_recurrence(connection: Connection, organization: str, recurrence: UUID) -> asyncpg.Record | None:
    """One recurrence, held until the commit, with the database's time."""
    return await connection.fetchrow(
        "select *, now() as clock from recurrences where organization = $1 and id = $2 for no key update",
        organization,
        recurrence,
    )


async def update_recurrence(
    connection: Connection, organization: str, recurrence: UUID, changed: Mapping[str, Any]
) -> asyncpg.Record:
    """What a recurrence is from now on; its row is held by the caller."""
    stored: asyncpg.Record | None = await connection.fetchrow(
        """
        update recurrences
           set template = $3::text::jsonb, schedule = $4::text::jsonb, ends_on = $5, count = $6, issue = $7,
               payment_terms_days = $8, service_period = $9, status = $10, next_on = $11, next_at = $12,
               version = version + 1
         where organization = $1 and id = $2
        returning *
        """,
        organization,
        recurrence,
        *(
            changed[name]
            for name in (
                "template",
                "schedule",
                "ends_on",
                "count",
                "issue",
                "payment_terms_days",
                "service_period",
                "status",
                "next_on",
                "next_at",
            )
        ),
    )
    assert stored is not None, "the row is held"
    return stored


async def claim_due(connection: Connection, limit: int, only: UUID | None = None) -> list[asyncpg.Record]:
    """Recurrences with an occurrence that is due, the longest due first, held; those another process holds are left."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select r.*, now() as clock
        from recurrences r
        where r.status = 'active' and r.next_at <= now() and ($2::uuid is null or r.id = $2)
        order by r.next_at limit $1
        for no key update skip locked
        """,
        limit,
        only,
    )
    return rows


async def advance(connection: Connection, rows: Sequence[AdvanceRow]) -> None:
    """Recurrences have one occurrence more, and are due at another time or not any more."""
    await connection.execute(
        """
        update recurrences r
           set due_count = r.due_count + 1, last_on = moved.last_on, status = moved.status, next_on = moved.next_on,
               next_at = moved.next_at
          from unnest($1::text[], $2::uuid[], $3::date[], $4::text[], $5::date[], $6::timestamptz[])
               as moved (organization, id, last_on, status, next_on, next_at)
         where r.organization = moved.organization and r.id = moved.id
        """,
        *([row[place] for row in rows] for place in range(len(AdvanceRow._fields))),
    )


async def insert_occurrences(connection: Connection, rows: Sequence[OccurrenceRow]) -> None:
    """Stores what became of days that were due; a day has one occurrence."""
    await connection.execute(
        """
        insert into occurrences (organization, id, recurrence, on_date, due_at, service_from, service_to, state,
            invoice, rejection, created_at, made_at)
        select organization, id, recurrence, on_date, due_at, service_from, service_to, state, invoice,
            rejection::jsonb, created_at, made_at
        from unnest($1::text[], $2::uuid[], $3::uuid[], $4::date[], $5::timestamptz[], $6::date[], $7::date[],
                $8::text[], $9::uuid[], $10::text[], $11::timestamptz[], $12::timestamptz[])
            as occurrence (organization, id, recurrence, on_date, due_at, service_from, service_to, state, invoice,
                rejection, created_at, made_at)
        """,
        *([row[place] for row in rows] for place in range(len(OccurrenceRow._fields))),
    )


async def lock_occurrence(
    connection: Connection, organization: str, recurrence: UUID, occurrence: UUID
) -> asyncpg.Record | None:
    """One occurrence, held until the commit."""
    return await connection.fetchrow(
        "select * from occurrences where organization = $1 and recurrence = $2 and id = $3 for no key update",
        organization,
        recurrence,
        occurrence,
    )


async def settle_occurrence(
    connection: Connection, organization: str, occurrence: UUID, invoice: UUID, now: datetime
) -> None:
    """An occurrence has its invoice after all."""
    await connection.execute(
        """
        update occurrences set state = 'made', invoice = $3, rejection = null, made_at = $4
        where organization = $1 and id = $2
        """,
        organization,
        occurrence,
        invoice,
        now,
    )


# --- reads ------------------------------------------------------------------------------------------------------------


async def read_recurrence(connection: Connection, organization: str, recurrence: UUID) -> asyncpg.Record | None:
    """One recurrence, with how many of its occurrences need attention."""
    return await connection.fetchrow(
        """
        select r.*, (select count(*) from occurrences o where o.organization = r.organization and o.recurrence = r.id
            and o.state = 'needs-attention') as needs_attention
        from recurrences r where r.organization = $1 and r.id = $2
        """,
        organization,
        recurrence,
    )


async def list_recurrences(
    connection: Connection, organization: str, filters: Mapping[str, Any], after: UUID | None, limit: int
) -> list[asyncpg.Record]:
    """Recurrences in the order they were made, from behind `after`."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select * from (
            select r.*, (select count(*) from occurrences o where o.organization = r.organization
                and o.recurrence = r.id and o.state = 'needs-attention') as needs_attention
            from recurrences r
            where r.organization = $1 and ($2::uuid is null or r.id > $2)
              and ($3::uuid is null or r.customer = $3) and ($4::text is null or r.status = $4)
              and ($5::text is null or r.ledger = $5)) counted
        where $6::boolean is null or (needs_attention > 0) = $6
        order by id limit $7
        """,
        organization,
        after,
        *(filters.get(name) for name in ("customer", "status", "ledger", "needs_attention")),
        limit,
    )
    return rows


async def list_occurrences(
    connection: Connection, organization: str, recurrence: UUID, state: str | None, after: date | None, limit: int
) -> list[asyncpg.Record]:
    """A recurrence's occurrences by their days, with their invoices' numbers, from behind the day `after`."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select o.*, i.number, i.status as invoice_status
        from occurrences o
        left join invoices i on i.organization = o.organization and i.id = o.invoice
        where o.organization = $1 and o.recurrence = $2 and ($3::text is null or o.state = $3)
          and ($4::date is null or o.on_date > $4)
        order by o.on_date limit $5
        """,
        organization,
        recurrence,
        state,
        after,
        limit,
    )
    return rows
