"""Webhooks in: from a provider's bytes to payment events, safe in any order and however often they come.

    signature checked -> read -> stored as it came, sealed          first transaction; then the provider may forget it
    payment events taken (parking.take), the webhook settled         second transaction

What is stored and not settled (a crash, a database that went away) is taken up again by the loop. A webhook with a
wrong signature leaves no trace but a metric. One that is signed and cannot be read is kept, sealed, for a person: to
answer it with an error would only make the provider send the same again for days.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final, Literal, cast
from uuid import UUID

import orjson

from libs.common import metrics
from libs.common.clock import Clock
from libs.common.db import Connection, Pool, transaction, transient
from libs.common.errors import Poison, Problem
from libs.common.json_text import parse_json
from libs.common.sealing import Sealer
from libs.common.telemetry import get_logger
from services.invoicing import webhook_secrets, webhook_store
from services.invoicing.parking import Apply, take
from services.invoicing.payment_messages import ToldPayment, read_event
from services.invoicing.webhook_certificates import Certificates
from services.invoicing.webhook_events import PaymentNews, Provider, Told, Unreadable, read
from services.invoicing.webhook_signatures import (
    STRIPE_HEADER,
    SignatureFault,
    check_paypal,
    check_stripe,
    paypal_fault,
)
from services.invoicing.webhook_store import Endpoint

log = get_logger(__name__)

Outcome = Literal["taken", "known", "ignored", "unreadable", "stored"]

RETRY_AFTER: Final = timedelta(seconds=30)
RETRY_EVERY_S: Final = 10.0
RETRY_BATCH: Final = 100


@dataclass(frozen=True, slots=True)
class Intake:
    """What webhooks are taken with. `pool` is the writer's; `committed` is called after each effect."""

    pool: Pool
    clock: Clock
    sealer: Sealer
    certificates: Certificates
    apply: Apply
    committed: Callable[[], None] = lambda: None

    async def receive(self, provider: str, code: str, headers: Mapping[str, str], raw: bytes) -> Outcome:
        """One webhook. Raises Problem 404 for an unknown address, 400 for a signature that is not right."""
        at = self.clock()
        async with self.pool.acquire() as connection:
            endpoint = await webhook_store.find_endpoint(connection, provider, code)
            if endpoint is None:
                raise Problem(404, "unknown-webhook-endpoint", "No webhooks are expected at this address.")
            secrets = await webhook_secrets.at(connection, self.sealer, endpoint.organization, endpoint.id, at)
        fault = await self._fault(endpoint, list(secrets), headers, raw, at)
        if fault is not None:
            metrics.INVOICING_WEBHOOKS.labels(provider, fault).inc()
            raise refusal(fault)
        told = _told(endpoint, raw)
        sealed = self.sealer.seal(raw, belongs_to(endpoint.organization, endpoint.id, told.event_id))
        async with self.pool.acquire() as connection:
            before = await webhook_store.store_webhook(
                connection, endpoint, told.event_id, told.event_type, sealed.key_id, sealed.value, at
            )
        outcome: Outcome = "known"
        if before in (None, "stored"):
            outcome = await self._settle(endpoint, told, at)
        metrics.INVOICING_WEBHOOKS.labels(provider, outcome).inc()
        return outcome

    async def run(self, stopping: asyncio.Event) -> None:
        """The loop that takes up again what was stored and not settled; a task of the runtime."""
        while not stopping.is_set():
            try:
                await self.retry()
            except Exception as error:
                if not transient(error):
                    raise
                log.warning("stored-webhooks-wait", error=str(error) or repr(error))
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), RETRY_EVERY_S)

    async def retry(self) -> int:
        """Webhooks stored a while ago and not settled since; gives how many are settled now."""
        at = self.clock()
        settled = 0
        async with self.pool.acquire() as connection:
            stored = await webhook_store.stored_before(connection, at - RETRY_AFTER, RETRY_BATCH)
            endpoints = {
                (each.organization, each.endpoint): await webhook_store.load_endpoint(
                    connection, each.organization, each.endpoint
                )
                for each in stored
            }
        for each in stored:
            endpoint = endpoints[each.organization, each.endpoint]
            assert endpoint is not None, "a webhook refers to its endpoint"
            owner = belongs_to(each.organization, each.endpoint, each.event_id)
            raw = self.sealer.open(each.key_id, each.sealed, owner)
            settled += await self._settle(endpoint, _told(endpoint, raw), at) != "stored"
        return settled

    async def _fault(
        self, endpoint: Endpoint, secrets: list[bytes], headers: Mapping[str, str], raw: bytes, at: datetime
    ) -> SignatureFault | None:
        if endpoint.provider == "stripe":
            return check_stripe(secrets, headers.get(STRIPE_HEADER), raw, int(at.timestamp()))
        fault = paypal_fault(headers)
        if fault is not None:
            return fault
        certificate = await self.certificates.get(headers["paypal-cert-url"])
        return check_paypal(endpoint.name, headers, raw, certificate, at)

    async def _settle(self, endpoint: Endpoint, told: Told | Unreadable, at: datetime) -> Outcome:
        """Gives a stored webhook its effect. What fails for a passing reason stays stored, and is tried again."""
        try:
            async with transaction(self.pool) as connection:
                outcome, detail = await self._take(connection, endpoint, told, at)
                await webhook_store.settle_webhook(connection, endpoint, told.event_id, outcome, detail)
        except Exception as error:
            if not transient(error):
                raise
            log.warning("webhook-stays-stored", endpoint=endpoint.code, error=str(error) or repr(error))
            return "stored"
        self.committed()
        return outcome

    async def _take(
        self, connection: Connection, endpoint: Endpoint, told: Told | Unreadable, at: datetime
    ) -> tuple[Outcome, str | None]:
        if isinstance(told, Unreadable):
            log.error("webhook-unreadable", endpoint=endpoint.code, pointer=told.pointer, detail=told.detail)
            return "unreadable", f"{told.pointer} {told.detail}"
        try:
            events = [_event(endpoint, told, news) for news in told.news]
        except Poison as poison:
            log.error("webhook-unreadable", endpoint=endpoint.code, pointer=poison.pointer, detail=poison.detail)
            return "unreadable", f"{poison.pointer} {poison.detail}"
        if not events:
            return "ignored", None
        taken = await take(connection, events, at, self.apply)
        return "taken", ", ".join(taken.reasons) or None


def refusal(fault: SignatureFault) -> Problem:
    """400 for a webhook that is not proven to be the provider's."""
    return Problem(400, fault, _SENTENCES[fault])


_SENTENCES: Final[Mapping[SignatureFault, str]] = {
    "signature-missing": "The webhook is not signed.",
    "signature-malformed": "The signature's header cannot be read.",
    "signature-too-old": "The webhook was signed too long ago, or the clocks differ.",
    "signature-wrong": "The signature does not fit the body and this address's secret.",
    "certificate-not-trusted": "The certificate is not at one of PayPal's own addresses, or is none.",
    "certificate-expired": "The certificate is not valid now.",
}


def belongs_to(organization: str, endpoint: UUID, event_id: str) -> bytes:
    """The associated data of a stored webhook's seal: it opens in its own row alone."""
    return f"{organization}/webhook/{endpoint}/{event_id}".encode()


def _told(endpoint: Endpoint, raw: bytes) -> Told | Unreadable:
    """What the body says; one without an id that can be read goes by its own hash."""
    try:
        value = parse_json(raw)
    except Problem as problem:
        return Unreadable("", problem.detail, f"sha256:{sha256(raw).hexdigest()}", "")
    told = read(cast("Provider", endpoint.provider), value)
    if isinstance(told, Unreadable) and not told.event_id:
        return Unreadable(told.pointer, told.detail, f"sha256:{sha256(raw).hexdigest()}", told.event_type)
    return told


def _event(endpoint: Endpoint, told: Told, news: PaymentNews) -> ToldPayment:
    """The payment event as our own topic would carry it; its id is the same for every telling of the same fact."""
    body: dict[str, Any] = {**news.body, "organization": endpoint.organization, "ledger": endpoint.ledger}
    value = orjson.dumps(body)
    return ToldPayment(
        read_event(news.type, value),
        news.type,
        f"webhook/{endpoint.organization}/{endpoint.ledger}",
        news.id,
        news.at,
        value,
        topic=f"webhooks/{endpoint.provider}/{endpoint.code}",
        headers=[("event_id", told.event_id.encode())],
    )
