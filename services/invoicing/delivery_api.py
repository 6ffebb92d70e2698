"""Our own webhooks over REST: who hears of what, how deliveries stand, and one sent again.

POST /webhook-targets {url, types, secret}     GET /webhook-targets     POST /webhook-targets/{id}/switch
POST /webhook-targets/{id}/secrets             a new secret; the old ones sign too for a while longer
GET  /webhook-targets/{id}/deliveries?state=   POST /webhook-targets/{id}/deliveries/{delivery}/replay
"""

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from annotated_types import Len
from fastapi import Query
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from libs.common.auth import Caller
from libs.common.clock import Clock, new_id
from libs.common.db import Connection, Pool, transaction
from libs.common.errors import Fault, Problem
from libs.common.events_invoicing import INVOICING_EVENTS
from libs.common.http import App, requires, router
from libs.common.idempotency import KEY_NEEDED, RequiredKey
from libs.common.problems import malformed
from libs.common.sealing import Sealer
from services.invoicing import delivery_store, webhook_secrets
from services.invoicing.asking import Asker, Done, Wish, answer, fingerprint_of
from services.invoicing.delivering import Delivering
from services.invoicing.delivery_store import Target
from services.invoicing.webhook_addresses import url_fault
from services.invoicing.wished import wish_response

PREFIX: Final = "/api/v1"
TARGETS: Final = "/webhook-targets"
TYPES: Final = frozenset(each.name for each in INVOICING_EVENTS)

Reads = Annotated[Caller, requires("invoice:read")]
Writes = Annotated[Caller, requires("mapping:write")]
SecretText = Annotated[str, Len(16, 500)]
DeliveryState = Literal["waiting", "delivered", "dead"]


class TargetBody(BaseModel):
    """`types` are names of events, all where none is given; `secret` signs every delivery."""

    model_config = ConfigDict(extra="forbid", strict=True)
    url: Annotated[str, Len(1, 2_000)]
    secret: SecretText
    types: Annotated[list[str], Len(0, 50)] = []


class TargetSecretBody(BaseModel):
    """A new secret; the older ones sign beside it for `overlap_hours` more."""

    model_config = ConfigDict(extra="forbid", strict=True)
    secret: SecretText
    overlap_hours: Annotated[int, Query(ge=0, le=24 * 30)] = 24


class TargetSwitchBody(BaseModel):
    """On or off."""

    model_config = ConfigDict(extra="forbid", strict=True)
    active: bool


@dataclass(frozen=True, slots=True)
class DeliveryApi:
    """What the routes work on. `pool` is the writer's, `reader` the reader's."""

    pool: Pool
    reader: Pool
    clock: Clock
    sealer: Sealer
    delivering: Delivering
    private_allowed: bool = False

    def add_to(self, app: App) -> None:
        """Puts every route into the application."""
        routes = router(PREFIX, ["webhooks"])
        add = routes.add_api_route
        keyed = partial(add, methods=["POST"], openapi_extra=KEY_NEEDED)
        keyed(TARGETS, self.create, status_code=201, summary="Somebody who hears our events")
        add(TARGETS, self.targets, summary="Who hears our events")
        keyed(TARGETS + "/{id}/secrets", self.add_secret, summary="A new secret beside the old one")
        add(TARGETS + "/{id}/switch", self.switch, methods=["POST"], summary="A target switched on or off")
        add(TARGETS + "/{id}/deliveries", self.deliveries, summary="A target's deliveries, newest first")
        replay = TARGETS + "/{id}/deliveries/{delivery}/replay"
        add(replay, self.replay, methods=["POST"], summary="A delivery sent again")
        app.include_router(routes)

    async def create(self, body: TargetBody, caller: Writes, key: RequiredKey) -> Response:
        """A new target hears of events from now on."""
        faults = [Fault(f"/types/{place}", "is no event of ours") for place, name in enumerate(body.types)
                  if name not in TYPES]  # fmt: skip
        if (fault := url_fault(body.url, private_allowed=self.private_allowed)) is not None:
            faults.insert(0, Fault("/url", fault))
        if faults:
            raise malformed(faults)
        organization, at = caller.own_organization(), self.clock()
        target = Target(organization, new_id(), body.url, sorted(set(body.types)), True, at)

        async def act(connection: Connection) -> Done:
            await delivery_store.insert_target(connection, target)
            await webhook_secrets.add(connection, self.sealer, organization, target.id, body.secret.encode(), at)
            return Done(target_words(target))

        wish = Wish(_asker(caller), key, fingerprint_of(["webhook-target", body.model_dump()]))
        return wish_response(await answer(self.pool, wish, at, act))

    async def targets(self, caller: Reads) -> dict[str, Any]:
        organization = caller.own_organization()
        settings = {"ledgerbus.organization": organization}
        async with transaction(self.reader, readonly=True, settings=settings) as connection:
            found = await delivery_store.list_targets(connection, organization)
        return {"items": [target_words(each) for each in found], "next_cursor": None}

    async def add_secret(self, id: UUID, body: TargetSecretBody, caller: Writes, key: RequiredKey) -> Response:  # noqa: A002
        """From now on deliveries are signed with the new secret and, for a while longer, with the old ones too."""
        organization, at = caller.own_organization(), self.clock()
        target = await self._target(organization, id)
        until = at + timedelta(hours=body.overlap_hours)

        async def act(connection: Connection) -> Done:
            await webhook_secrets.add(connection, self.sealer, organization, id, body.secret.encode(), at, until)
            return Done({**target_words(target), "old_secrets_until": until}, 200)

        wish = Wish(_asker(caller), key, fingerprint_of(["webhook-target-secret", id, body.model_dump()]))
        return wish_response(await answer(self.pool, wish, at, act))

    async def switch(self, id: UUID, body: TargetSwitchBody, caller: Writes) -> dict[str, Any]:  # noqa: A002
        """What waits for a target that is off is sent when it is on again; it hears nothing of events in between."""
        organization = caller.own_organization()
        target = await self._target(organization, id)
        async with transaction(self.pool) as connection:
            await delivery_store.switch_target(connection, organization, id, body.active)
        return target_words(target._replace(active=body.active))

    async def deliveries(
        self,
        id: UUID,  # noqa: A002
        caller: Reads,
        state: DeliveryState | None = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> dict[str, Any]:
        organization = caller.own_organization()
        await self._target(organization, id)
        async with transaction(
            self.reader, readonly=True, settings={"ledgerbus.organization": organization}
        ) as connection:
            rows = await delivery_store.list_deliveries(connection, organization, id, state, limit)
        return {"items": [dict(row) for row in rows], "next_cursor": None}

    async def replay(self, id: UUID, delivery: UUID, caller: Writes) -> dict[str, Any]:  # noqa: A002
        """Due again at once; one that waits already stays as it is."""
        organization = caller.own_organization()
        await self._target(organization, id)
        async with transaction(self.pool) as connection:
            again = await delivery_store.deliver_again(connection, organization, id, delivery, self.clock())
        self.delivering.wake()
        return {"delivery": delivery, "due_again": again}

    async def _target(self, organization: str, id_: UUID) -> Target:
        settings = {"ledgerbus.organization": organization}
        async with transaction(self.reader, readonly=True, settings=settings) as connection:
            found = await delivery_store.load_target(connection, organization, id_)
        if found is None:
            raise Problem(404, "unknown-webhook-target", f"There is no webhook target {id_}.")
        return found


def target_words(target: Target) -> dict[str, Any]:
    """A target as it is told, without its secrets."""
    return {
        "id": target.id,
        "url": target.url,
        "types": target.types,
        "active": target.active,
        "created_at": target.created_at,
    }


def _asker(caller: Caller) -> Asker:
    return Asker(caller.own_organization(), f"{caller.service or 'api'}/{caller.subject}")
