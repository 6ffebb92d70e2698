"""Tax returns as they are kept: their periods one after another, and the lines of those that are filed."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

import asyncpg

from libs.common.db import Connection


async def hold_number(connection: Connection, organization: str, tax_number: str) -> None:
    """From here to the commit nobody else works on the returns of this number; the database's guard takes the same."""
    await connection.execute(
        "select pg_advisory_xact_lock(hashtextextended('tax-return/' || $1 || '/' || $2, 0))", organization, tax_number
    )


async def read_return(connection: Connection, organization: str, tax_return: UUID) -> asyncpg.Record | None:
    """One return."""
    return await connection.fetchrow(
        "select * from tax_returns where organization = $1 and id = $2", organization, tax_return
    )


async def returns_of(connection: Connection, organization: str, tax_number: str) -> list[asyncpg.Record]:
    """All returns of a number, by period."""
    rows: list[asyncpg.Record] = await connection.fetch(
        "select * from tax_returns where organization = $1 and tax_number = $2 order by from_on",
        organization,
        tax_number,
    )
    return rows


async def list_returns(
    connection: Connection, organization: str, tax_number: str | None, after: UUID | None, limit: int
) -> list[asyncpg.Record]:
    """Returns in the order they were made."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select * from tax_returns
        where organization = $1 and ($2::text is null or tax_number = $2) and ($3::uuid is null or id > $3)
        order by id limit $4
        """,
        organization,
        tax_number,
        after,
        limit,
    )
    return rows


async def insert_return(connection: Connection, organization: str, row: Sequence[Any]) -> None:
    """Stores a new return: id, number, first and last day, basis, currency, reason of a gap, instant."""
    await connection.execute(
        """
        insert into tax_returns (organization, id, tax_number, from_on, to_on, basis, currency, gap_reason, created_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        """,
        organization,
        *row,
    )


async def insert_lines(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """Stores what a return says; it is open still."""
    if not rows:
        return
    await connection.execute(
        """
        insert into tax_return_lines (organization, tax_return, place, ledger, source, part, kind, document, number,
            tax_point_on, is_correction, category, rate, exemption_code, exemption_reason, currency, base, tax,
            base_reported, tax_reported)
        select * from unnest($1::text[], $2::uuid[], $3::integer[], $4::text[], $5::text[], $6::smallint[], $7::text[],
            $8::uuid[], $9::text[], $10::date[], $11::boolean[], $12::text[], $13::numeric[], $14::text[], $15::text[],
            $16::text[], $17::numeric[], $18::numeric[], $19::numeric[], $20::numeric[])
        """,
        *(list(column) for column in zip(*rows, strict=True)),
    )


async def file_return(
    connection: Connection, organization: str, tax_return: UUID, base: int, tax: int, by: str, now: datetime
) -> None:
    """The return is filed; nothing of it changes from here on."""
    await connection.execute(
        """
        update tax_returns set state = 'filed', base = $3, tax = $4, filed_by = $5, filed_at = $6
        where organization = $1 and id = $2
        """,
        organization,
        tax_return,
        base,
        tax,
        by,
        now,
    )


async def remove_return(connection: Connection, organization: str, tax_return: UUID) -> None:
    """Takes an open return back."""
    await connection.execute("delete from tax_returns where organization = $1 and id = $2", organization, tax_return)


async def read_lines(connection: Connection, organization: str, tax_return: UUID) -> list[asyncpg.Record]:
    """What a filed return says."""
    rows: list[asyncpg.Record] = await connection.fetch(
        "select * from tax_return_lines where organization = $1 and tax_return = $2 order by place",
        organization,
        tax_return,
    )
    return rows


async def last_day(connection: Connection, organization: str, tax_number: str) -> date | None:
    """The last day that the number's returns reach to."""
    last: date | None = await connection.fetchval(
        "select max(to_on) from tax_returns where organization = $1 and tax_number = $2", organization, tax_number
    )
    return last
