"""Invoicing's application on a real server, as its tests talk to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from libs.common import db, runtime
from libs.common.auth import DevIssuer, Verifier, create_dev_issuer
from libs.common.clock import now
from libs.common.http import create_app
from services.invoicing.api import InvoicingApi
from services.invoicing.writing import Tools
from tests.gateway.serving import serving
from tests.invoicing.conftest import InvoicingDatabase
from tests.invoicing.trading import Company, company

ISSUER, AUDIENCE = "http://issuer.test", "ledgerbus"


@dataclass(slots=True)
class Service:
    """A running invoicing: its address, the company behind it, and tokens."""

    url: str
    acme: Company
    issuer: DevIssuer

    def headers(self, *roles: str, organization: str = "demo", subject: str = "alice") -> dict[str, str]:
        token = self.issuer.token(subject, organization, roles=roles or ("controller",))
        return {"Authorization": f"Bearer {token}"}

    async def send(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, Any]:
        """Status, body, headers. A body of bytes goes as it is."""
        raw = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
        sent = {"Content-Type": "application/json", **self.headers(), **(headers or {})}
        async with aiohttp.ClientSession() as session, session.request(
            method, f"{self.url}/api/v1{path}", data=BytesIO(raw) if raw is not None else None, headers=sent
        ) as answer:  # fmt: skip
            content = await answer.read()
            return answer.status, orjson.loads(content) if content else None, answer.headers


@asynccontextmanager
async def invoicing_service(pool: db.Pool, database: InvoicingDatabase, folder: Path) -> AsyncIterator[Service]:
    """The application with a company that has its accounts mapped and one customer, Acme Corp."""
    create_dev_issuer(folder / "key", folder / "jwks.json")
    issuer = DevIssuer(folder / "key", ISSUER, AUDIENCE, "development")
    verifier = Verifier(ISSUER, AUDIENCE, folder / "jwks.json")
    reader = await db.create_pool(database.dsns.reader, name="reader", max_size=4)
    acme = await company(pool)
    app = create_app("invoicing", "0", readiness=runtime.Readiness(), verifier=verifier)
    InvoicingApi(Tools(pool, reader, now, acme.sealer)).add_to(app)
    async with serving(app) as url:
        yield Service(url, acme, issuer)
    await verifier.close()
    await reader.close()
