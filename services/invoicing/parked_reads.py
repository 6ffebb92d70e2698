"""Lists of parked messages, as their organization sees them."""

import asyncpg

from libs.common.db import Connection


async def list_parked(
    connection: Connection, organization: str, state: str | None, document: str | None, after: int, limit: int
) -> list[asyncpg.Record]:
    """In the order in which they were parked."""
    return await connection.fetch(
        """
        select id, document, topic, partition, offset_, event_source, event_id, type, coalesce(fixed, value) as value,
            fixed is not null as fixed, reason, facts::text as facts, state, parked_at, settled_at, settled_by, note
        from parked
        where organization = $1 and id > $2 and ($3::text is null or state = $3) and ($4::text is null or document = $4)
        order by id limit $5
        """,
        organization,
        after,
        state,
        document,
        limit,
    )


async def read_parked(connection: Connection, organization: str, id_: int) -> asyncpg.Record | None:
    """One message."""
    return await connection.fetchrow(
        """
        select id, document, topic, partition, offset_, event_source, event_id, type, coalesce(fixed, value) as value,
            fixed is not null as fixed, reason, facts::text as facts, state, parked_at, settled_at, settled_by, note
        from parked where organization = $1 and id = $2
        """,
        organization,
        id_,
    )
