"""Invoicing's application with messages and webhooks on it, a clock that can be moved, and PayPal's certificate."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from libs.common import db, runtime
from libs.common.auth import DevIssuer, Verifier, create_dev_issuer
from libs.common.http import create_app
from services.invoicing.api import InvoicingApi, MessagesApi
from services.invoicing.delivering import Delivering
from services.invoicing.payment_effects import apply
from services.invoicing.webhook_certificates import Certificates
from services.invoicing.webhook_intake import Intake
from services.invoicing.webhook_signatures import STRIPE_HEADER, sign
from services.invoicing.writing import Tools
from tests.gateway.serving import serving
from tests.invoicing.conftest import InvoicingDatabase
from tests.invoicing.serving import AUDIENCE, ISSUER, Service
from tests.invoicing.trading import company

SECRET = "whsec_the_first_one"


@dataclass(slots=True)
class Hands:
    """A clock whose hands are moved by the test."""

    at: datetime = field(default_factory=lambda: datetime(2026, 9, 21, 13, tzinfo=UTC))

    def __call__(self) -> datetime:
        return self.at

    def move(self, **by: float) -> None:
        self.at += timedelta(**by)


@dataclass(slots=True)
class Messaging(Service):
    """The running application, and what its tests move and look into."""

    clock: Hands
    intake: Intake
    delivering: Delivering
    fetched: list[str]

    async def endpoint(self, **body: Any) -> dict[str, Any]:
        """A new address for webhooks."""
        wanted = {"provider": "stripe", "secret": SECRET} | body
        wanted = {name: value for name, value in wanted.items() if value is not None}
        key = {"Idempotency-Key": orjson.dumps(wanted).hex()[:200]}
        status, told, _ = await self.send("POST", "/webhook-endpoints", wanted, key)
        assert status == 201, told
        return dict(told)

    async def hook(
        self, endpoint: dict[str, Any], raw: bytes, *, secret: str = SECRET, header: str | None = None
    ) -> tuple[int, Any]:
        """A webhook of Stripe's, signed now."""
        header = header if header is not None else sign([secret.encode()], int(self.clock().timestamp()), raw)
        path = endpoint["path"].removeprefix("/api/v1")
        status, told, _ = await self.send("POST", path, raw, {STRIPE_HEADER: header, "Authorization": ""})
        return status, told


@asynccontextmanager
async def messaging(
    pool: db.Pool, database: InvoicingDatabase, folder: Path, certificate: bytes = b"", *, private_allowed: bool = True
) -> AsyncIterator[Messaging]:
    """The application with a company; `certificate` is what PayPal's addresses answer with."""
    create_dev_issuer(folder / "key", folder / "jwks.json")
    issuer = DevIssuer(folder / "key", ISSUER, AUDIENCE, "development")
    verifier = Verifier(ISSUER, AUDIENCE, folder / "jwks.json")
    reader = await db.create_pool(database.dsns.reader, name="reader", max_size=4)
    acme = await company(pool)
    clock, fetched = Hands(), list[str]()

    async def fetch(address: str) -> bytes:
        fetched.append(address)
        return certificate

    intake = Intake(pool, clock, acme.sealer, Certificates(fetch), apply)
    delivering = Delivering(pool, clock, acme.sealer, private_allowed=private_allowed)
    tools = Tools(pool, reader, clock, acme.sealer)
    app = create_app("invoicing", "0", readiness=runtime.Readiness(), verifier=verifier)
    InvoicingApi(tools).add_to(app)
    MessagesApi(tools, apply, intake, delivering, private_allowed).add_to(app)
    async with serving(app) as url:
        yield Messaging(url, acme, issuer, clock, intake, delivering, fetched)
    await verifier.close()
    await reader.close()
