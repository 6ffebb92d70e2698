"""Seller and buyer of issued invoices as they are kept: sealed, with the hash of the document printed of them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from libs.common.db import Connection

PartyKey = tuple[str, UUID]
"""Organization and the invoice's id."""

FIRST: Final[PartyKey] = ("", UUID(int=0))


class PartyRow(NamedTuple):
    """The parties of an invoice as they are first stored."""

    organization: str
    invoice: UUID
    customer: UUID
    seller: bytes
    buyer: bytes
    key_id: str


class ResealedRow(NamedTuple):
    """The same parties under a newer key; no buyer where it was erased."""

    organization: str
    invoice: UUID
    seller: bytes
    buyer: bytes | None
    key_id: str


class HashedRow(NamedTuple):
    """The hash of a rendered document, an invoice or a credit note, and the form that rendered it."""

    organization: str
    document: UUID
    document_hash: bytes
    document_form: int


async def hold_customers(connection: Connection, keys: Sequence[tuple[str, UUID]]) -> list[asyncpg.Record]:
    """What is sealed of customers; nobody changes or erases them until the commit."""
    if not keys:
        return []
    wanted = sorted(set(keys))
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select c.organization, c.id, c.sealed, c.key_id
        from unnest($1::text[], $2::uuid[]) as wanted (organization, id)
        join customers c on c.organization = wanted.organization and c.id = wanted.id
        order by c.organization, c.id
        for share of c
        """,
        [key[0] for key in wanted],
        [key[1] for key in wanted],
    )
    return rows


async def insert_parties(connection: Connection, rows: Sequence[PartyRow]) -> None:
    """Stores the parties of what is issued now."""
    if not rows:
        return
    await connection.execute(
        """
        insert into issued_parties (organization, invoice, customer, seller, buyer, key_id)
        select * from unnest($1::text[], $2::uuid[], $3::uuid[], $4::bytea[], $5::bytea[], $6::text[])
        """,
        *([row[place] for row in rows] for place in range(len(PartyRow._fields))),
    )


async def read_parties(connection: Connection, key: PartyKey) -> asyncpg.Record | None:
    """The parties of one invoice; None where it was issued before they were kept."""
    return await connection.fetchrow(
        """
        select organization, invoice, seller, buyer, key_id, erased_at, document_hash, document_form
        from issued_parties where organization = $1 and invoice = $2
        """,
        *key,
    )


async def erase_buyer(connection: Connection, organization: str, customer: UUID, now: datetime) -> None:
    """A customer's data is gone from every document of theirs; the customer's row is held by the caller."""
    await connection.execute(
        """
        update issued_parties set buyer = null, erased_at = $3
        where organization || '' = $1 and customer = $2 and buyer is not null
        """,
        organization,
        customer,
        now,
    )


async def sealed_with_others(
    connection: Connection, key_id: str, after: PartyKey, limit: int
) -> list[asyncpg.Record]:  # fmt: skip
    """Parties under another key than this, the next ones in the order of their keys, held until the commit."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select organization, invoice, seller, buyer, key_id from issued_parties
        where key_id <> $1 and (organization, invoice) > ($2, $3)
        order by organization, invoice limit $4 for no key update
        """,
        key_id,
        *after,
        limit,
    )
    return rows


async def reseal(connection: Connection, rows: Sequence[ResealedRow]) -> None:
    """The same parties under a newer key."""
    await connection.execute(
        """
        update issued_parties p set seller = again.seller, buyer = again.buyer, key_id = again.key_id
          from unnest($1::text[], $2::uuid[], $3::bytea[], $4::bytea[], $5::text[])
               as again (organization, invoice, seller, buyer, key_id)
         where p.organization = again.organization and p.invoice = again.invoice
        """,
        *([row[place] for row in rows] for place in range(len(ResealedRow._fields))),
    )


async def unhashed(connection: Connection, limit: int) -> list[asyncpg.Record]:
    """Invoices whose document has no hash yet, with all that is printed of them, held until the commit."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select i.organization, i.id, i.number, i.customer, i.issued_on, i.tax_point_on, i.due_on, i.status, i.content,
            i.client_ref, i.creditor_reference, p.seller, p.buyer, p.key_id
        from issued_parties p
        join invoices i on i.organization = p.organization and i.id = p.invoice
        where p.document_hash is null and p.buyer is not null
        order by p.invoice limit $1 for no key update of p skip locked
        """,
        limit,
    )
    return rows


async def unhashed_notes(connection: Connection, limit: int) -> list[asyncpg.Record]:
    """Credit notes whose document has no hash yet, held until the commit with the parties of their invoices."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select n.organization, n.id, n.invoice, n.number, n.issued_on, n.reason, n.content, p.seller, p.buyer, p.key_id
        from credit_notes n
        join issued_parties p on p.organization = n.organization and p.invoice = n.invoice
        where n.document_hash is null and p.buyer is not null
        order by n.id limit $1 for no key update of n, p skip locked
        """,
        limit,
    )
    return rows


async def corrected(connection: Connection, keys: Sequence[PartyKey]) -> dict[PartyKey, asyncpg.Record]:
    """Invoices with all that their credit notes print of them."""
    rows = await connection.fetch(
        """
        select i.organization, i.id, i.number, i.customer, i.issued_on, i.tax_point_on, i.due_on, i.status, i.content,
            i.client_ref, i.creditor_reference
        from unnest($1::text[], $2::uuid[]) as wanted (organization, id)
        join invoices i on i.organization = wanted.organization and i.id = wanted.id
        """,
        [key[0] for key in keys],
        [key[1] for key in keys],
    )
    return {(row["organization"], row["id"]): row for row in rows}


async def store_hashes(connection: Connection, rows: Sequence[HashedRow]) -> None:
    """The hashes of documents that had none."""
    await connection.execute(
        """
        update issued_parties p set document_hash = hashed.document_hash, document_form = hashed.document_form
          from unnest($1::text[], $2::uuid[], $3::bytea[], $4::smallint[])
               as hashed (organization, invoice, document_hash, document_form)
         where p.organization = hashed.organization and p.invoice = hashed.invoice and p.document_hash is null
        """,
        *([row[place] for row in rows] for place in range(len(HashedRow._fields))),
    )


async def store_note_hashes(connection: Connection, rows: Sequence[HashedRow]) -> None:
    """The hashes of credit notes that had none."""
    await connection.execute(
        """
        update credit_notes n set document_hash = hashed.document_hash, document_form = hashed.document_form
          from unnest($1::text[], $2::uuid[], $3::bytea[], $4::smallint[])
               as hashed (organization, id, document_hash, document_form)
         where n.organization = hashed.organization and n.id = hashed.id and n.document_hash is null
        """,
        *([row[place] for row in rows] for place in range(len(HashedRow._fields))),
    )
