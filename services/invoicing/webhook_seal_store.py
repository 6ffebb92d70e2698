"""Sealed values of webhooks, table by table, as a rotation of the keys walks through them."""

from typing import NamedTuple
from uuid import UUID

from libs.common.db import Connection


class SecretSeal(NamedTuple):
    """A secret of an endpoint or target, as it is sealed."""

    organization: str
    owner: UUID
    no: int
    key_id: str
    sealed: bytes


class WebhookSeal(NamedTuple):
    """What a provider sent, as it is sealed."""

    organization: str
    endpoint: UUID
    event_id: str
    key_id: str
    sealed: bytes


FIRST_SECRET = SecretSeal("", UUID(int=0), 0, "", b"")
FIRST_WEBHOOK = WebhookSeal("", UUID(int=0), "", "", b"")
"""Before all others."""


async def secrets_of_other_keys(connection: Connection, key_id: str, after: SecretSeal, limit: int) -> list[SecretSeal]:
    """Secrets that another key sealed, in order from behind `after`, held until the commit."""
    rows = await connection.fetch(
        """
        select organization, owner, no, key_id, sealed from webhook_secrets
        where key_id <> $1 and (organization, owner, no) > ($2, $3, $4)
        order by organization, owner, no limit $5 for no key update
        """,
        key_id,
        *after[:3],
        limit,
    )
    return [SecretSeal(*row.values()) for row in rows]


async def store_secret_seal(connection: Connection, seal: SecretSeal) -> None:
    """The same secret under another key."""
    await connection.execute(
        "update webhook_secrets set key_id = $4, sealed = $5 where organization = $1 and owner = $2 and no = $3", *seal
    )


async def webhooks_of_other_keys(
    connection: Connection, key_id: str, after: WebhookSeal, limit: int
) -> list[WebhookSeal]:
    """What was sent and another key sealed, in order from behind `after`, held until the commit."""
    rows = await connection.fetch(
        """
        select organization, endpoint, event_id, key_id, sealed from webhooks_in
        where key_id <> $1 and (organization, endpoint, event_id) > ($2, $3, $4)
        order by organization, endpoint, event_id limit $5 for no key update
        """,
        key_id,
        *after[:3],
        limit,
    )
    return [WebhookSeal(*row.values()) for row in rows]


async def store_webhook_seal(connection: Connection, seal: WebhookSeal) -> None:
    """The same bytes under another key."""
    await connection.execute(
        """
        update webhooks_in set key_id = $4, sealed = $5
        where organization = $1 and endpoint = $2 and event_id = $3
        """,
        *seal,
    )
