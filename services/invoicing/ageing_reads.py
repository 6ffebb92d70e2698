"""What is owed as of a day and as it was known at an instant, by customer, currency and dates.

As of today or later what stands on an invoice answers, and only open ones are looked at. As of an earlier day, or as it
was known earlier, the dated rows answer: allocations, their undoings, write-offs. Receipts that are not placed and
customer credit are sums of movements, which have no invoice.
"""

from collections.abc import Collection, Sequence
from datetime import date, datetime
from uuid import UUID

import asyncpg

from libs.common.db import Connection
from services.invoicing.ageing import OnAccount, OpenRow


async def open_now(connection: Connection, organization: str, ledger: str) -> list[OpenRow]:
    """What is open on issued invoices."""
    rows = await connection.fetch(
        """
        select customer::text as party, currency, sum(open)::numeric as open, due_on, issued_on
        from invoices
        where organization = $1 and ledger = $2 and status in ('issued', 'part-paid')
        group by customer, currency, due_on, issued_on
        """,
        organization,
        ledger,
    )
    return _open_rows(rows)


async def open_as_of(
    connection: Connection, organization: str, ledger: str, as_of: date, known_at: datetime
) -> list[OpenRow]:
    """What was open at the end of a day, as it was known at an instant."""
    rows = await connection.fetch(
        """
        select i.customer::text as party, i.currency, i.due_on, i.issued_on,
               sum(i.total - coalesce(a.placed, 0) - coalesce(w.written_off, 0))::numeric as open
        from invoices i
        cross join lateral (
            select sum(case when undoes is null then amount else -amount end) as placed
            from allocations
            where organization = i.organization and invoice = i.id and on_date <= $3 and created_at <= $4) a
        cross join lateral (
            select sum(case when kind = 'write-off' then amount else -amount end) as written_off
            from write_offs
            where organization = i.organization and invoice = i.id and kind in ('write-off', 'reversal')
              and on_date <= $3 and created_at <= $4) w
        where i.organization = $1 and i.ledger = $2 and i.status <> 'draft' and i.issued_on <= $3 and i.issued_at <= $4
          and (i.voided_at is null or i.voided_at > $4 or (i.voided_at at time zone 'UTC')::date > $3)
        group by i.customer, i.currency, i.due_on, i.issued_on
        having sum(i.total - coalesce(a.placed, 0) - coalesce(w.written_off, 0)) <> 0
        """,
        organization,
        ledger,
        as_of,
        known_at,
    )
    return _open_rows(rows)


async def on_account(
    connection: Connection, organization: str, ledger: str, as_of: date, known_at: datetime
) -> list[OnAccount]:
    """Receipts not placed and customer credit at the end of a day, as it was known at an instant."""
    rows = await connection.fetch(
        """
        select m.party, m.currency,
               coalesce(-sum(m.amount) filter (where m.role = 'unapplied-receipts'), 0)::numeric as unapplied,
               coalesce(-sum(m.amount) filter (where m.role = 'customer-credit'), 0)::numeric as credit
        from movements m
        join postings p on p.organization = m.organization and p.id = m.posting
        where m.organization = $1 and m.ledger = $2 and m.role in ('unapplied-receipts', 'customer-credit')
          and p.state <> 'withdrawn' and p.created_at <= $4
          and coalesce(p.effective_on, (p.created_at at time zone 'UTC')::date) <= $3
        group by m.party, m.currency
        having sum(m.amount) filter (where m.role = 'unapplied-receipts') <> 0
            or sum(m.amount) filter (where m.role = 'customer-credit') <> 0
        """,
        organization,
        ledger,
        as_of,
        known_at,
    )
    return [OnAccount(row["party"], row["currency"], int(row["unapplied"]), int(row["credit"])) for row in rows]


async def sealed_customers(connection: Connection, organization: str, ids: Collection[UUID]) -> list[asyncpg.Record]:
    """What is sealed of customers that were not erased."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select organization, id, sealed, key_id from customers
        where organization = $1 and id = any($2) and sealed is not null
        """,
        organization,
        list(ids),
    )
    return rows


def _open_rows(rows: Sequence[asyncpg.Record]) -> list[OpenRow]:
    return [OpenRow(row["party"], row["currency"], int(row["open"]), row["due_on"], row["issued_on"]) for row in rows]
