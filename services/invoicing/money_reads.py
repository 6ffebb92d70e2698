"""Documents of money as callers are told them: what went back, disputes, write-offs, credit used, payouts.

Lists go by id, oldest first, like those of `receivable_reads`. Refunds and disputes have no posting of their own:
theirs are among their payment's, and how those stand is read there. Every statement is put as the role that sees one
organization's rows.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import asyncpg

from libs.common.db import Connection

# --- what went back ---------------------------------------------------------------------------------------------------


async def list_refunds(
    connection: Connection, organization: str, filters: Mapping[str, Any], after: UUID | None, limit: int
) -> list[asyncpg.Record]:
    """Refunds and returned payments in the order they were made, from behind `after`."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select r.*, p.state from refunds r
        left join postings p on p.organization = r.organization and p.document = 'payment/' || r.payment::text
            and p.purpose = case r.kind when 'return' then 'returned/' when 'bounced' then 'refund_bounced/'
                else 'refund/' end || r.id::text
        where r.organization = $1 and ($2::uuid is null or r.id > $2)
          and ($3::text is null or r.kind = $3) and ($4::uuid is null or r.payment = $4)
          and ($5::uuid is null or r.customer = $5) and ($6::text is null or r.ledger = $6)
        order by r.id limit $7
        """,
        organization,
        after,
        *(filters.get(name) for name in ("kind", "payment", "customer", "ledger")),
        limit,
    )
    return rows


async def read_refund(connection: Connection, organization: str, refund: UUID) -> asyncpg.Record | None:
    """One refund or returned payment."""
    return await connection.fetchrow(
        """
        select r.*, p.state from refunds r
        left join postings p on p.organization = r.organization and p.document = 'payment/' || r.payment::text
            and p.purpose = case r.kind when 'return' then 'returned/' when 'bounced' then 'refund_bounced/'
                else 'refund/' end || r.id::text
        where r.organization = $1 and r.id = $2
        """,
        organization,
        refund,
    )


# --- disputes ---------------------------------------------------------------------------------------------------------


async def list_disputes(
    connection: Connection, organization: str, filters: Mapping[str, Any], after: UUID | None, limit: int
) -> list[asyncpg.Record]:
    """Disputes in the order they were opened, from behind `after`; `won_state` is the posting of one that was won."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select d.*, m.customer, p.state, w.state as won_state from disputes d
        join payments m on m.organization = d.organization and m.id = d.payment
        left join postings p on p.organization = d.organization and p.document = 'payment/' || d.payment::text
            and p.purpose = 'dispute_opened/' || d.id::text
        left join postings w on w.organization = d.organization and w.document = 'payment/' || d.payment::text
            and w.purpose = 'dispute_won/' || d.id::text
        where d.organization = $1 and ($2::uuid is null or d.id > $2)
          and ($3::text is null or d.status = $3) and ($4::uuid is null or d.payment = $4)
          and ($5::uuid is null or m.customer = $5) and ($6::text is null or d.ledger = $6)
        order by d.id limit $7
        """,
        organization,
        after,
        *(filters.get(name) for name in ("status", "payment", "customer", "ledger")),
        limit,
    )
    return rows


async def read_dispute(connection: Connection, organization: str, dispute: UUID) -> asyncpg.Record | None:
    """One dispute."""
    return await connection.fetchrow(
        """
        select d.*, m.customer, p.state, w.state as won_state from disputes d
        join payments m on m.organization = d.organization and m.id = d.payment
        left join postings p on p.organization = d.organization and p.document = 'payment/' || d.payment::text
            and p.purpose = 'dispute_opened/' || d.id::text
        left join postings w on w.organization = d.organization and w.document = 'payment/' || d.payment::text
            and w.purpose = 'dispute_won/' || d.id::text
        where d.organization = $1 and d.id = $2
        """,
        organization,
        dispute,
    )


# --- given up ---------------------------------------------------------------------------------------------------------


async def list_write_offs(
    connection: Connection, organization: str, filters: Mapping[str, Any], after: UUID | None, limit: int
) -> list[asyncpg.Record]:
    """What was given up, and what became of it, in the order it was made, from behind `after`."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select w.*, i.customer, i.currency, i.number from write_offs w
        join invoices i on i.organization = w.organization and i.id = w.invoice
        where w.organization = $1 and ($2::uuid is null or w.id > $2)
          and ($3::text is null or w.kind = $3) and ($4::uuid is null or w.invoice = $4)
          and ($5::uuid is null or i.customer = $5) and ($6::text is null or w.ledger = $6)
          and ($7::text is null or w.posting = $7)
        order by w.id limit $8
        """,
        organization,
        after,
        *(filters.get(name) for name in ("kind", "invoice", "customer", "ledger", "posting")),
        limit,
    )
    return rows


async def read_write_off(connection: Connection, organization: str, write_off: UUID) -> asyncpg.Record | None:
    """One write-off, or what became of one."""
    return await connection.fetchrow(
        """
        select w.*, i.customer, i.currency, i.number from write_offs w
        join invoices i on i.organization = w.organization and i.id = w.invoice
        where w.organization = $1 and w.id = $2
        """,
        organization,
        write_off,
    )


# --- customer credit used ---------------------------------------------------------------------------------------------


async def list_credit_applications(
    connection: Connection, organization: str, filters: Mapping[str, Any], after: UUID | None, limit: int
) -> list[asyncpg.Record]:
    """Uses of customer credit in the order they were made, from behind `after`; `left_on` is what still stands."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select c.*, s.left_on from credit_applications c
        cross join lateral (
            select coalesce(sum(case when a.undoes is null then a.amount else -a.amount end), 0) as left_on
            from allocations a where a.organization || '' = c.organization and a.source_id = c.id) s
        where c.organization = $1 and ($2::uuid is null or c.id > $2)
          and ($3::uuid is null or c.customer = $3) and ($4::text is null or c.ledger = $4)
          and ($5::text is null or c.posting = $5) and ($6::boolean is null or (s.left_on = 0) = $6)
        order by c.id limit $7
        """,
        organization,
        after,
        *(filters.get(name) for name in ("customer", "ledger", "posting", "taken_back")),
        limit,
    )
    return rows


async def read_credit_application(connection: Connection, organization: str, used: UUID) -> asyncpg.Record | None:
    """One use of customer credit."""
    return await connection.fetchrow(
        """
        select c.*, s.left_on from credit_applications c
        cross join lateral (
            select coalesce(sum(case when a.undoes is null then a.amount else -a.amount end), 0) as left_on
            from allocations a where a.organization || '' = c.organization and a.source_id = c.id) s
        where c.organization = $1 and c.id = $2
        """,
        organization,
        used,
    )


# --- payouts ----------------------------------------------------------------------------------------------------------


async def list_payouts(
    connection: Connection, organization: str, filters: Mapping[str, Any], after: UUID | None, limit: int
) -> list[asyncpg.Record]:
    """Payouts in the order they came, without what they are made of, from behind `after`."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select p.id, p.ledger, p.provider, p.payout_id, p.currency, p.amount, p.paid_on, p.posting, p.created_at,
            r.on_date as taken_back_on
        from payouts p left join payout_reversals r on r.organization = p.organization and r.payout = p.id
        where p.organization = $1 and ($2::uuid is null or p.id > $2)
          and ($3::text is null or p.provider = $3) and ($4::text is null or p.payout_id = $4)
          and ($5::text is null or p.ledger = $5) and ($6::text is null or p.posting = $6)
          and ($7::boolean is null or (r.id is not null) = $7)
        order by p.id limit $8
        """,
        organization,
        after,
        *(filters.get(name) for name in ("provider", "payout_id", "ledger", "posting", "taken_back")),
        limit,
    )
    return rows


async def read_payout(connection: Connection, organization: str, payout: UUID) -> asyncpg.Record | None:
    """One payout with what it is made of."""
    return await connection.fetchrow(
        """
        select p.id, p.ledger, p.provider, p.payout_id, p.currency, p.amount, p.paid_on, p.items, p.posting,
            p.created_at, r.on_date as taken_back_on
        from payouts p left join payout_reversals r on r.organization = p.organization and r.payout = p.id
        where p.organization = $1 and p.id = $2
        """,
        organization,
        payout,
    )
