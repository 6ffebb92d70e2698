"""Invoices as they are kept: numbers, documents with their lines, and what stands on them.

A number is drawn from its series under the series' row lock, in the transaction that stores its invoice, and nothing
else is waited for after that: so numbers have no gaps, and their order is the order of commits. Rows of several
invoices are locked in the order of their ids.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg

from libs.common.array_text import array_columns
from libs.common.db import Connection

InvoiceKey = tuple[str, UUID]
"""Organization and the invoice's id."""

SeriesKey = tuple[str, str, str, int]
"""Organization, ledger, series, year."""


class InvoiceRow(NamedTuple):
    """An invoice as it is stored; numbers and dates are missing while it is a draft."""

    organization: str
    id: UUID
    ledger: str
    customer: UUID
    series: str | None
    year: int | None
    serial: int | None
    number: str | None
    status: str
    posting: str
    currency: str
    issued_on: date | None
    tax_point_on: date | None
    due_on: date | None
    net: int
    tax: int
    rounding: int
    total: int
    content: str
    creditor_reference: str | None
    client_ref: str | None
    created_at: datetime
    issued_at: datetime | None


class LineRow(NamedTuple):
    """One line of an invoice."""

    organization: str
    invoice: UUID
    line: int
    description: str
    quantity: Decimal
    unit_price: Decimal
    product: str | None
    revenue_account: str | None
    discount: int
    net: int
    tax: int
    service_from: date | None
    service_to: date | None


class TaxRow(NamedTuple):
    """The tax of one category and rate of an invoice or credit note."""

    organization: str
    document: UUID
    place: int
    category: str
    rate: Decimal
    exemption_code: str | None
    exemption_reason: str | None
    base: int
    amount: int


class AmountsRow(NamedTuple):
    """What stands on an invoice after a change."""

    organization: str
    id: UUID
    status: str
    paid: int
    credited: int
    written_off: int


STANDING: Final = ("status", "total", "paid", "credited", "written_off")


async def draw_numbers(connection: Connection, wanted: Mapping[SeriesKey, int]) -> dict[SeriesKey, int]:
    """Takes so many numbers of each series; gives the last one of each. Held from here to the commit."""
    last: dict[SeriesKey, int] = {}
    for key in sorted(wanted):
        last[key] = await connection.fetchval(
            """
            insert into number_series (organization, ledger, series, year, last) values ($1, $2, $3, $4, $5)
            on conflict (organization, ledger, series, year) do update set last = number_series.last + excluded.last
            returning last
            """,
            *key,
            wanted[key],
        )
    return last


async def insert_invoices(connection: Connection, rows: Sequence[InvoiceRow]) -> None:
    """Stores new invoices."""
    if not rows:
        return
    await connection.execute(
        """
        insert into invoices (organization, id, ledger, customer, series, year, serial, number, status, posting,
            currency, issued_on, tax_point_on, due_on, net, tax, rounding, total, content, creditor_reference,
            client_ref, created_at, issued_at)
        select organization, id, ledger, customer, series, year, serial, number, status, posting,
            currency, issued_on, tax_point_on, due_on, net, tax, rounding, total, content::jsonb, creditor_reference,
            client_ref, created_at, issued_at
        from unnest($1::text[], $2::uuid[], $3::text[], $4::uuid[], $5::text[], $6::integer[], $7::bigint[],
                $8::text[], $9::text[], $10::text[], $11::text[], $12::date[], $13::date[], $14::date[],
                $15::numeric[], $16::numeric[], $17::numeric[], $18::numeric[], $19::text[], $20::text[],
                $21::text[], $22::timestamptz[], $23::timestamptz[])
            as invoice (organization, id, ledger, customer, series, year, serial, number, status, posting,
                currency, issued_on, tax_point_on, due_on, net, tax, rounding, total, content, creditor_reference,
                client_ref, created_at, issued_at)
        """,
        *_columns(rows),
    )


async def issue_drafts(connection: Connection, rows: Sequence[InvoiceRow]) -> None:
    """Drafts become issued; the rows say all they are from now on."""
    if not rows:
        return
    await connection.execute(
        """
        update invoices i
           set series = issued.series, year = issued.year, serial = issued.serial, number = issued.number,
               status = issued.status, posting = issued.posting, issued_on = issued.issued_on,
               tax_point_on = issued.tax_point_on, due_on = issued.due_on, content = issued.content::jsonb,
               creditor_reference = issued.creditor_reference, issued_at = issued.issued_at, version = i.version + 1
          from unnest($1::text[], $2::uuid[], $3::text[], $4::integer[], $5::bigint[], $6::text[], $7::text[],
                $8::text[], $9::date[], $10::date[], $11::date[], $12::text[], $13::text[],
                $14::timestamptz[])
               as issued (organization, id, series, year, serial, number, status, posting, issued_on, tax_point_on,
                due_on, content, creditor_reference, issued_at)
         where i.organization = issued.organization and i.id = issued.id
        """,
        *(
            [getattr(row, name) for row in rows]
            for name in (
                "organization",
                "id",
                "series",
                "year",
                "serial",
                "number",
                "status",
                "posting",
                "issued_on",
                "tax_point_on",
                "due_on",
                "content",
                "creditor_reference",
                "issued_at",
            )
        ),
    )


async def change_draft(connection: Connection, row: InvoiceRow) -> None:
    """A draft becomes another one; its row is held by the caller."""
    await connection.execute(
        """
        update invoices
           set customer = $3, currency = $4, issued_on = $5, tax_point_on = $6, due_on = $7, net = $8, tax = $9,
               rounding = $10, total = $11, content = $12::text::jsonb, client_ref = $13, version = version + 1
         where organization = $1 and id = $2
        """,
        row.organization,
        row.id,
        row.customer,
        row.currency,
        row.issued_on,
        row.tax_point_on,
        row.due_on,
        row.net,
        row.tax,
        row.rounding,
        row.total,
        row.content,
        row.client_ref,
    )


async def remove_draft(connection: Connection, organization: str, invoice: UUID) -> None:
    """A draft without lines is gone."""
    await connection.execute("delete from invoices where organization = $1 and id = $2", organization, invoice)


async def insert_lines(connection: Connection, rows: Sequence[LineRow]) -> None:
    """Stores the lines of new invoices."""
    if not rows:
        return
    await connection.execute(
        """
        insert into invoice_lines (organization, invoice, line, description, quantity, unit_price, product,
            revenue_account, discount, net, tax, service_from, service_to)
        select * from unnest($1::text[], $2::uuid[], $3::smallint[], $4::text[], $5::numeric[], $6::numeric[],
            $7::text[], $8::text[], $9::numeric[], $10::numeric[], $11::numeric[], $12::date[], $13::date[])
        """,
        *_columns(rows),
    )


async def insert_taxes(connection: Connection, rows: Sequence[TaxRow]) -> None:
    """Stores the tax rows of invoices that are issued now."""
    if not rows:
        return
    await connection.execute(
        """
        insert into invoice_taxes (organization, invoice, place, category, rate, exemption_code, exemption_reason,
            base, amount)
        select * from unnest($1::text[], $2::uuid[], $3::smallint[], $4::text[], $5::numeric[], $6::text[], $7::text[],
            $8::numeric[], $9::numeric[])
        """,
        *_columns(rows),
    )


async def lock_invoices(connection: Connection, keys: Sequence[InvoiceKey]) -> dict[InvoiceKey, asyncpg.Record]:
    """Invoices held until the commit, in the order of their ids."""
    if not keys:
        return {}
    wanted = sorted(set(keys))
    rows = await connection.fetch(
        """
        select i.organization, i.id, i.ledger, i.customer, i.number, i.status, i.posting, i.currency, i.issued_on,
            i.tax_point_on, i.due_on, i.net, i.tax, i.rounding, i.total, i.paid, i.credited, i.written_off, i.open,
            i.creditor_reference, i.client_ref, i.created_at, i.issued_at, i.version
        from unnest($1::text::text[], $2::text::uuid[]) as wanted (organization, id)
        join invoices i on i.organization = wanted.organization and i.id = wanted.id
        order by i.organization, i.id
        for no key update of i
        """,
        *array_columns(wanted),
    )
    return {(row["organization"], row["id"]): row for row in rows}


async def read_content(connection: Connection, key: InvoiceKey) -> str:
    """What an invoice is made of, as JSON text; it is large, and the hot path does without."""
    content: str = await connection.fetchval("select content from invoices where organization = $1 and id = $2", *key)
    return content


async def store_amounts(connection: Connection, rows: Sequence[AmountsRow]) -> None:
    """What stands on invoices after a change; their rows are held by the caller."""
    if not rows:
        return
    await connection.execute(
        """
        update invoices i
           set status = changed.status, paid = changed.paid, credited = changed.credited,
               written_off = changed.written_off, version = i.version + 1
          from unnest($1::text::text[], $2::text::uuid[], $3::text::text[], $4::text::numeric[], $5::text::numeric[],
              $6::text::numeric[])
               as changed (organization, id, status, paid, credited, written_off)
         where i.organization = changed.organization and i.id = changed.id
        """,
        *array_columns(rows),
    )


async def void_invoice(connection: Connection, organization: str, invoice: UUID, posting: str, now: datetime) -> None:
    """The invoice is void from now on; it keeps its number."""
    await connection.execute(
        """
        update invoices set status = 'void', posting = $3, voided_at = $4, version = version + 1
        where organization = $1 and id = $2
        """,
        organization,
        invoice,
        posting,
        now,
    )


async def remove_draft_lines(connection: Connection, organization: str, invoice: UUID) -> None:
    """A draft's lines and its terms of early payment make room for others."""
    await connection.execute(
        "delete from invoice_lines where organization = $1 and invoice = $2", organization, invoice
    )
    await connection.execute(
        "delete from discount_terms where organization = $1 and invoice = $2", organization, invoice
    )


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
