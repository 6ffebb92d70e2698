"""What callers are told of receivables: read as the role that sees one organization's rows alone.

Lists go by (created_at's id) keyset: ids rise with time, newest last, so new rows do not shift what follows.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg

from libs.common.db import Connection, Pool, transaction


@asynccontextmanager
async def as_reader(pool: Pool, organization: str) -> AsyncIterator[Connection]:
    """A short transaction that sees this organization's rows and no others."""
    async with transaction(pool, readonly=True, settings={"ledgerbus.organization": organization}) as connection:
        yield connection


async def read_invoice(connection: Connection, organization: str, invoice: UUID) -> asyncpg.Record | None:
    """One invoice."""
    return await connection.fetchrow(
        "select * from invoices where organization = $1 and id = $2", organization, invoice
    )


async def read_taxes(connection: Connection, organization: str, invoice: UUID) -> list[asyncpg.Record]:
    """An invoice's tax rows; none while it is a draft."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select category, rate, exemption_code, exemption_reason, base, amount from invoice_taxes
        where organization = $1 and invoice = $2 order by place
        """,
        organization,
        invoice,
    )
    return rows


async def read_lines(connection: Connection, organization: str, invoice: UUID) -> list[asyncpg.Record]:
    """An invoice's lines."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select line, description, quantity, unit_price, product, revenue_account, discount, net, tax, service_from,
            service_to
        from invoice_lines where organization = $1 and invoice = $2 order by line
        """,
        organization,
        invoice,
    )
    return rows


async def list_invoices(
    connection: Connection, organization: str, filters: Mapping[str, Any], after: UUID | None, limit: int
) -> list[asyncpg.Record]:
    """Invoices in the order they were made, from behind `after`."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select * from invoices
        where organization = $1 and ($2::uuid is null or id > $2)
          and ($3::uuid is null or customer = $3) and ($4::text is null or status = $4)
          and ($5::text is null or ledger = $5) and ($6::text is null or number = $6)
          and ($7::text is null or posting = $7)
        order by id limit $8
        """,
        organization,
        after,
        *(filters.get(name) for name in ("customer", "status", "ledger", "number", "posting")),
        limit,
    )
    return rows


async def read_payment(connection: Connection, organization: str, payment: UUID) -> asyncpg.Record | None:
    """One payment."""
    return await connection.fetchrow(
        "select * from payments where organization = $1 and id = $2", organization, payment
    )


async def list_payments(
    connection: Connection, organization: str, filters: Mapping[str, Any], after: UUID | None, limit: int
) -> list[asyncpg.Record]:
    """Payments in the order they came, from behind `after`."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select * from payments
        where organization = $1 and ($2::uuid is null or id > $2)
          and ($3::uuid is null or customer = $3) and ($4::text is null or posting = $4)
          and ($5::boolean is null or (unapplied > 0) = $5) and ($6::text is null or payment_id = $6)
        order by id limit $7
        """,
        organization,
        after,
        *(filters.get(name) for name in ("customer", "posting", "unapplied", "payment_id")),
        limit,
    )
    return rows


async def list_allocations(
    connection: Connection, organization: str, *, source_id: UUID | None = None, invoice: UUID | None = None
) -> list[asyncpg.Record]:
    """Allocations of a payment or of an invoice, the undone and the undoing too, oldest first."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select a.id, a.source, a.source_id, a.invoice, a.amount, a.paid, a.on_date, a.undoes, a.created_at, i.currency,
            case when a.paid is not null then p.currency end as paid_currency
        from allocations a
        join invoices i on i.organization = a.organization and i.id = a.invoice
        left join payments p on a.paid is not null and p.organization = a.organization and p.id = a.source_id
        where a.organization = $1 and (a.source_id = $2 or a.invoice = $3) order by a.created_at, a.id
        """,
        organization,
        source_id,
        invoice,
    )
    return rows


async def read_customer(connection: Connection, organization: str, customer: UUID) -> asyncpg.Record | None:
    """One customer, its personal data sealed."""
    return await connection.fetchrow(
        "select * from customers where organization = $1 and id = $2", organization, customer
    )


async def list_customers(
    connection: Connection, organization: str, name_hash: bytes | None, after: UUID | None, limit: int
) -> list[asyncpg.Record]:
    """Customers in the order they were made; with a keyed hash those of that name."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select * from customers
        where organization = $1 and ($2::uuid is null or id > $2) and ($3::bytea is null or name_hash = $3)
        order by id limit $4
        """,
        organization,
        after,
        name_hash,
        limit,
    )
    return rows


async def read_credits(connection: Connection, organization: str, customer: UUID) -> list[asyncpg.Record]:
    """A customer's credit by ledger and currency."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select ledger, currency, balance from customer_credits
        where organization = $1 and customer = $2 and balance > 0 order by ledger, currency
        """,
        organization,
        customer,
    )
    return rows


async def list_products(
    connection: Connection, organization: str, after: UUID | None, limit: int
) -> list[asyncpg.Record]:
    """Products in the order they were made."""
    rows: list[asyncpg.Record] = await connection.fetch(
        "select * from products where organization = $1 and ($2::uuid is null or id > $2) order by id limit $3",
        organization,
        after,
        limit,
    )
    return rows


async def list_tax_rates(
    connection: Connection, organization: str, after: UUID | None, limit: int
) -> list[asyncpg.Record]:
    """Tax rates, each stretch of each code, in the order they were made."""
    rows: list[asyncpg.Record] = await connection.fetch(
        "select * from tax_rates where organization = $1 and ($2::uuid is null or id > $2) order by id limit $3",
        organization,
        after,
        limit,
    )
    return rows


async def read_credit_note(connection: Connection, organization: str, note: UUID) -> asyncpg.Record | None:
    """One credit note."""
    return await connection.fetchrow(
        "select * from credit_notes where organization = $1 and id = $2", organization, note
    )


async def read_credit_note_taxes(connection: Connection, organization: str, note: UUID) -> list[asyncpg.Record]:
    """A credit note's tax rows."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select category, rate, exemption_code, exemption_reason, base, amount from credit_note_taxes
        where organization = $1 and credit_note = $2 order by place
        """,
        organization,
        note,
    )
    return rows


async def list_credit_notes(
    connection: Connection, organization: str, invoice: UUID | None, after: UUID | None, limit: int
) -> list[asyncpg.Record]:
    """Credit notes in the order they were made."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select * from credit_notes
        where organization = $1 and ($2::uuid is null or id > $2) and ($3::uuid is null or invoice = $3)
        order by id limit $4
        """,
        organization,
        after,
        invoice,
        limit,
    )
    return rows


async def read_terms(connection: Connection, organization: str, invoice: UUID) -> asyncpg.Record | None:
    """An invoice's terms for early payment with its last day in time and the discount that stands on it."""
    return await connection.fetchrow(
        """
        select t.percent, t.within_days, i.issued_on + t.within_days as until,
            (select coalesce(sum(case when kind = 'discount' then d.total else -d.total end), 0)
             from discounts d where d.organization = t.organization and d.invoice = t.invoice) as taken
        from discount_terms t join invoices i on i.organization = t.organization and i.id = t.invoice
        where t.organization = $1 and t.invoice = $2
        """,
        organization,
        invoice,
    )


async def list_settlements(connection: Connection, organization: str, invoice: UUID) -> list[asyncpg.Record]:
    """What settled or gave up an invoice beside payments and credit notes, and what took that back, oldest first."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select 'discount' as document, id, kind, total as amount, on_date, undoes, posting, created_at from discounts
        where organization = $1 and invoice = $2
        union all
        select 'withholding', id, kind, amount, on_date, undoes, posting, created_at from withholdings
        where organization = $1 and invoice = $2
        union all
        select 'write-off', id, kind, amount, on_date, undoes, posting, created_at from write_offs
        where organization = $1 and invoice = $2
        order by created_at, id
        """,
        organization,
        invoice,
    )
    return rows


async def list_money_back(connection: Connection, organization: str, payment: UUID) -> list[asyncpg.Record]:
    """What of a payment went back, and disputes of it with how they stand, oldest first."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select kind, id, refund_id as name, null as status, amount, fee, from_unapplied, from_credit, from_allocated,
            refunded_on as on_date, reason, created_at
        from refunds where organization = $1 and payment = $2
        union all
        select 'dispute', id, dispute_id, status, amount, fee, from_unapplied, from_credit, from_allocated,
            opened_on, null, created_at
        from disputes where organization = $1 and payment = $2
        order by created_at, id
        """,
        organization,
        payment,
    )
    return rows


async def list_kept(connection: Connection, organization: str, payment: UUID) -> list[asyncpg.Record]:
    """What of a payment was kept as credit, and taken back, oldest first."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select id, kind, amount, on_date, undoes, created_at from kept_credits
        where organization = $1 and payment = $2 order by created_at, id
        """,
        organization,
        payment,
    )
    return rows


async def read_refund_payable(connection: Connection, organization: str, refund: UUID) -> asyncpg.Record | None:
    """One promised refund."""
    return await connection.fetchrow(
        "select * from refunds_payable where organization = $1 and id = $2", organization, refund
    )


async def list_refunds_payable(
    connection: Connection, organization: str, filters: Mapping[str, Any], after: UUID | None, limit: int
) -> list[asyncpg.Record]:
    """Promised refunds in the order they were made, from behind `after`."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select * from refunds_payable
        where organization = $1 and ($2::uuid is null or id > $2) and ($3::uuid is null or customer = $3)
          and ($4::boolean is null or (amount > paid + cancelled) = $4)
        order by id limit $5
        """,
        organization,
        after,
        *(filters.get(name) for name in ("customer", "left")),
        limit,
    )
    return rows


async def list_postings(
    connection: Connection, organization: str, filters: Mapping[str, Any], after: UUID | None, limit: int
) -> list[asyncpg.Record]:
    """What the ledger was asked, in the order of ids."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select id, ledger, document, purpose, type, attempt, state, depends_on, created_at, requested_at, resend_at,
            tries, sequence, effective_on, recorded_at, rejection
        from postings
        where organization = $1 and ($2::uuid is null or id > $2)
          and ($3::text is null or state = $3) and ($4::text is null or document = $4)
        order by id limit $5
        """,
        organization,
        after,
        *(filters.get(name) for name in ("state", "document")),
        limit,
    )
    return rows
