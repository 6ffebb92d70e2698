"""A ledger's application on a real server with books worth exporting, and an empty ledger beside it to import into."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import orjson
import pytest

from libs.common import db, runtime
from libs.common.auth import DevIssuer, Verifier, create_dev_issuer
from libs.common.db import Pool
from libs.common.http import create_app
from libs.common.journal import LedgerRequest, Rate, ReversalRequest
from services.ledger.api import LedgerApi
from services.ledger.commands import Books, open_ledger
from tests.gateway.serving import serving
from tests.ledger.asking import ASKER, account, entry, open_accounts, tell
from tests.ledger.conftest import LedgerDatabase

ISSUER, AUDIENCE = "http://issuer.test", "ledgerbus"
TEXT = {"Content-Type": "text/plain"}

ODD_CODES = ("cash_eur", "A--B", "a:b", "Ünïcode.X", "X--0-")


@dataclass(slots=True)
class Exchange:
    """A running ledger and its books."""

    url: str
    books: Books
    reader: Pool
    issuer: DevIssuer

    def headers(self, *roles: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.issuer.token('alice', 'demo', roles=roles or ('controller',))}"}

    async def export(self, format_: str, query: str = "", ledger: str = "main") -> tuple[int, bytes, Any]:
        """Status, body, headers."""
        url = f"{self.url}/api/v1/ledgers/{ledger}/export/{format_}{query}"
        async with aiohttp.ClientSession() as session, session.get(url, headers=self.headers()) as answer:
            return answer.status, await answer.read(), answer.headers

    async def take(
        self, format_: str, body: bytes, query: str = "", ledger: str = "copy", **headers: str
    ) -> list[dict[str, Any]]:
        """The result lines of an import."""
        url = f"{self.url}/api/v1/ledgers/{ledger}/import/{format_}{query}"
        sent = {**TEXT, **self.headers(), **headers}
        async with aiohttp.ClientSession() as session, session.post(url, data=BytesIO(body), headers=sent) as answer:
            content = await answer.read()
            assert answer.status == 200, content
            return [orjson.loads(line) for line in content.splitlines()]

    async def get(self, path: str) -> Any:
        url = f"{self.url}/api/v1/ledgers{path}"
        async with aiohttp.ClientSession() as session, session.get(url, headers=self.headers()) as answer:
            return orjson.loads(await answer.read())

    async def balances(self, ledger: str) -> dict[str, tuple[str, str]]:
        """Currency and balance of every account that has lines."""
        report = await self.get(f"/{ledger}/reports/trial-balance")
        assert report["balanced"]
        return {row["account"]: (row["currency"], row["balance"]) for row in report["rows"]}


async def fill(books: Books) -> None:
    """Accounts of every type and with odd codes, two currencies, a crossing, a reversal, awkward texts."""
    await open_accounts(
        books,
        account("1000", summary=True, currency=None),
        account("1010-CASH", parent="1000", reconcilable=True, cash=True),
        account("1020-YEN", currency="JPY"),
        account("1030-EUR", currency="EUR", metadata={"bank": "x, y; [z]"}),
        account("2001-ALICE", "liability", overdraft="none"),
        account("3000-EQUITY", "equity"),
        account("4000-SALES", "income"),
        account("5000-RENT", "expense"),
        *(account(code) for code in ODD_CODES),
    )
    asked = [
        entry("1010-CASH debit 5000.00", "3000-EQUITY credit 5000.00", effective_on=day("01-02")),
        entry(
            "5000-RENT debit 1000.00 @party/7", "1010-CASH credit 1000.00",
            description='Rent; "January" | 50%\n 2 lines ', effective_on=day("01-31"), value_on=day("01-05"),
            external_id="rent, 1", metadata={"a": [1, {"b": "c,d"}], "x": "ü\\"}, kind="adjusting",
        ),
        entry("1010-CASH debit 0.01", "2001-ALICE credit 0.01", effective_on=day("02-01")),
        entry(
            "1030-EUR debit 100.00", "1010-CASH credit 107.65", effective_on=day("02-02"),
            rates=[Rate("EUR", "USD", "1.0765")],
        ),
        entry(
            "1020-YEN debit 1000", "1010-CASH credit 6.50", effective_on=day("02-03"),
            rates=[Rate("USD", "JPY", "153.846")],
        ),
        *(entry(f"{code} debit 2.00", "4000-SALES credit 2.00", effective_on=day("02-04")) for code in ODD_CODES),
    ]  # fmt: skip
    for wanted in asked:
        answer = await tell(books, wanted)
        assert answer.rejection is None, answer.rejection
        last = answer.body
    assert last is not None
    answer = await tell(books, ReversalRequest(entry_id=UUID(last["id"]), effective_on=day("02-05")))
    assert answer.rejection is None, answer.rejection


def day(text: str) -> date:
    """A day of 2026 as MM-DD."""
    return date.fromisoformat(f"2026-{text}")


@pytest.fixture
async def exchange(books: Books, database: LedgerDatabase, tmp_path: Path) -> AsyncIterator[Exchange]:
    """Filled books in `main`, empty ones in `copy`."""
    create_dev_issuer(tmp_path / "key", tmp_path / "jwks.json")
    verifier = Verifier(ISSUER, AUDIENCE, tmp_path / "jwks.json")
    reader = await db.create_pool(database.dsns.reader, name="reader", max_size=4)
    auditor = await db.create_pool(database.dsns.auditor, name="auditor", max_size=4)
    app = create_app("ledger", "0", readiness=runtime.Readiness(), verifier=verifier)
    LedgerApi(books, reader, auditor).add_to(app)
    await open_ledger(books, LedgerRequest(code="copy", name="Copy"), ASKER, None)
    await fill(books)
    async with serving(app) as url:
        yield Exchange(url, books, reader, DevIssuer(tmp_path / "key", ISSUER, AUDIENCE, "development"))
    await verifier.close()
    await reader.close()
    await auditor.close()
