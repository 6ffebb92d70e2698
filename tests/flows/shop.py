"""A platform client of one organization, as the flow tests play it: through the gateway, with answers kept whole."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from yarl import URL

from libs.cli import books, charts
from libs.cli.session import Stack
from libs.common.journal import AccountRequest

LEDGER = "/api/v1/ledgers/main"
ENTRIES = f"{LEDGER}/entries"

MORE_ACCOUNTS = (
    AccountRequest(code="1020-EUR", name="Bank in euros", type="asset", currency="EUR"),
    AccountRequest(code="1100-AR", name="Receivables", type="asset", currency="USD", control_owner="invoicing"),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, body (JSON where it is some) and headers."""

    status: int
    body: Any
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Shop:
    """One organization on the running stack, with the demo's chart, a euro account and a control account."""

    stack: Stack
    organization: str

    def bearer(self, *roles: str, **more: Any) -> dict[str, str]:
        """The header with a token; a controller's of this organization unless told otherwise."""
        organization = more.pop("organization", self.organization)
        token = self.stack.token(organization, roles or ("controller",), **more)
        return {"Authorization": f"Bearer {token}"}

    async def send(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """One request to the gateway, not repeated. A body of bytes goes as it is; headers given here win."""
        raw = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
        sending = raw and io.BytesIO(raw)
        url = URL(self.stack.gateway + path, encoded=True)
        sent = {"Content-Type": "application/json", **self.bearer(), **(headers or {})}
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session,
            session.request(method, url, data=sending, headers=sent) as answer,
        ):
            content = await answer.read()
            is_json = "json" in answer.content_type and answer.content_type != "application/x-ndjson"
            return Answer(answer.status, orjson.loads(content) if is_json else content, answer.headers)

    async def posted(self, account: str) -> str:
        """An account's posted balance on its normal side."""
        answer = await self.send("GET", f"{LEDGER}/accounts/{account}/balance")
        assert answer.status == 200, answer.body
        balance: str = answer.body["posted"]
        return balance

    async def sequence(self) -> int:
        """The ledger's last sequence."""
        sequence: int = (await self.send("GET", LEDGER)).body["sequence"]
        return sequence


async def open_shop(stack: Stack, organization: str) -> Shop:
    """A new organization with its chart of accounts."""
    async with stack.operator() as operator:
        assert await books.ensure_organization(operator, organization), f"{organization} is somebody else's"
    async with stack.client(organization) as client:
        await books.open_accounts(client, "main", [*charts.read("demo").accounts, *MORE_ACCOUNTS])
    return Shop(stack, organization)


def sale(amount: Any = "10.00", **more: Any) -> dict[str, Any]:
    """A good entry: cash from revenue, with an amount of one's own."""
    lines = [
        {"account": "1010-CASH", "side": "debit", "amount": amount},
        {"account": "4000-REVENUE", "side": "credit", "amount": amount},
    ]
    return {"effective_on": "2026-01-15", "description": "Sale", "lines": lines, **more}
