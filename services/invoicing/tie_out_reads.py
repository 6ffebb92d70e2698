"""What the tie-out compares: sums of movements and of book lines at a ledger sequence, and what is not posted yet."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from libs.common.db import Connection
from services.invoicing.tie_out import BookSum, MappedAccount, MovementSum


class HeardLedger(NamedTuple):
    """A ledger and the sequence through which its log was heard."""

    organization: str
    ledger: str
    sequence: int


class Unposted(NamedTuple):
    """An entry that was asked for and is not in the books."""

    posting: UUID
    document: str
    purpose: str
    state: str
    created_at: datetime


class ByOthers(NamedTuple):
    """A line on a followed account by another hand than invoicing's."""

    sequence: int
    entry_id: UUID
    service: str
    account: str
    party: str | None
    currency: str
    amount: int


async def hold_snapshot(connection: Connection) -> None:
    """All that this transaction reads is as of one moment; first of all in it."""
    await connection.execute("set transaction isolation level repeatable read")


async def heard_through(connection: Connection, organization: str, ledger: str) -> int:
    """The sequence through which a ledger's log was heard, 0 where nothing was."""
    found: int | None = await connection.fetchval(
        "select sequence from heads where organization = $1 and ledger = $2", organization, ledger
    )
    return found or 0


async def heard_ledgers(connection: Connection) -> list[HeardLedger]:
    """Every ledger with a mapped account, of all organizations."""
    rows = await connection.fetch(
        """
        select h.organization, h.ledger, h.sequence from heads h
        where exists (select from followed_accounts f where f.organization = h.organization and f.ledger = h.ledger)
        order by h.organization, h.ledger
        """
    )
    return [HeardLedger(*row.values()) for row in rows]


async def mapped_accounts(connection: Connection, organization: str, ledger: str) -> list[MappedAccount]:
    """Every account a role is or was mapped to."""
    rows = await connection.fetch(
        """
        select account, role, complete from followed_accounts
        where organization = $1 and ledger = $2 order by account, role
        """,
        organization,
        ledger,
    )
    return [MappedAccount(*row.values()) for row in rows]


async def movement_sums(connection: Connection, organization: str, ledger: str, sequence: int) -> list[MovementSum]:
    """Movements of entries at or before a sequence: by the ledger's answer, or where that is late by the books."""
    rows = await connection.fetch(
        """
        select m.role, m.party, m.currency, sum(m.amount)::numeric(38, 0) as amount
        from movements m
        where m.organization = $1 and m.ledger = $2
          and (m.sequence <= $3 or (m.sequence is null and exists (
                select from book_lines b
                where b.organization = m.organization and b.entry_id = m.posting and b.sequence <= $3)))
        group by m.role, m.party, m.currency
        """,
        organization,
        ledger,
        sequence,
    )
    return [MovementSum(row["role"], row["party"] or None, row["currency"], int(row["amount"])) for row in rows]


async def book_sums(connection: Connection, organization: str, ledger: str, sequence: int) -> list[BookSum]:
    """Lines on followed accounts at or before a sequence."""
    rows = await connection.fetch(
        """
        select account, party, currency, sum(amount)::numeric(38, 0) as amount,
            coalesce(sum(amount) filter (where service <> 'invoicing'), 0)::numeric(38, 0) as by_others
        from book_lines
        where organization = $1 and ledger = $2 and sequence <= $3
        group by account, party, currency
        """,
        organization,
        ledger,
        sequence,
    )
    return [
        BookSum(row["account"], row["party"], row["currency"], int(row["amount"]), int(row["by_others"]))
        for row in rows
    ]


async def lines_by_others(
    connection: Connection, organization: str, ledger: str, sequence: int, accounts: list[str], limit: int
) -> list[ByOthers]:
    """The newest lines of other hands on these accounts."""
    rows = await connection.fetch(
        """
        select sequence, entry_id, service, account, party, currency, amount from book_lines
        where organization = $1 and ledger = $2 and sequence <= $3 and service <> 'invoicing' and account = any($4)
        order by sequence desc, line limit $5
        """,
        organization,
        ledger,
        sequence,
        accounts,
        limit,
    )
    return [ByOthers(*row.values()) for row in rows]


async def unposted(
    connection: Connection, organization: str, ledger: str, sequence: int, limit: int
) -> tuple[int, list[Unposted]]:
    """How many entries were asked for and are not in the books at a sequence, and the oldest of them."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select p.id, p.document, p.purpose, p.state, p.created_at, count(*) over () as total
        from postings p
        where p.organization = $1 and p.ledger = $2 and p.state <> 'withdrawn'
          and (p.sequence is null or p.sequence > $3)
          and not exists (select from book_lines b
                where b.organization = p.organization and b.entry_id = p.id and b.sequence <= $3)
        order by p.created_at, p.id limit $4
        """,
        organization,
        ledger,
        sequence,
        limit,
    )
    return (rows[0]["total"] if rows else 0), [Unposted(*tuple(row.values())[:5]) for row in rows]
