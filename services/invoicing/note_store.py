"""What lowers an invoice without money, as it is kept: write-offs and credit notes, with the decisions about tax."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from libs.common.db import Connection


async def insert_write_off(connection: Connection, row: Sequence[Any]) -> None:
    """Stores a write-off, its reversal, relief or recovery."""
    await connection.execute(
        """
        insert into write_offs (organization, id, ledger, invoice, kind, amount, tax, on_date, undoes, posting,
            created_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        """,
        *row,
    )


async def insert_credit_note(connection: Connection, row: Mapping[str, Any]) -> None:
    """Stores a credit note."""
    await connection.execute(
        """
        insert into credit_notes (organization, id, ledger, invoice, customer, series, year, serial, number, currency,
            issued_on, reason, net, tax, total, applied, to_credit, posting, content, created_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19::jsonb, $20)
        """,
        *(
            row[name]
            for name in (
                "organization",
                "id",
                "ledger",
                "invoice",
                "customer",
                "series",
                "year",
                "serial",
                "number",
                "currency",
                "issued_on",
                "reason",
                "net",
                "tax",
                "total",
                "applied",
                "to_credit",
                "posting",
                "content",
                "created_at",
            )
        ),
    )


async def credit_notes_of(connection: Connection, organization: str, invoice: UUID) -> list[asyncpg.Record]:
    """An invoice's credit notes, oldest first."""
    rows: list[asyncpg.Record] = await connection.fetch(
        "select * from credit_notes where organization = $1 and invoice = $2 order by created_at, id",
        organization,
        invoice,
    )
    return rows


async def read_write_off(connection: Connection, organization: str, write_off: UUID) -> asyncpg.Record | None:
    """One write-off."""
    return await connection.fetchrow(
        "select * from write_offs where organization = $1 and id = $2", organization, write_off
    )


async def is_write_off_undone(connection: Connection, organization: str, write_off: UUID) -> bool:
    """Whether something that names this row stands: the reversal or relief of a write-off, or what took one of what
    became of it back. Its invoice is held by the caller."""
    undone: bool = await connection.fetchval(
        """
        select exists (
            select 1 from write_offs w
            where w.organization = $1 and w.undoes = $2
              and not exists (select 1 from write_offs u where u.organization = $1 and u.undoes = w.id))
        """,
        organization,
        write_off,
    )
    return undone


async def insert_credit_taxes(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """Stores the tax rows of a credit note."""
    if not rows:
        return
    await connection.execute(
        """
        insert into credit_note_taxes (organization, credit_note, place, category, rate, exemption_code,
            exemption_reason, base, amount)
        select * from unnest($1::text[], $2::uuid[], $3::smallint[], $4::text[], $5::numeric[], $6::text[], $7::text[],
            $8::numeric[], $9::numeric[])
        """,
        *(list(column) for column in zip(*rows, strict=True)),
    )


async def tax_drafts(
    connection: Connection, organization: str, document: UUID, kind: str = "invoice"
) -> list[asyncpg.Record]:
    """Decisions that moved an invoice's tax: its issue, credit notes, discounts and write-offs; of kind "issue" its
    issue's alone; or those of one other document."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select p.draft, null::numeric as to_credit from postings p
        where p.organization = $1 and p.document = replace($3, 'issue', 'invoice') || '/' || $2::uuid::text
          and p.state <> 'withdrawn'
          and p.purpose in ('issue', 'write_off')
        union all
        select p.draft, n.to_credit from credit_notes n
        join postings p on p.organization = n.organization and p.document = 'credit-note/' || n.id::text
        where $3 = 'invoice' and n.organization = $1 and n.invoice = $2 and p.state <> 'withdrawn'
        union all
        select p.draft, null from discounts d
        join postings p on p.organization = d.organization and p.document = 'discount/' || d.id::text
        where $3 = 'invoice' and d.organization = $1 and d.invoice = $2 and p.state <> 'withdrawn'
        union all
        select p.draft, null from write_offs w
        join postings p on p.organization = w.organization and p.document = 'write-off/' || w.id::text
        where $3 = 'invoice' and w.organization = $1 and w.invoice = $2 and p.state <> 'withdrawn'
          and w.kind in ('write-off', 'reversal')
        """,
        organization,
        document,
        kind,
    )
    return rows


async def written_off_sums(connection: Connection, organization: str, invoice: UUID) -> dict[str, int]:
    """What was claimed back and what came in of an invoice's write-offs."""
    row = await connection.fetchrow(
        """
        select coalesce(sum(amount) filter (where kind = 'relief'), 0)
                   - coalesce(sum(amount) filter (where kind = 'relief-taken-back'), 0) as relief,
               coalesce(sum(amount) filter (where kind = 'recovery'), 0)
                   - coalesce(sum(amount) filter (where kind = 'recovery-taken-back'), 0) as recovery
        from write_offs where organization = $1 and invoice = $2
        """,
        organization,
        invoice,
    )
    assert row is not None, "a sum is always there"
    return {"relief": int(row["relief"]), "recovery": int(row["recovery"])}


async def standing_recoveries(connection: Connection, organization: str, invoice: UUID) -> list[asyncpg.Record]:
    """What came in for an invoice's write-offs and was not taken back, oldest first, with the decision by which relief
    was repaid for it, where some was."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select w.id, w.amount, w.on_date, p.draft from write_offs w
        left join postings p on p.organization = w.organization and p.document = 'write-off/' || w.id::text
            and p.purpose = 'relief_repaid'
        where w.organization || '' = $1 and w.invoice = $2 and w.kind = 'recovery'
          and not exists (select 1 from write_offs u where u.organization = w.organization and u.undoes = w.id)
        order by w.created_at, w.id
        """,
        organization,
        invoice,
    )
    return rows


async def given_up_before(
    connection: Connection, organization: str, invoice: UUID, created_at: datetime, write_off: UUID
) -> int:
    """What write-offs that stand and came before this one gave up of an invoice."""
    amount = await connection.fetchval(
        """
        select coalesce(sum(w.amount), 0) from write_offs w
        where w.organization = $1 and w.invoice = $2 and w.kind = 'write-off' and (w.created_at, w.id) < ($3, $4)
          and not exists (select 1 from write_offs r
                          where r.organization = w.organization and r.undoes = w.id and r.kind = 'reversal')
        """,
        organization,
        invoice,
        created_at,
        write_off,
    )
    return int(amount)
