"""Webhooks as they are kept: where providers send theirs, with which secrets, and what they sent."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from libs.common.db import Connection


class Endpoint(NamedTuple):
    """Where one provider sends its webhooks for one ledger; `name` is the provider's own id of the webhook."""

    organization: str
    id: UUID
    ledger: str
    provider: str
    code: str
    name: str
    active: bool
    created_at: datetime


class SealedSecret(NamedTuple):
    """A secret of an endpoint or target, by its number."""

    no: int
    key_id: str
    sealed: bytes


class StoredWebhook(NamedTuple):
    """What was sent and not read yet."""

    organization: str
    endpoint: UUID
    event_id: str
    key_id: str
    sealed: bytes


async def insert_endpoint(connection: Connection, endpoint: Endpoint) -> None:
    """A new endpoint."""
    await connection.execute(
        """
        insert into webhook_endpoints (organization, id, ledger, provider, code, name, active, created_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        *endpoint,
    )


async def find_endpoint(connection: Connection, provider: str, code: str) -> Endpoint | None:
    """The endpoint with this address, of whichever organization; one that was switched off is none."""
    row = await connection.fetchrow(
        """
        select organization, id, ledger, provider, code, name, active, created_at from webhook_endpoints
        where code = $2 and provider = $1 and active
        """,
        provider,
        code,
    )
    return Endpoint(*row.values()) if row is not None else None


async def load_endpoint(connection: Connection, organization: str, id_: UUID) -> Endpoint | None:
    """An endpoint by its id."""
    row = await connection.fetchrow(
        """
        select organization, id, ledger, provider, code, name, active, created_at from webhook_endpoints
        where organization = $1 and id = $2
        """,
        organization,
        id_,
    )
    return Endpoint(*row.values()) if row is not None else None


async def list_endpoints(connection: Connection, organization: str) -> list[Endpoint]:
    """An organization's endpoints, oldest first."""
    rows = await connection.fetch(
        """
        select organization, id, ledger, provider, code, name, active, created_at from webhook_endpoints
        where organization = $1 order by created_at, id
        """,
        organization,
    )
    return [Endpoint(*row.values()) for row in rows]


async def switch_endpoint(connection: Connection, organization: str, id_: UUID, active: bool) -> None:
    """On or off."""
    await connection.execute(
        "update webhook_endpoints set active = $3 where organization = $1 and id = $2", organization, id_, active
    )


async def add_secret(
    connection: Connection, organization: str, owner: UUID, no: int, key_id: str, sealed: bytes, at: datetime
) -> None:
    """One secret more."""
    await connection.execute(
        """
        insert into webhook_secrets (organization, owner, no, key_id, sealed, created_at)
        values ($1, $2, $3, $4, $5, $6)
        """,
        organization,
        owner,
        no,
        key_id,
        sealed,
        at,
    )


async def end_secrets(connection: Connection, organization: str, owner: UUID, before_no: int, at: datetime) -> None:
    """Older secrets count until then; one that ends sooner already stays so."""
    await connection.execute(
        """
        update webhook_secrets set ends_at = least(ends_at, $4)
        where organization = $1 and owner = $2 and no < $3
        """,
        organization,
        owner,
        before_no,
        at,
    )


async def last_secret_no(connection: Connection, organization: str, owner: UUID) -> int:
    """The number of the newest secret, 0 where there is none; nobody else adds one until the commit."""
    await connection.execute("select pg_advisory_xact_lock(hashtextextended($1, 17))", str(owner))
    found: int | None = await connection.fetchval(
        "select max(no) from webhook_secrets where organization = $1 and owner = $2", organization, owner
    )
    return found or 0


async def secrets_at(connection: Connection, organization: str, owner: UUID, at: datetime) -> list[SealedSecret]:
    """The secrets that count at an instant, the newest first."""
    rows = await connection.fetch(
        """
        select no, key_id, sealed from webhook_secrets
        where organization = $1 and owner = $2 and (ends_at is null or ends_at > $3) order by no desc
        """,
        organization,
        owner,
        at,
    )
    return [SealedSecret(*row.values()) for row in rows]


async def store_webhook(
    connection: Connection, endpoint: Endpoint, event_id: str, event_type: str, key_id: str, sealed: bytes, at: datetime
) -> str | None:
    """Keeps what was sent; gives None where it is new, else what became of it the first time."""
    added = await connection.fetchval(
        """
        insert into webhooks_in (organization, endpoint, event_id, event_type, key_id, sealed, received_at)
        values ($1, $2, $3, $4, $5, $6, $7)
        on conflict do nothing returning true
        """,
        endpoint.organization,
        endpoint.id,
        event_id,
        event_type,
        key_id,
        sealed,
        at,
    )
    if added:
        return None
    state: str = await connection.fetchval(
        "select state from webhooks_in where organization = $1 and endpoint = $2 and event_id = $3",
        endpoint.organization,
        endpoint.id,
        event_id,
    )
    return state


async def settle_webhook(
    connection: Connection, endpoint: Endpoint, event_id: str, state: str, detail: str | None
) -> None:
    """What became of it."""
    await connection.execute(
        "update webhooks_in set state = $4, detail = $5 where organization = $1 and endpoint = $2 and event_id = $3",
        endpoint.organization,
        endpoint.id,
        event_id,
        state,
        detail,
    )


async def stored_before(connection: Connection, before: datetime, limit: int) -> list[StoredWebhook]:
    """Webhooks that were stored before an instant and not read since, oldest first."""
    rows = await connection.fetch(
        """
        select organization, endpoint, event_id, key_id, sealed from webhooks_in
        where state = 'stored' and received_at < $1 order by received_at limit $2
        """,
        before,
        limit,
    )
    return [StoredWebhook(*row.values()) for row in rows]


async def list_webhooks(connection: Connection, organization: str, endpoint: UUID, limit: int) -> list[asyncpg.Record]:
    """What an endpoint received, newest first, without what it says."""
    return await connection.fetch(
        """
        select event_id, event_type, state, detail, received_at from webhooks_in
        where organization = $1 and endpoint = $2 order by received_at desc, event_id limit $3
        """,
        organization,
        endpoint,
        limit,
    )
