"""Money that went back, and payouts, as they are kept; refunds themselves are stored by payment_store."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from libs.common.db import Connection

_DISPUTE = (
    "organization", "id", "ledger", "provider", "dispute_id", "payment", "status", "currency", "amount", "fee",
    "from_unapplied", "from_credit", "from_allocated", "opened_on", "settled_on", "posting", "created_at",
)  # fmt: skip


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
    created_at: Any


async def find_refund(
    connection: Connection, organization: str, provider: str, refund_id: str
) -> asyncpg.Record | None:
    """A refund or return by its provider's id."""
    return await connection.fetchrow(
        """
        select id, kind, payment, currency, amount, fee from refunds
        where organization = $1 and provider = $2 and refund_id = $3
        """,
        organization,
        provider,
        refund_id,
    )


async def lock_dispute(
    connection: Connection, organization: str, provider: str, dispute_id: str
) -> asyncpg.Record | None:
    """A dispute by its provider's id, held until the commit."""
    return await connection.fetchrow(
        """
        select id, ledger, payment, status, currency, amount, fee, from_unapplied, from_credit, from_allocated,
            opened_on, settled_on, posting, created_at
        from disputes where organization = $1 and provider = $2 and dispute_id = $3 for no key update
        """,
        organization,
        provider,
        dispute_id,
    )


async def insert_dispute(connection: Connection, row: Mapping[str, Any]) -> None:
    """A dispute that was opened."""
    await connection.execute(
        """
        insert into disputes (organization, id, ledger, provider, dispute_id, payment, status, currency, amount, fee,
            from_unapplied, from_credit, from_allocated, opened_on, settled_on, posting, created_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
        """,
        *(row[name] for name in _DISPUTE),
    )


async def settle_dispute(
    connection: Connection, organization: str, id_: UUID, status: str, settled_on: date, posting: str
) -> None:
    """How a dispute ended; its row is held by the caller."""
    await connection.execute(
        """
        update disputes set status = $3, settled_on = $4, posting = $5 where organization = $1 and id = $2
        """,
        organization,
        id_,
        status,
        settled_on,
        posting,
    )


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


async def count_allocations(connection: Connection, organization: str, source_id: UUID) -> dict[UUID, int]:
    """How many rows, undoings too, a source has on each invoice, the first invoice it was on first."""
    rows = await connection.fetch(
        """
        select invoice, count(*)::int as rows from allocations
        where organization = $1 and source_id = $2 group by invoice order by min(created_at), invoice
        """,
        organization,
        source_id,
    )
    return {row["invoice"]: row["rows"] for row in rows}
