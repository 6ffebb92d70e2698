"""Secrets of webhooks, sealed at rest: opened for checking and signing, one more while one is replaced."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from libs.common.db import Connection
from libs.common.sealing import Sealer
from services.invoicing import webhook_store


def belongs_to(organization: str, owner: UUID, no: int) -> bytes:
    """The associated data of a secret's seal: it opens in its own row alone."""
    return f"{organization}/webhook-secret/{owner}/{no}".encode()


async def add(
    connection: Connection,
    sealer: Sealer,
    organization: str,
    owner: UUID,
    secret: bytes,
    at: datetime,
    old_until: datetime | None = None,
) -> None:
    """One secret more; those before it count until `old_until`, without it as long as they did."""
    no = await webhook_store.last_secret_no(connection, organization, owner) + 1
    sealed = sealer.seal(secret, belongs_to(organization, owner, no))
    await webhook_store.add_secret(connection, organization, owner, no, sealed.key_id, sealed.value, at)
    if old_until is not None:
        await webhook_store.end_secrets(connection, organization, owner, no, old_until)


async def at(
    connection: Connection, sealer: Sealer, organization: str, owner: UUID, instant: datetime
) -> Sequence[bytes]:
    """The secrets that count at an instant, the newest first."""
    found = await webhook_store.secrets_at(connection, organization, owner, instant)
    return [sealer.open(each.key_id, each.sealed, belongs_to(organization, owner, each.no)) for each in found]
