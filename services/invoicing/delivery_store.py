"""Our own webhooks as they are kept: who hears of what, and each event's way to them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from libs.common.db import Connection


class Target(NamedTuple):
    """Who hears events of these types; none named means all."""

    organization: str
    id: UUID
    url: str
    types: list[str]
    active: bool
    created_at: datetime


class NewDelivery(NamedTuple):
    """An event on its way to a target."""

    organization: str
    id: UUID
    target: UUID
    event_id: str
    type: str
    body: bytes


class DueDelivery(NamedTuple):
    """A delivery that is tried now; `tries` counts this one."""

    organization: str
    id: UUID
    target: UUID
    event_id: str
    type: str
    body: bytes
    tries: int
    url: str
    active: bool


class Tried(NamedTuple):
    """What a try came to: `state` waiting with the next `due_at`, delivered or dead."""

    organization: str
    id: UUID
    state: str
    due_at: datetime
    status: int | None
    fault: str | None


async def insert_target(connection: Connection, target: Target) -> None:
    """A new target."""
    await connection.execute(
        """
        insert into webhook_targets (organization, id, url, types, active, created_at) values ($1, $2, $3, $4, $5, $6)
        """,
        *target,
    )


async def list_targets(connection: Connection, organization: str) -> list[Target]:
    """An organization's targets, oldest first."""
    rows = await connection.fetch(
        """
        select organization, id, url, types, active, created_at from webhook_targets
        where organization = $1 order by created_at, id
        """,
        organization,
    )
    return [Target(*row.values()) for row in rows]


async def load_target(connection: Connection, organization: str, id_: UUID) -> Target | None:
    """A target by its id."""
    row = await connection.fetchrow(
        """
        select organization, id, url, types, active, created_at from webhook_targets
        where organization = $1 and id = $2
        """,
        organization,
        id_,
    )
    return Target(*row.values()) if row is not None else None


async def switch_target(connection: Connection, organization: str, id_: UUID, active: bool) -> None:
    """On or off; what waits for one that is off waits on."""
    await connection.execute(
        "update webhook_targets set active = $3 where organization = $1 and id = $2", organization, id_, active
    )


async def active_targets(connection: Connection, organizations: Sequence[str]) -> list[Target]:
    """Who hears events of these organizations."""
    rows = await connection.fetch(
        """
        select organization, id, url, types, active, created_at from webhook_targets
        where organization = any($1::text[]) and active
        """,
        list(organizations),
    )
    return [Target(*row.values()) for row in rows]


async def insert_deliveries(connection: Connection, deliveries: Sequence[NewDelivery], at: datetime) -> None:
    """Deliveries due now; an event goes to a target once."""
    await connection.execute(
        """
        insert into webhook_deliveries (organization, id, target, event_id, type, body, due_at, created_at)
        select organization, id, target, event_id, type, body, $7, $7
        from unnest($1::text[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::bytea[])
            as new (organization, id, target, event_id, type, body)
        on conflict on constraint delivered_once do nothing
        """,
        *(list(column) for column in zip(*deliveries, strict=True)),
        at,
    )


async def claim_due(connection: Connection, at: datetime, lease: timedelta, limit: int) -> list[DueDelivery]:
    """Deliveries to be tried now, the longest due first; until the lease ends no other process takes them."""
    rows = await connection.fetch(
        """
        update webhook_deliveries d
           set due_at = $1 + $2::interval, tries = d.tries + 1
          from (select w.organization, w.id, t.url, t.active
                from webhook_deliveries w
                join webhook_targets t on t.organization = w.organization and t.id = w.target and t.active
                where w.state = 'waiting' and w.due_at <= $1
                order by w.due_at limit $3 for update of w skip locked) due
         where d.organization = due.organization and d.id = due.id
        returning d.organization, d.id, d.target, d.event_id, d.type, d.body, d.tries, due.url, due.active
        """,
        at,
        lease,
        limit,
    )
    return [DueDelivery(*row.values()) for row in rows]


async def store_tries(connection: Connection, tried: Sequence[Tried], at: datetime) -> None:
    """What tries came to."""
    await connection.execute(
        """
        update webhook_deliveries d
           set state = t.state, due_at = t.due_at, last_status = t.status, last_fault = t.fault,
               settled_at = case when t.state = 'waiting' then null else $7::timestamptz end
          from unnest($1::text[], $2::uuid[], $3::text[], $4::timestamptz[], $5::int[], $6::text[])
               as t (organization, id, state, due_at, status, fault)
         where d.organization = t.organization and d.id = t.id and d.state = 'waiting'
        """,
        *(list(column) for column in zip(*tried, strict=True)),
        at,
    )


async def deliver_again(connection: Connection, organization: str, target: UUID, id_: UUID, at: datetime) -> bool:
    """A delivery that was settled is due again, with all its tries; False where there is none or it waits already."""
    again = await connection.fetchval(
        """
        update webhook_deliveries set state = 'waiting', tries = 0, due_at = $4, settled_at = null
        where organization = $1 and target = $2 and id = $3 and state <> 'waiting'
        returning true
        """,
        organization,
        target,
        id_,
        at,
    )
    return bool(again)


async def list_deliveries(
    connection: Connection, organization: str, target: UUID, state: str | None, limit: int
) -> list[asyncpg.Record]:
    """A target's deliveries, newest first, without what they say."""
    found: list[Any] = await connection.fetch(
        """
        select id, event_id, type, state, tries, due_at, last_status, last_fault, created_at, settled_at
        from webhook_deliveries
        where organization = $1 and target = $2 and ($3::text is null or state = $3)
        order by created_at desc, id limit $4
        """,
        organization,
        target,
        state,
        limit,
    )
    return found
