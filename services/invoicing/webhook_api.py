"""Webhooks over REST: the address that providers send to, and the endpoints behind such addresses.

    POST /webhooks/{provider}/{endpoint}          no token: the signature is the proof; answered 200 once it is stored
    POST /webhook-endpoints                        an address for a provider, a ledger and a secret
    POST /webhook-endpoints/{id}/secrets           a new secret beside the old ones, which count a while longer
    POST /webhook-endpoints/{id}/switch            on or off
    GET  /webhook-endpoints, /webhook-endpoints/{id}/received

Secrets are taken and never told again.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from annotated_types import Len
from fastapi import Query
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from libs.common.auth import Caller
from libs.common.clock import Clock, new_id
from libs.common.db import Connection, Pool, transaction
from libs.common.errors import Fault, Problem
from libs.common.http import App, Operation, add_hot_route, json_response, read_body, requires, router
from libs.common.idempotency import KEY_NEEDED, RequiredKey
from libs.common.journal import ShortText, SlugText
from libs.common.problems import malformed
from libs.common.sealing import Sealer
from services.invoicing import webhook_secrets, webhook_store
from services.invoicing.asking import Asker, Done, Wish, answer, fingerprint_of
from services.invoicing.webhook_intake import Intake, refusal
from services.invoicing.webhook_signatures import STRIPE_HEADER
from services.invoicing.webhook_store import Endpoint
from services.invoicing.wished import wish_response

PREFIX: Final = "/api/v1"
ENDPOINTS: Final = "/webhook-endpoints"
PATH: Final = PREFIX + "/webhooks/{provider}/{endpoint}"
OVERLAP_HOURS: Final = 24

Reads = Annotated[Caller, requires("invoice:read")]
Writes = Annotated[Caller, requires("mapping:write")]
SecretText = Annotated[str, Len(8, 500)]


class EndpointBody(BaseModel):
    """`secret` is Stripe's signing secret; `webhook_id` is PayPal's id of the webhook, which PayPal signs."""

    model_config = ConfigDict(extra="forbid", strict=True)
    provider: Literal["stripe", "paypal"]
    ledger: SlugText = "main"
    secret: SecretText | None = None
    webhook_id: ShortText | None = None


class SecretBody(BaseModel):
    """A new secret; the older ones count for `overlap_hours` more."""

    model_config = ConfigDict(extra="forbid", strict=True)
    secret: SecretText
    overlap_hours: Annotated[int, Query(ge=0, le=24 * 30)] = OVERLAP_HOURS


class SwitchBody(BaseModel):
    """On or off."""

    model_config = ConfigDict(extra="forbid", strict=True)
    active: bool


@dataclass(frozen=True, slots=True)
class WebhookApi:
    """What the routes work on. `pool` is the writer's, `reader` the reader's."""

    intake: Intake
    reader: Pool

    @property
    def pool(self) -> Pool:
        return self.intake.pool

    @property
    def clock(self) -> Clock:
        return self.intake.clock

    @property
    def sealer(self) -> Sealer:
        return self.intake.sealer

    def add_to(self, app: App) -> None:
        """Puts every route into the application."""
        add_hot_route(app, PATH, self.receive, Operation("POST", PATH, "", _RECEIVE))
        routes = router(PREFIX, ["webhooks"])
        add = routes.add_api_route
        keyed = partial(add, methods=["POST"], openapi_extra=KEY_NEEDED)
        keyed(ENDPOINTS, self.create, status_code=201, summary="An address for a provider's webhooks")
        add(ENDPOINTS, self.endpoints, summary="Addresses for providers' webhooks")
        keyed(ENDPOINTS + "/{id}/secrets", self.add_secret, summary="A new secret beside the old one")
        add(ENDPOINTS + "/{id}/switch", self.switch, methods=["POST"], summary="An address switched on or off")
        add(ENDPOINTS + "/{id}/received", self.received, summary="What came to an address, newest first")
        app.include_router(routes)

    async def receive(self, request: Request) -> Response:
        """A provider's webhook."""
        raw = await read_body(request)
        for name in (STRIPE_HEADER, "paypal-transmission-sig", "paypal-transmission-id", "paypal-cert-url"):
            if len(request.headers.getlist(name)) > 1:
                raise refusal("signature-malformed")
        path = request.path_params
        await self.intake.receive(path["provider"], path["endpoint"], request.headers, raw)
        return json_response({"received": True})

    async def create(self, body: EndpointBody, caller: Writes, key: RequiredKey) -> Response:
        """A new endpoint; its address ends in a code that nobody guesses."""
        wanted = "secret" if body.provider == "stripe" else "webhook_id"
        if getattr(body, wanted) is None:
            raise malformed([Fault(f"/{wanted}", f"is needed for {body.provider}")])
        other = "webhook_id" if body.provider == "stripe" else "secret"
        if getattr(body, other) is not None:
            raise malformed([Fault(f"/{other}", f"is not used for {body.provider}")])
        organization, at = caller.own_organization(), self.clock()
        endpoint = Endpoint(
            organization,
            new_id(),
            body.ledger,
            body.provider,
            secrets.token_urlsafe(18),
            body.webhook_id or "",
            True,
            at,
        )

        async def act(connection: Connection) -> Done:
            await webhook_store.insert_endpoint(connection, endpoint)
            if body.secret is not None:
                await webhook_secrets.add(connection, self.sealer, organization, endpoint.id, body.secret.encode(), at)
            return Done(endpoint_words(endpoint))

        wish = Wish(_asker(caller), key, fingerprint_of(["webhook-endpoint", body.model_dump()]))
        return wish_response(await answer(self.pool, wish, at, act))

    async def endpoints(self, caller: Reads) -> dict[str, Any]:
        organization = caller.own_organization()
        async with transaction(self.reader, readonly=True, settings=_seen_by(organization)) as connection:
            found = await webhook_store.list_endpoints(connection, organization)
        return {"items": [endpoint_words(each) for each in found], "next_cursor": None}

    async def add_secret(self, id: UUID, body: SecretBody, caller: Writes, key: RequiredKey) -> Response:  # noqa: A002
        """The new secret counts from now on, the older ones a while longer."""
        organization, at = caller.own_organization(), self.clock()
        endpoint = await self._endpoint(organization, id)
        if endpoint.provider != "stripe":
            raise Problem(422, "secret-not-used", f"Webhooks of {endpoint.provider} are signed without a secret.")
        until = at + timedelta(hours=body.overlap_hours)

        async def act(connection: Connection) -> Done:
            await webhook_secrets.add(connection, self.sealer, organization, id, body.secret.encode(), at, until)
            return Done({**endpoint_words(endpoint), "old_secrets_until": until}, 200)

        wish = Wish(_asker(caller), key, fingerprint_of(["webhook-secret", id, body.model_dump()]))
        return wish_response(await answer(self.pool, wish, at, act))

    async def switch(self, id: UUID, body: SwitchBody, caller: Writes) -> dict[str, Any]:  # noqa: A002
        organization = caller.own_organization()
        endpoint = await self._endpoint(organization, id)
        async with transaction(self.pool) as connection:
            await webhook_store.switch_endpoint(connection, organization, id, body.active)
        return endpoint_words(endpoint._replace(active=body.active))

    async def received(
        self,
        id: UUID,  # noqa: A002
        caller: Reads,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> dict[str, Any]:
        organization = caller.own_organization()
        await self._endpoint(organization, id)
        async with self.pool.acquire() as connection:
            rows = await webhook_store.list_webhooks(connection, organization, id, limit)
        return {"items": [dict(row) for row in rows], "next_cursor": None}

    async def _endpoint(self, organization: str, id_: UUID) -> Endpoint:
        async with self.pool.acquire() as connection:
            found = await webhook_store.load_endpoint(connection, organization, id_)
        if found is None:
            raise Problem(404, "unknown-webhook-endpoint", f"There is no webhook endpoint {id_}.")
        return found


def endpoint_words(endpoint: Endpoint) -> dict[str, Any]:
    """An endpoint as it is told: with its address, without its secrets."""
    return {
        "id": endpoint.id,
        "provider": endpoint.provider,
        "ledger": endpoint.ledger,
        "path": f"{PREFIX}/webhooks/{endpoint.provider}/{endpoint.code}",
        "webhook_id": endpoint.name or None,
        "active": endpoint.active,
        "created_at": endpoint.created_at,
    }


def _asker(caller: Caller) -> Asker:
    return Asker(caller.own_organization(), f"{caller.service or 'api'}/{caller.subject}")


def _seen_by(organization: str) -> Mapping[str, str]:
    return {"ledgerbus.organization": organization}


def _path_parameter(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "description": description}


_RECEIVE: Final[Mapping[str, Any]] = {
    "summary": "A provider's webhook",
    "tags": ["webhooks"],
    "description": "Signed by the provider (Stripe-Signature, or Paypal-Transmission-*). Safe to send again.",
    "parameters": [
        _path_parameter("provider", "stripe or paypal"),
        _path_parameter("endpoint", "The last part of the endpoint's path."),
    ],
    "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
    "responses": {
        "200": {
            "description": "Stored.",
            "content": {
                "application/json": {"schema": {"type": "object", "properties": {"received": {"type": "boolean"}}}}
            },
        }
    },
}
