"""Payouts as they are kept."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple
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
