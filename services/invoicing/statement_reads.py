"""A customer's account as it is kept: what each entry does to its balance, and what the books have of it."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import asyncpg

from libs.common.db import Connection


class Account(NamedTuple):
    """A customer's account in one currency of one ledger."""

    organization: str
    ledger: str
    customer: UUID
    currency: str


async def balance_events(
    connection: Connection, account: Account, roles: Sequence[str], told: Sequence[str]
) -> list[asyncpg.Record]:
    """Entries that change the customer's balance, or are of documents of these kinds, in the order of their days; those
    withdrawn never were. `moved` is what goes from one role to another and leaves the balance as it is."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select p.document, p.purpose, p.sequence, sum(m.amount)::numeric as amount,
            case when sum(m.amount) = 0 then sum(greatest(m.amount, 0)) else 0 end::numeric as moved,
            (coalesce(convert_from(p.value, 'UTF8')::jsonb ->> 'effective_on',
                      convert_from(p.draft, 'UTF8')::jsonb ->> 'effective_on'))::date as day,
            convert_from(p.draft, 'UTF8')::jsonb ->> 'description' as description
        from movements m
        join postings p on p.organization = m.organization and p.id = m.posting
        where m.organization = $1 and m.ledger = $2 and m.role = any($5) and m.currency = $4 and m.party = $3
          and p.state <> 'withdrawn'
        group by p.organization, p.id, p.document, p.purpose, p.sequence, p.value, p.draft, p.created_at
        having sum(m.amount) <> 0 or split_part(p.document, '/', 1) = any($6)
        order by day, p.created_at, p.sequence nulls last, p.id
        """,
        account.organization,
        account.ledger,
        str(account.customer),
        account.currency,
        list(roles),
        list(told),
    )
    return rows


async def without_entry(connection: Connection, account: Account) -> int:
    """How many of the customer's issued invoices wait for a rate or an account, so that no entry could be made."""
    count: int = await connection.fetchval(
        """
        select count(*) from invoices i
        join postings p on p.organization = i.organization and p.document = 'invoice/' || i.id and p.purpose = 'issue'
        where i.organization = $1 and i.ledger = $2 and i.customer = $3 and i.currency = $4
          and i.status not in ('draft', 'void') and p.draft is null
        """,
        *account,
    )
    return count


async def book_balance(connection: Connection, account: Account, roles: Sequence[str], sequence: int) -> int:
    """The customer's balance in the books, at a sequence: lines on the accounts that these roles are mapped to."""
    amount = await connection.fetchval(
        """
        select coalesce(sum(b.amount), 0) from book_lines b
        where b.organization = $1 and b.ledger = $2 and b.party = $3::uuid::text and b.currency = $4
          and b.sequence <= $6
          and b.account in (select account from followed_accounts
                where organization = $1 and ledger = $2 and role = any($5))
        """,
        *account,
        list(roles),
        sequence,
    )
    return int(amount)
