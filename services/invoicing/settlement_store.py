"""Discounts, tax withheld, promised refunds and where disputed money was, as they are kept."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from libs.common.db import Connection

Key = tuple[str, UUID]
"""Organization and invoice."""


class TermsRow(NamedTuple):
    """An invoice's terms for early payment."""

    organization: str
    invoice: UUID
    percent: Decimal
    within_days: int


class DiscountRow(NamedTuple):
    """A discount that was taken, or the row that takes one back."""

    organization: str
    id: UUID
    ledger: str
    invoice: UUID
    kind: str
    payment: UUID | None
    currency: str
    net: int
    tax: int
    total: int
    paid_on: date
    on_date: date
    content: str
    undoes: UUID | None
    posting: str
    created_at: datetime


class WithholdingRow(NamedTuple):
    """Tax that a customer withheld, or the row that takes it back."""

    organization: str
    id: UUID
    ledger: str
    invoice: UUID
    kind: str
    currency: str
    amount: int
    certificate: str | None
    on_date: date
    undoes: UUID | None
    posting: str
    created_at: datetime


async def insert_terms(connection: Connection, rows: Sequence[TermsRow]) -> None:
    """Stores the terms of invoices that are made now."""
    if not rows:
        return
    await connection.execute(
        """
        insert into discount_terms (organization, invoice, percent, within_days)
        select * from unnest($1::text[], $2::uuid[], $3::numeric[], $4::integer[])
        """,
        *_columns(rows),
    )


async def terms_of(connection: Connection, keys: Sequence[Key]) -> list[asyncpg.Record]:
    """The terms of those invoices that have some, with the discount that stands on each."""
    if not keys:
        return []
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select t.organization, t.invoice, t.percent, t.within_days, d.taken
        from unnest($1::text[], $2::uuid[]) as wanted (organization, invoice)
        join discount_terms t on t.organization = wanted.organization and t.invoice = wanted.invoice
        cross join lateral (
            select coalesce(sum(case when kind = 'discount' then total else -total end), 0) as taken
            from discounts d where d.organization || '' = t.organization and d.invoice = t.invoice) d
        """,
        [key[0] for key in keys],
        [key[1] for key in keys],
    )
    return rows


async def insert_discounts(connection: Connection, rows: Sequence[DiscountRow]) -> None:
    """Stores discounts; the database refuses what the terms do not allow."""
    if not rows:
        return
    await connection.execute(
        """
        insert into discounts (organization, id, ledger, invoice, kind, payment, currency, net, tax, total, paid_on,
            on_date, content, undoes, posting, created_at)
        select organization, id, ledger, invoice, kind, payment, currency, net, tax, total, paid_on, on_date,
            content::jsonb, undoes, posting, created_at
        from unnest($1::text[], $2::uuid[], $3::text[], $4::uuid[], $5::text[], $6::uuid[], $7::text[], $8::numeric[],
                $9::numeric[], $10::numeric[], $11::date[], $12::date[], $13::text[], $14::uuid[], $15::text[],
                $16::timestamptz[])
            as discount (organization, id, ledger, invoice, kind, payment, currency, net, tax, total, paid_on, on_date,
                content, undoes, posting, created_at)
        """,
        *_columns(rows),
    )


async def insert_discount_taxes(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """Stores the tax rows of discounts."""
    if not rows:
        return
    await connection.execute(
        """
        insert into discount_taxes (organization, discount, place, category, rate, exemption_code, exemption_reason,
            base, amount)
        select * from unnest($1::text[], $2::uuid[], $3::smallint[], $4::text[], $5::numeric[], $6::text[], $7::text[],
            $8::numeric[], $9::numeric[])
        """,
        *_columns(rows),
    )


async def discounts_of(connection: Connection, organization: str, invoices: Sequence[UUID]) -> list[asyncpg.Record]:
    """Discounts that stand on invoices, oldest first, each with its allocation; the invoices are held by the caller."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select d.*, a.id as allocation
        from discounts d
        join allocations a on a.organization || '' = d.organization and a.source_id = d.id and a.undoes is null
        where d.organization || '' = $1 and d.invoice = any($2) and d.kind = 'discount'
          and not exists (select 1 from discounts u where u.organization = d.organization and u.undoes = d.id)
        order by d.created_at, d.id
        """,
        organization,
        list(invoices),
    )
    return rows


async def read_discount(connection: Connection, organization: str, discount: UUID) -> asyncpg.Record | None:
    """One discount."""
    return await connection.fetchrow(
        "select * from discounts where organization = $1 and id = $2 and kind = 'discount'", organization, discount
    )


# --- tax withheld -----------------------------------------------------------------------------------------------------


async def insert_withholding(connection: Connection, row: WithholdingRow) -> None:
    """Stores tax that was withheld, or that it is taken back."""
    await connection.execute(
        """
        insert into withholdings (organization, id, ledger, invoice, kind, currency, amount, certificate, on_date,
            undoes, posting, created_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        """,
        *row,
    )


async def withheld_of(connection: Connection, organization: str, invoice: UUID) -> list[asyncpg.Record]:
    """Tax withheld that stands on an invoice, oldest first, each with its allocation."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select w.*, a.id as allocation
        from withholdings w
        join allocations a on a.organization || '' = w.organization and a.source_id = w.id and a.undoes is null
        where w.organization || '' = $1 and w.invoice = $2 and w.kind = 'withheld'
          and not exists (select 1 from withholdings u where u.organization = w.organization and u.undoes = w.id)
        order by w.created_at, w.id
        """,
        organization,
        invoice,
    )
    return rows


async def read_withholding(connection: Connection, organization: str, withholding: UUID) -> asyncpg.Record | None:
    """One document of tax withheld."""
    return await connection.fetchrow(
        "select * from withholdings where organization = $1 and id = $2 and kind = 'withheld'",
        organization,
        withholding,
    )


# --- credit used and refunds promised ---------------------------------------------------------------------------------


async def lock_credit_application(
    connection: Connection, organization: str, application: UUID
) -> asyncpg.Record | None:
    """One use of a customer's credit, held until the commit."""
    return await connection.fetchrow(
        "select * from credit_applications where organization = $1 and id = $2 for no key update",
        organization,
        application,
    )


async def insert_refund_payable(connection: Connection, row: Sequence[Any]) -> None:
    """Stores a promise to give back."""
    await connection.execute(
        """
        insert into refunds_payable (organization, id, ledger, customer, payment, currency, amount, on_date, reason,
            posting, created_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        """,
        *row,
    )


async def lock_refund_payable(connection: Connection, organization: str, refund: UUID) -> asyncpg.Record | None:
    """One promise, held until the commit."""
    return await connection.fetchrow(
        "select * from refunds_payable where organization = $1 and id = $2 for no key update", organization, refund
    )


async def move_refund_payable(connection: Connection, organization: str, refund: UUID, move: Mapping[str, Any]) -> None:
    """So much of a promise is paid, cancelled, or bounced; more than is left is refused (`refund_exceeds_promised`)."""
    await connection.execute(
        """
        update refunds_payable
           set paid = paid + $3, cancelled = cancelled + $4, posting = 'requested', version = version + 1
         where organization = $1 and id = $2
        """,
        organization,
        refund,
        {"paid": move["amount"], "bounced": -move["amount"]}.get(move["kind"], 0),
        move["amount"] if move["kind"] == "cancelled" else 0,
    )
    await connection.execute(
        """
        insert into refund_payable_moves (organization, id, refund, kind, amount, account, on_date, created_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        organization,
        move["id"],
        refund,
        *(move[name] for name in ("kind", "amount", "account", "on_date", "created_at")),
    )


# --- kept credit ------------------------------------------------------------------------------------------------------


async def insert_kept_credit(connection: Connection, row: Sequence[Any]) -> None:
    """Stores that so much of a payment was kept as credit, or that this is taken back."""
    await connection.execute(
        """
        insert into kept_credits (organization, id, payment, kind, amount, on_date, undoes, created_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        *row,
    )


async def read_kept_credit(connection: Connection, organization: str, kept: UUID) -> asyncpg.Record | None:
    """What of a payment was kept as credit, once."""
    return await connection.fetchrow(
        "select * from kept_credits where organization = $1 and id = $2 and kind = 'kept'", organization, kept
    )


async def is_kept_taken_back(connection: Connection, organization: str, kept: UUID) -> bool:
    """Whether it was taken back; its payment is held by the caller."""
    taken_back: bool = await connection.fetchval(
        "select exists (select 1 from kept_credits where organization = $1 and undoes = $2)", organization, kept
    )
    return taken_back


# --- disputes ---------------------------------------------------------------------------------------------------------


async def insert_dispute_allocations(
    connection: Connection, rows: Sequence[tuple[str, UUID, int, UUID, int, int | None]]
) -> None:
    """Keeps what of a disputed payment was on which invoice: organization, dispute, place, invoice, amount in the
    payment's currency, and what that had settled of an invoice in another one."""
    if not rows:
        return
    await connection.execute(
        """
        insert into dispute_allocations (organization, dispute, place, invoice, amount, settled)
        select * from unnest($1::text[], $2::uuid[], $3::smallint[], $4::uuid[], $5::numeric[], $6::numeric[])
        """,
        *_columns(rows),
    )


async def dispute_allocations(connection: Connection, organization: str, dispute: UUID) -> list[asyncpg.Record]:
    """What of a disputed payment was on which invoice, in the order in which it was taken off."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select place, invoice, amount, settled from dispute_allocations
        where organization = $1 and dispute = $2 order by place
        """,
        organization,
        dispute,
    )
    return rows


async def insert_refund_allocations(
    connection: Connection, rows: Sequence[tuple[str, UUID, int, UUID, int, int | None]]
) -> None:
    """Keeps where the money of a refund or return was: the same of it as of a dispute."""
    if not rows:
        return
    await connection.execute(
        """
        insert into refund_allocations (organization, refund, place, invoice, amount, settled)
        select * from unnest($1::text[], $2::uuid[], $3::smallint[], $4::uuid[], $5::numeric[], $6::numeric[])
        """,
        *_columns(rows),
    )


async def is_bounced(connection: Connection, organization: str, refund: UUID) -> bool:
    """Whether a refund came back; its payment is held by the caller."""
    bounced: bool = await connection.fetchval(
        "select exists (select 1 from refunds where organization = $1 and undoes = $2)", organization, refund
    )
    return bounced


async def refund_allocations(connection: Connection, organization: str, refund: UUID) -> list[asyncpg.Record]:
    """What of a refund or return was on which invoice, in the order in which it was taken off."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select place, invoice, amount, settled from refund_allocations
        where organization = $1 and refund = $2 order by place
        """,
        organization,
        refund,
    )
    return rows


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
