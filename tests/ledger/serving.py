"""The ledger's application on a real server, as its tests talk to it."""

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
from libs.common.db import Pool
from libs.common.http import create_app
from libs.common.signing import add_key, read_keys
from libs.devstack.databases import ServiceDsns
from services.ledger.api import LedgerApi
from services.ledger.commands import Asker, Books, open_organization
from tests.gateway.serving import serving
from tests.ledger.asking import account, open_accounts

ISSUER, AUDIENCE = "http://issuer.test", "ledgerbus"
ENTRIES = "/api/v1/ledgers/main/entries"


@dataclass(slots=True)
class Service:
    """A running ledger: its address, the books behind it, and tokens."""

    url: str
    books: Books
    issuer: DevIssuer
    auditor: Pool

    def headers(self, *roles: str, organization: str | None = "demo", **more: Any) -> dict[str, str]:
        token = self.issuer.token("alice", organization, roles=roles or ("controller",), **more)
        return {"Authorization": f"Bearer {token}"}

    async def send(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, Any]:
        """Status, body, headers. A body of bytes goes as it is."""
        raw = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
        sent = {"Content-Type": "application/json", **self.headers(), **(headers or {})}
        async with aiohttp.ClientSession() as session, session.request(
            method, self.url + path, data=BytesIO(raw) if raw is not None else None, headers=sent
        ) as answer:  # fmt: skip
            content = await answer.read()
            return answer.status, orjson.loads(content) if content else None, answer.headers

    async def lines(self, path: str, values: list[Any], headers: dict[str, str]) -> tuple[int, list[Any], Any]:
        """Posts NDJSON; status, the JSON of each line of the answer, headers."""
        body = b"\n".join(map(orjson.dumps, values))
        async with aiohttp.ClientSession() as session, session.post(
            self.url + path, data=body, headers={**self.headers(), **headers}
        ) as answer:  # fmt: skip
            return answer.status, [orjson.loads(line) for line in (await answer.read()).splitlines()], answer.headers


@asynccontextmanager
async def ledger_service(books: Books, dsns: ServiceDsns, tmp_path: Path) -> AsyncIterator[Service]:
    """The ledger's application on a real server, with cash, rent, a limited account and a second organization."""
    create_dev_issuer(tmp_path / "key", tmp_path / "jwks.json")
    issuer = DevIssuer(tmp_path / "key", ISSUER, AUDIENCE, "development")
    verifier = Verifier(ISSUER, AUDIENCE, tmp_path / "jwks.json")
    reader = await db.create_pool(dsns.reader, name="reader", max_size=4)
    auditor = await db.create_pool(dsns.auditor, name="auditor", max_size=4)
    app = create_app("ledger", "0", readiness=runtime.Readiness(), verifier=verifier)
    add_key(tmp_path / "signing.pem")
    LedgerApi(books, reader, auditor, read_keys(tmp_path / "signing.pem")).add_to(app)
    await open_organization(books, "other", "Other", "USD", Asker("other", "api", "operator", "api/operator"))
    await open_accounts(
        books,
        account("1010-CASH"),
        account("5000-RENT", "expense"),
        account("1020-EUR", currency="EUR"),
        account("2001-ALICE", "liability", overdraft="none"),
        account("2002-BOB", "liability", overdraft="none"),
        account("1000", summary=True, currency=None),
        account("1100-AR", control_owner="invoicing"),
    )
    async with serving(app) as url:
        yield Service(url, books, issuer, auditor)
    await verifier.close()
    await reader.close()
    await auditor.close()


def rent(amount: Any = "1000.00", **more: Any) -> dict[str, Any]:
    """A good entry, with an amount of one's own."""
    lines = [
        {"account": "5000-RENT", "side": "debit", "amount": amount},
        {"account": "1010-CASH", "side": "credit", "amount": amount},
    ]
    return {"effective_on": "2026-01-15", "description": "Rent", "lines": lines, **more}
