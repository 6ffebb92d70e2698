"""Messages that wait for a person or for another message, by the document they are about."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg
import orjson

from libs.common.db import Connection

Document = tuple[str, str]
"""Organization, and the document by the name its messages give it."""


class ParkedMessage(NamedTuple):
    """A message on its way into the table, with why it cannot have its effect."""

    organization: str
    document: str
    topic: str
    partition: int
    offset: int
    event_source: str
    event_id: str
    type: str
    told_at: datetime
    value: bytes
    headers: str
    reason: str
    facts: Mapping[str, Any]


class ParkedRow(NamedTuple):
    """A message in the table. `value` is what counts: what a person put there, else what came."""

    id: int
    organization: str
    document: str
    event_source: str
    event_id: str
    type: str
    told_at: datetime
    value: bytes
    reason: str


async def waiting_documents(connection: Connection, documents: Sequence[Document]) -> dict[Document, str]:
    """Those of the documents that messages wait for, with the reason of the first of them."""
    rows = await connection.fetch(
        """
        select p.organization, p.document, min(p.id) as first, (array_agg(p.reason order by p.id))[1] as reason
        from (select distinct organization, document from unnest($1::text[], $2::text[])
                as asked (organization, document)) as asked
        join parked p on p.organization = asked.organization and p.document = asked.document and p.state = 'waiting'
        group by p.organization, p.document
        """,
        [organization for organization, _ in documents],
        [document for _, document in documents],
    )
    return {(row["organization"], row["document"]): row["reason"] for row in rows}


async def park(connection: Connection, messages: Sequence[ParkedMessage], at: datetime) -> None:
    """In their order. What is parked already stays as it is."""
    await connection.execute(
        """
        insert into parked (organization, document, topic, partition, offset_, event_source, event_id, type, told_at,
            value, headers, reason, facts, parked_at)
        select organization, document, topic, partition, offset_, event_source, event_id, type, told_at, value, headers,
            reason, facts, $14
        from unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::bigint[], $6::text[], $7::text[], $8::text[],
                $9::timestamptz[], $10::bytea[], $11::text[], $12::text[], $13::jsonb[])
            with ordinality as message (organization, document, topic, partition, offset_, event_source, event_id, type,
                told_at, value, headers, reason, facts, place)
        order by place
        on conflict on constraint parked_once do nothing
        """,
        *(list(column) for column in zip(*(each[:12] for each in messages), strict=True)),
        [orjson.dumps(each.facts).decode() for each in messages],
        at,
    )


async def lock_waiting(connection: Connection, document: Document) -> list[ParkedRow]:
    """The messages that wait for a document, in their order, locked against another who releases them."""
    rows = await connection.fetch(
        """
        select id, organization, document, event_source, event_id, type, told_at, coalesce(fixed, value) as value,
            reason
        from parked where organization = $1 and document = $2 and state = 'waiting'
        order by id for update
        """,
        *document,
    )
    return [ParkedRow(*row.values()) for row in rows]


async def settle(
    connection: Connection, ids: Sequence[int], state: str, at: datetime, by: str, note: str | None = None
) -> None:
    """They wait no more: released or dismissed."""
    await connection.execute(
        "update parked set state = $2, settled_at = $3, settled_by = $4, note = $5 where id = any($1::bigint[])",
        list(ids),
        state,
        at,
        by,
        note,
    )


async def still_waiting(connection: Connection, id_: int, reason: str, facts: Mapping[str, Any]) -> None:
    """Why it still cannot have its effect."""
    await connection.execute(
        "update parked set reason = $2, facts = $3::text::jsonb where id = $1",
        id_,
        reason,
        orjson.dumps(facts).decode(),
    )


async def wait_again(connection: Connection, id_: int) -> None:
    """What was dismissed waits again."""
    await connection.execute(
        """
        update parked set state = 'waiting', settled_at = null, settled_by = null
        where id = $1 and state = 'dismissed'
        """,
        id_,
    )


async def fix(connection: Connection, id_: int, value: bytes, note: str) -> None:
    """What a person put in the place of what came; that is kept beside it."""
    await connection.execute("update parked set fixed = $2, note = $3 where id = $1", id_, value, note)


async def releasable_documents(connection: Connection, limit: int) -> list[Document]:
    """Documents with a message that waits for a payment that is there by now, or for a rate or a mapping."""
    rows = await connection.fetch(
        """
        select distinct p.organization, p.document
        from parked p
        where p.state = 'waiting' and (p.reason in ('rate-missing', 'mapping-missing')
            or p.reason = 'unknown-payment' and exists (
                select from payments y
                where y.organization = p.organization and y.provider = split_part(p.document, '/', 1)
                  and y.payment_id = substr(p.document, strpos(p.document, '/') + 1)))
        limit $1
        """,
        limit,
    )
    return [(row["organization"], row["document"]) for row in rows]


async def lock_one(connection: Connection, organization: str, id_: int) -> asyncpg.Record | None:
    """One message, locked: what the list shows of it."""
    return await connection.fetchrow(
        """
        select id, document, topic, partition, offset_, event_source, event_id, type, coalesce(fixed, value) as value,
            fixed is not null as fixed, reason, facts::text as facts, state, parked_at, settled_at, settled_by, note
        from parked where organization = $1 and id = $2 for update
        """,
        organization,
        id_,
    )


async def count_waiting(connection: Connection) -> int:
    """How many messages wait, of all organizations."""
    waiting: int = await connection.fetchval("select count(*) from parked where state = 'waiting'")
    return waiting
