"""After a rotation everything sealed opens with the newest key alone; what is erased stays erased."""

import os
from datetime import UTC, datetime

import pytest

from libs.common.clock import new_id
from libs.common.db import Connection, Pool, transaction
from libs.common.sealing import KEY_BYTES, Sealer
from services.invoicing import customer_store, webhook_intake, webhook_secrets, webhook_store
from services.invoicing.asking import Done
from services.invoicing.customers import CustomerWish, create_customer, erase_customer, opened, reseal_customers
from services.invoicing.resealing import Resealing
from services.invoicing.webhook_resealing import reseal_secrets, reseal_webhooks
from services.invoicing.webhook_store import Endpoint

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
NAMES = ("Acme Corp", "Globex", "Initech")


@pytest.fixture
def keys() -> tuple[Sealer, Sealer, Sealer]:
    """The sealers before a rotation, while it runs, and after the old key was dropped."""
    old, new, index = (os.urandom(KEY_BYTES) for _ in range(3))
    return Sealer([old], index), Sealer([new, old], index), Sealer([new], index)


async def test_everything_opens_with_the_newest_key_alone(writer: Pool, keys: tuple[Sealer, Sealer, Sealer]) -> None:
    before, between, after = keys
    endpoint = Endpoint("demo", new_id(), "main", "stripe", "address-1", "", True, AT)
    async with transaction(writer) as connection:
        made = [await create_customer(connection, before, "demo", CustomerWish(name=name), AT) for name in NAMES]
        ids = [each.body["id"] for each in made if isinstance(each, Done)]
        await erase_customer(connection, before, "demo", ids[2], AT)
        await webhook_store.insert_endpoint(connection, endpoint)
        for secret in (b"whsec-1", b"whsec-2"):
            await webhook_secrets.add(connection, before, "demo", endpoint.id, secret, AT)
        for number in range(3):
            await _store(connection, before, endpoint, f"evt-{number}")

    resealing = Resealing(writer, between, [reseal_customers, reseal_secrets, _two_at_a_time])
    assert await resealing.step() == 2 + 2 + 3
    assert await resealing.step() == 0

    async with transaction(writer) as connection:
        told = [await _told(connection, after, each) for each in ids]
        assert [each["name"] for each in told] == ["Acme Corp", "Globex", None]
        assert await webhook_secrets.at(connection, after, "demo", endpoint.id, AT) == [b"whsec-2", b"whsec-1"]
        stored = await webhook_store.stored_before(connection, AT.replace(year=2027), 10)
        owners = [webhook_intake.belongs_to(each.organization, each.endpoint, each.event_id) for each in stored]
        pairs = zip(stored, owners, strict=True)
        assert {after.open(each.key_id, each.sealed, owner) for each, owner in pairs} == {b"evt-0", b"evt-1", b"evt-2"}


async def _two_at_a_time(pool: Pool, sealer: Sealer) -> int:
    return await reseal_webhooks(pool, sealer, batch=2)


async def _store(connection: Connection, sealer: Sealer, endpoint: Endpoint, event: str) -> None:
    sealed = sealer.seal(event.encode(), webhook_intake.belongs_to("demo", endpoint.id, event))
    await webhook_store.store_webhook(connection, endpoint, event, "charge", sealed.key_id, sealed.value, AT)


async def _told(connection: Connection, sealer: Sealer, customer: object) -> dict[str, object]:
    row = await customer_store.lock_customer(connection, "demo", customer)  # type: ignore[arg-type]
    assert row is not None
    return opened(sealer, row)
