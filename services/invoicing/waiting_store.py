"""Postings that something is to be done about by and by: those due to be sent again, those that wait for a rate."""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import asyncpg

from libs.common.db import Connection

FIRST: Final = datetime.min.replace(tzinfo=UTC), UUID(int=0)
"""Before every posting that waits."""


async def is_any_due(connection: Connection, now: datetime) -> bool:
    """Whether a request is to be sent again."""
    due: bool = await connection.fetchval(
        "select exists (select from postings where state = 'requested' and resend_at <= $1)", now
    )
    return due


async def waiting_without_value(
    connection: Connection, after: tuple[datetime, UUID], limit: int
) -> list[asyncpg.Record]:
    """Postings that wait for something outside, a rate, the oldest behind `after` first."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        select organization, id, created_at from postings
         where state = 'waiting' and value is null and (created_at, id) > ($1, $2)
         order by created_at, id limit $3
        """,
        *after,
        limit,
    )
    return rows
