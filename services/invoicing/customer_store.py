"""Customers as they are kept: the sealed personal data, the keyed hash of the name, and what is no secret."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from libs.common.db import Connection


class CustomerRow(NamedTuple):
    """A customer as it is first stored."""

    organization: str
    id: UUID
    name_hash: bytes
    sealed: bytes
    key_id: str
    currency: str | None
    payment_terms_days: int
    external_id: str | None
    created_at: datetime
    discount_percent: Decimal | None = None
    discount_days: int | None = None


async def insert_customers(connection: Connection, rows: Sequence[CustomerRow]) -> set[UUID]:
    """Stores customers; gives the ids of those that are new (an external id may be taken)."""
    if not rows:
        return set()
    stored = await connection.fetch(
        """
        insert into customers (organization, id, name_hash, sealed, key_id, currency, payment_terms_days, external_id,
            created_at, discount_percent, discount_days)
        select * from unnest($1::text[], $2::uuid[], $3::bytea[], $4::bytea[], $5::text[], $6::text[], $7::integer[],
            $8::text[], $9::timestamptz[], $10::numeric[], $11::integer[])
        on conflict do nothing
        returning id
        """,
        *([row[place] for row in rows] for place in range(len(CustomerRow._fields))),
    )
    return {row["id"] for row in stored}


async def customers_by_id(connection: Connection, keys: Sequence[tuple[str, UUID]]) -> list[asyncpg.Record]:
    """Customers by organization and id."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select c.organization, c.id, c.name_hash, c.currency, c.payment_terms_days, c.erased_at, c.discount_percent,
            c.discount_days
        from unnest($1::text[], $2::uuid[]) as wanted (organization, id)
        join customers c on c.organization = wanted.organization and c.id = wanted.id
        """,
        [key[0] for key in keys],
        [key[1] for key in keys],
    )
    return rows


async def customers_by_name(connection: Connection, keys: Sequence[tuple[str, bytes]]) -> list[asyncpg.Record]:
    """Customers by organization and the keyed hash of the name; the oldest of each name."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select distinct on (c.organization, c.name_hash)
            c.organization, c.id, c.name_hash, c.currency, c.payment_terms_days, c.erased_at, c.discount_percent,
            c.discount_days
        from unnest($1::text[], $2::bytea[]) as wanted (organization, name_hash)
        join customers c on c.organization || '' = wanted.organization and c.name_hash = wanted.name_hash
        order by c.organization, c.name_hash, c.created_at, c.id
        """,
        [key[0] for key in keys],
        [key[1] for key in keys],
    )
    return rows


async def customers_by_external_id(connection: Connection, keys: Sequence[tuple[str, str]]) -> list[asyncpg.Record]:
    """Customers by organization and external id."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select c.organization, c.id, c.external_id
        from unnest($1::text[], $2::text[]) as wanted (organization, external_id)
        join customers c on c.organization || '' = wanted.organization and c.external_id = wanted.external_id
        """,
        [key[0] for key in keys],
        [key[1] for key in keys],
    )
    return rows


async def hold_name(connection: Connection, organization: str, name_hash: bytes) -> None:
    """Keeps others from making a customer of this name until the commit."""
    await connection.execute("select pg_advisory_xact_lock(hashtextextended($1, 11))", organization + name_hash.hex())


async def lock_customer(connection: Connection, organization: str, customer: UUID) -> asyncpg.Record | None:
    """One customer, held until the commit."""
    return await connection.fetchrow(
        "select * from customers where organization = $1 and id = $2 for no key update", organization, customer
    )


async def update_customer(connection: Connection, organization: str, customer: UUID, row: Mapping[str, Any]) -> None:
    """What a customer is after a change, or after its personal data was erased."""
    await connection.execute(
        """
        update customers
           set name_hash = $3, sealed = $4, key_id = $5, currency = $6, payment_terms_days = $7, external_id = $8,
               erased_at = $9, discount_percent = $10, discount_days = $11, version = version + 1
         where organization = $1 and id = $2
        """,
        organization,
        customer,
        *(
            row[name]
            for name in (
                "name_hash",
                "sealed",
                "key_id",
                "currency",
                "payment_terms_days",
                "external_id",
                "erased_at",
                "discount_percent",
                "discount_days",
            )
        ),
    )


async def sealed_with_others(connection: Connection, key_id: str, limit: int) -> list[asyncpg.Record]:
    """Customers sealed with another key than this, held until the commit, for a rotation."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select organization, id, sealed, key_id from customers
        where key_id <> $1 order by organization, id limit $2 for no key update skip locked
        """,
        key_id,
        limit,
    )
    return rows


async def reseal(connection: Connection, organization: str, customer: UUID, sealed: bytes, key_id: str) -> None:
    """The same personal data under a newer key."""
    await connection.execute(
        "update customers set sealed = $3, key_id = $4 where organization = $1 and id = $2",
        organization,
        customer,
        sealed,
        key_id,
    )
