"""Secrets and stored webhooks under the newest key: each table is walked once from its beginning, batch by batch."""

from typing import Final

from libs.common.db import Pool, transaction
from libs.common.sealing import Sealer
from services.invoicing import webhook_intake, webhook_seal_store, webhook_secrets

BATCH: Final = 200


async def reseal_secrets(pool: Pool, sealer: Sealer, batch: int = BATCH) -> int:
    """Secrets that older keys sealed; gives how many there were."""
    count, after = 0, webhook_seal_store.FIRST_SECRET
    while True:
        async with transaction(pool) as connection:
            found = await webhook_seal_store.secrets_of_other_keys(connection, sealer.key_id, after, batch)
            for each in found:
                owner = webhook_secrets.belongs_to(each.organization, each.owner, each.no)
                again = sealer.seal(sealer.open(each.key_id, each.sealed, owner), owner)
                seal = each._replace(key_id=again.key_id, sealed=again.value)
                await webhook_seal_store.store_secret_seal(connection, seal)
        if not found:
            return count
        count, after = count + len(found), found[-1]


async def reseal_webhooks(pool: Pool, sealer: Sealer, batch: int = BATCH) -> int:
    """What providers sent and older keys sealed; gives how many there were."""
    count, after = 0, webhook_seal_store.FIRST_WEBHOOK
    while True:
        async with transaction(pool) as connection:
            found = await webhook_seal_store.webhooks_of_other_keys(connection, sealer.key_id, after, batch)
            for each in found:
                owner = webhook_intake.belongs_to(each.organization, each.endpoint, each.event_id)
                again = sealer.seal(sealer.open(each.key_id, each.sealed, owner), owner)
                seal = each._replace(key_id=again.key_id, sealed=again.value)
                await webhook_seal_store.store_webhook_seal(connection, seal)
        if not found:
            return count
        count, after = count + len(found), found[-1]
