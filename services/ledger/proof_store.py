"""The SQL of proofs that is not the proof itself: heads as callers see them, which ledger is to be proven next."""

from typing import Any

import asyncpg

from libs.common.db import Connection
from libs.common.signing import ChainHead
from services.ledger.records import instant


async def read_head(connection: Connection, code: str) -> ChainHead | None:
    """Where the log of one of the organization's ledgers ends."""
    row = await connection.fetchrow(
        """
        select o.slug, l.code, l.id, l.epoch, l.sequence, l.hash, l.recorded_at
        from ledgers l join organizations o on o.id = l.organization_id
        where l.code = $1
        """,
        code,
    )
    return _head(row) if row is not None else None


def _head(row: asyncpg.Record | Any) -> ChainHead:
    return ChainHead(
        organization=row["slug"],
        ledger=row["code"],
        ledger_id=str(row["id"]),
        epoch=row["epoch"],
        sequence=row["sequence"],
        hash=bytes(row["hash"]).hex(),
        recorded_at=instant(row["recorded_at"]),
    )
