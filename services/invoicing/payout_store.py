"""Payouts as they are kept."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from libs.common.db import Connection


class PayoutRow(NamedTuple):
    """A payout as it is stored; `items` is JSON text."""

    organization: str
    id: UUID
    ledger: str
    provider: str
    payout_id: str
    currency: str
    amount: int
    paid_on: date
    items: str
    posting: str
    created_at: datetime


async def known_payouts(
    connection: Connection, keys: Sequence[tuple[str, str, str]]
) -> dict[tuple[str, str, str], asyncpg.Record]:
    """Payouts that are stored already, by (organization, provider, payout id)."""
    rows = await connection.fetch(
        """
        select p.organization, p.provider, p.payout_id, p.id, p.ledger, p.currency, p.amount
        from unnest($1::text[], $2::text[], $3::text[]) as wanted (organization, provider, payout_id)
        join payouts p on p.organization = wanted.organization and p.provider = wanted.provider
            and p.payout_id = wanted.payout_id
        """,
        *([key[place] for key in keys] for place in range(3)),
    )
    return {(row["organization"], row["provider"], row["payout_id"]): row for row in rows}


async def insert_payouts(connection: Connection, rows: Sequence[PayoutRow]) -> None:
    """New payouts; their names are held by the caller."""
    await connection.execute(
        """
        insert into payouts (organization, id, ledger, provider, payout_id, currency, amount, paid_on, items, posting,
            created_at)
        select organization, id, ledger, provider, payout_id, currency, amount, paid_on, items::jsonb, posting,
            created_at
        from unnest($1::text[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::numeric[], $8::date[],
                $9::text[], $10::text[], $11::timestamptz[])
            as new (organization, id, ledger, provider, payout_id, currency, amount, paid_on, items, posting,
                created_at)
        """,
        *(list(column) for column in zip(*rows, strict=True)),
    )


async def lock_payout(connection: Connection, organization: str, payout: UUID) -> asyncpg.Record | None:
    """One payout, held until the commit."""
    return await connection.fetchrow(
        "select * from payouts where organization = $1 and id = $2 for no key update", organization, payout
    )


async def is_taken_back(connection: Connection, organization: str, payout: UUID) -> bool:
    """Whether a payout that the caller holds was taken back."""
    taken_back: bool = await connection.fetchval(
        "select exists (select 1 from payout_reversals where organization = $1 and payout = $2)", organization, payout
    )
    return taken_back


async def insert_reversal(connection: Connection, row: Sequence[Any]) -> None:
    """Stores that a payout was taken back."""
    await connection.execute(
        """
        insert into payout_reversals (organization, id, payout, on_date, reason, created_at)
        values ($1, $2, $3, $4, $5, $6)
        """,
        *row,
    )
