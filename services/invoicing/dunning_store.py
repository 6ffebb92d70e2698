"""Reminders as they are kept: a ledger's levels, holds, letters, and each invoice's steps.

Runs hold the invoices that they list from before they decide to the commit, so that of two runs at once the second sees
what the first sent.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from libs.common.db import Connection


class LetterRow(NamedTuple):
    """A letter as it is stored; `content` is JSON text."""

    organization: str
    id: UUID
    ledger: str
    customer: UUID
    currency: str
    level: int
    sent_on: date
    fee_invoice: UUID | None
    content: str
    created_at: datetime


class StepRow(NamedTuple):
    """An invoice was raised to a level by a letter."""

    organization: str
    invoice: UUID
    round: int
    level: int
    letter: UUID
    sent_on: date


# --- levels -----------------------------------------------------------------------------------------------------------


async def read_levels(connection: Connection, organization: str, ledger: str) -> asyncpg.Record | None:
    """A ledger's levels."""
    return await connection.fetchrow(
        "select * from dunning_levels where organization = $1 and ledger = $2", organization, ledger
    )


async def store_levels(
    connection: Connection, organization: str, ledger: str, levels: str, fee_account: str | None, now: datetime
) -> asyncpg.Record:
    """Makes these the ledger's levels, as JSON text."""
    row: asyncpg.Record | None = await connection.fetchrow(
        """
        insert into dunning_levels (organization, ledger, levels, fee_account, changed_at)
        values ($1, $2, $3::text::jsonb, $4, $5)
        on conflict (organization, ledger) do update
            set levels = excluded.levels, fee_account = excluded.fee_account, changed_at = excluded.changed_at,
                version = dunning_levels.version + 1
        returning *
        """,
        organization,
        ledger,
        levels,
        fee_account,
        now,
    )
    assert row is not None, "an insert gives its row"
    return row


# --- what is open -----------------------------------------------------------------------------------------------------


async def overdue_customers(
    connection: Connection,
    organization: str,
    ledger: str,
    on: date,
    days: Sequence[int],
    after: UUID | None,
    limit: int,
) -> list[UUID]:
    """Customers with an invoice that is overdue enough for the level after its own, in order, from behind `after`."""
    rows = await connection.fetch(
        """
        select distinct o.customer
        from open_invoices o
        join invoices i on i.organization = o.organization and i.id = o.invoice
        where o.organization = $1 and o.ledger = $2
          and o.due_on <= $3::date - ($4::integer[])[i.dunning_level + 1] and ($5::uuid is null or o.customer > $5)
        order by o.customer limit $6
        """,
        organization,
        ledger,
        on,
        list(days),
        after,
        limit,
    )
    return [row["customer"] for row in rows]


async def open_of(
    connection: Connection, organization: str, ledger: str, on: date, customers: Sequence[UUID]
) -> list[asyncpg.Record]:
    """What is open of customers in a ledger, with what stops its reminders on a day."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select i.id, i.customer, i.currency, i.number, i.issued_on, i.due_on, i.total, i.open, i.dunning_level,
               i.dunning_round, c.erased_at is not null as is_erased,
               (select max(s.sent_on) from dunning_steps s where s.organization = i.organization and s.invoice = i.id
                   and s.round = i.dunning_round) as last_on,
               exists (select 1 from dunning_letters l where l.organization || '' = i.organization
                   and l.fee_invoice = i.id) as is_fee,
               exists (select 1 from allocations a join disputes d on d.organization = a.organization
                   and d.payment = a.source_id and d.status = 'opened'
                   where a.organization || '' = i.organization and a.invoice = i.id and a.source = 'payment')
                   as is_disputed,
               (select min(h.kind) from dunning_holds h where h.organization || '' = i.organization
                   and h.released_at is null and (h.until is null or h.until >= $3)
                   and (h.invoice = i.id or h.customer = i.customer)) as held
        from open_invoices o
        join invoices i on i.organization = o.organization and i.id = o.invoice
        join customers c on c.organization = i.organization and c.id = i.customer
        where o.organization = $1 and o.ledger = $2 and o.customer = any($4)
        order by i.id
        """,
        organization,
        ledger,
        on,
        list(customers),
    )
    return rows


# --- letters ----------------------------------------------------------------------------------------------------------


async def insert_letters(connection: Connection, letters: Sequence[LetterRow], steps: Sequence[StepRow]) -> None:
    """Stores letters, and what each raised; an invoice has a level once in a round."""
    await connection.execute(
        """
        insert into dunning_letters (organization, id, ledger, customer, currency, level, sent_on, fee_invoice, content,
            created_at)
        select organization, id, ledger, customer, currency, level, sent_on, fee_invoice, content::jsonb, created_at
        from unnest($1::text[], $2::uuid[], $3::text[], $4::uuid[], $5::text[], $6::smallint[], $7::date[], $8::uuid[],
                $9::text[], $10::timestamptz[])
            as letter (organization, id, ledger, customer, currency, level, sent_on, fee_invoice, content, created_at)
        """,
        *([row[place] for row in letters] for place in range(len(LetterRow._fields))),
    )
    await connection.execute(
        """
        insert into dunning_steps (organization, invoice, round, level, letter, sent_on)
        select * from unnest($1::text[], $2::uuid[], $3::integer[], $4::smallint[], $5::uuid[], $6::date[])
        """,
        *([row[place] for row in steps] for place in range(len(StepRow._fields))),
    )


async def raise_levels(connection: Connection, rows: Sequence[StepRow]) -> list[asyncpg.Record]:
    """Invoices are at the levels they were reminded at; gives them as they are after it."""
    raised: list[asyncpg.Record] = await connection.fetch(
        """
        update invoices i
           set dunning_level = step.level, version = i.version + 1
          from unnest($1::text[], $2::uuid[], $3::smallint[]) as step (organization, id, level)
         where i.organization = step.organization and i.id = step.id
        returning i.organization, i.ledger, i.id, i.number, i.customer, i.currency, i.status, i.total, i.paid,
            i.credited, i.written_off, i.version, i.dunning_level
        """,
        [row.organization for row in rows],
        [row.invoice for row in rows],
        [row.level for row in rows],
    )
    return raised


async def read_letter(connection: Connection, organization: str, letter: UUID) -> asyncpg.Record | None:
    """One letter."""
    return await connection.fetchrow(
        "select * from dunning_letters where organization = $1 and id = $2", organization, letter
    )


async def list_letters(
    connection: Connection, organization: str, filters: Mapping[str, Any], after: UUID | None, limit: int
) -> list[asyncpg.Record]:
    """Letters in the order they were made, from behind `after`."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select * from dunning_letters l
        where l.organization = $1 and ($2::uuid is null or l.id > $2)
          and ($3::uuid is null or l.customer = $3) and ($4::text is null or l.ledger = $4)
          and ($5::uuid is null or exists (select 1 from dunning_steps s where s.organization = l.organization
              and s.letter = l.id and s.invoice = $5))
        order by l.id limit $6
        """,
        organization,
        after,
        *(filters.get(name) for name in ("customer", "ledger", "invoice")),
        limit,
    )
    return rows


async def customer_level(connection: Connection, organization: str, customer: UUID) -> int:
    """The highest level among a customer's open invoices."""
    level: int = await connection.fetchval(
        """
        select coalesce(max(i.dunning_level), 0)
        from invoices i
        join open_invoices o on o.organization = i.organization and o.invoice = i.id
        where i.organization || '' = $1 and i.customer = $2
        """,
        organization,
        customer,
    )
    return level


# --- holds ------------------------------------------------------------------------------------------------------------


async def insert_hold(connection: Connection, row: Mapping[str, Any]) -> asyncpg.Record:
    """Stores a hold; gives it as it is kept."""
    stored: asyncpg.Record | None = await connection.fetchrow(
        """
        insert into dunning_holds (organization, id, invoice, customer, kind, until, reason, created_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        returning *
        """,
        *(row[name] for name in ("organization", "id", "invoice", "customer", "kind", "until", "reason", "created_at")),
    )
    assert stored is not None, "an insert gives its row"
    return stored


async def lock_hold(connection: Connection, organization: str, hold: UUID) -> asyncpg.Record | None:
    """One hold, held until the commit."""
    return await connection.fetchrow(
        "select * from dunning_holds where organization = $1 and id = $2 for no key update", organization, hold
    )


async def release_hold(connection: Connection, organization: str, hold: UUID, now: datetime) -> None:
    """A hold ends."""
    await connection.execute(
        "update dunning_holds set released_at = $3 where organization = $1 and id = $2", organization, hold, now
    )


async def list_holds(
    connection: Connection, organization: str, filters: Mapping[str, Any], after: UUID | None, limit: int
) -> list[asyncpg.Record]:
    """Holds in the order they were set, from behind `after`."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select * from dunning_holds
        where organization = $1 and ($2::uuid is null or id > $2) and ($3::uuid is null or invoice = $3)
          and ($4::uuid is null or customer = $4) and ($5::boolean is null or (released_at is null) = $5)
        order by id limit $6
        """,
        organization,
        after,
        *(filters.get(name) for name in ("invoice", "customer", "active")),
        limit,
    )
    return rows
