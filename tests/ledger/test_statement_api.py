"""Financial statements over HTTP: the small company on real parts, the same bytes again, and bad questions."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson
import pytest

from libs.common import db, runtime
from libs.common.auth import DevIssuer, Verifier, create_dev_issuer
from libs.common.heard_rates import HeardRate
from libs.common.http import create_app
from libs.common.journal import EntryRequest, Heading, LedgerRequest, LineRequest
from services.ledger.api import LedgerApi
from services.ledger.commands import Books, open_ledger
from services.ledger.rates_store import store_rates
from tests.gateway.serving import serving
from tests.ledger import small_company
from tests.ledger.asking import ASKER, CLOSER, account, tell
from tests.ledger.conftest import LedgerDatabase

ISSUER, AUDIENCE = "http://issuer.test", "ledgerbus"
LEARNED = datetime(2026, 1, 2, tzinfo=UTC)
TO_2025 = {"to": "2025-12-31", "compare": "2024-12-31"}


@dataclass(frozen=True, slots=True)
class Service:
    """A running ledger with the small company's books `eu`."""

    url: str
    books: Books
    issuer: DevIssuer

    async def get(self, report: str, accept: str = "application/json", **query: str) -> tuple[int, bytes, str]:
        token = self.issuer.token("alice", "demo", roles=("viewer",))
        headers = {"Authorization": f"Bearer {token}", "Accept": accept}
        address = f"{self.url}/api/v1/ledgers/eu/reports/{report}?{urlencode(query)}"
        async with aiohttp.ClientSession() as session, session.get(address, headers=headers) as answer:
            return answer.status, await answer.read(), answer.headers["Content-Type"]

    async def told(self, report: str, **query: str) -> Any:
        status, body, _ = await self.get(report, **query)
        assert status == 200, body
        return orjson.loads(body)

    async def learn(
        self, event_id: str, day: str, rate: str, counter: str = "USD", at: datetime = LEARNED, provider: str = "ecb"
    ) -> None:
        heard = HeardRate(
            None, provider, "EUR", counter, Decimal(rate), date.fromisoformat(day), LEARNED, None, "fx", event_id
        )
        async with self.books.pool.acquire() as connection, connection.transaction():
            await store_rates(connection, [heard], at)


@pytest.fixture
async def service(books: Books, database: LedgerDatabase, tmp_path: Path) -> AsyncIterator[Service]:
    create_dev_issuer(tmp_path / "key", tmp_path / "jwks.json")
    issuer = DevIssuer(tmp_path / "key", ISSUER, AUDIENCE, "development")
    verifier = Verifier(ISSUER, AUDIENCE, tmp_path / "jwks.json")
    reader = await db.create_pool(database.dsns.reader, name="reader", max_size=2)
    auditor = await db.create_pool(database.dsns.auditor, name="auditor", max_size=1)
    app = create_app("ledger", "0", readiness=runtime.Readiness(), verifier=verifier)
    LedgerApi(books, reader, auditor).add_to(app)
    await post_small_company(books)
    async with serving(app) as url:
        found = Service(url, books, issuer)
        for number, (day, rate) in enumerate(small_company.RATES):
            await found.learn(f"fx:{number}", day, rate)
        yield found
    await verifier.close()
    await reader.close()
    await auditor.close()


async def post_small_company(books: Books) -> None:
    """The ledger `eu` and the company's entries in it."""
    await open_ledger(books, LedgerRequest(code="eu", name="EU", functional_currency="EUR"), ASKER, None)
    for code, type_, currency, more in small_company.ACCOUNTS:
        heading = more.get("heading")
        told: dict[str, Any] = {**more, "heading": Heading(number=heading[0], name=heading[1]) if heading else None}
        answer = await tell(books, account(code, type_, currency, **told), ledger="eu")
        assert answer.rejection is None, answer.rejection
    for day, kind, lines in small_company.ENTRIES:
        parts = [text.split() for text in lines]
        request = EntryRequest(
            lines=[LineRequest(code, "debit" if amount[0] == "+" else "credit", amount[1:]) for code, amount in parts],
            effective_on=date.fromisoformat(day),
            kind="closing" if kind == "closing" else "normal",
        )
        answer = await tell(books, request, ledger="eu", asker=CLOSER)
        assert answer.rejection is None, answer.rejection


def lines_of(part: Any) -> dict[str, list[str]]:
    return {line["name"]: line["amounts"] for line in part["lines"]}


async def test_the_three_statements_of_the_small_company(service: Service) -> None:
    sheet = await service.told("balance-sheet", **TO_2025)
    assert [part["currency"] for part in sheet["currencies"]] == ["EUR", "USD"]
    assert lines_of(sheet["currencies"][0])["total-assets"] == ["1167.00", "960.00"]
    assert lines_of(sheet["currencies"][0])["current-earnings"] == ["-45.00", "0.00"]
    assert [group["heading"] for group in sheet["currencies"][0]["sections"][0]["groups"]] == [
        {"number": 5, "name": "Fixed"},
        {"number": 10, "name": "Current assets"},
    ]
    result = await service.told("profit-and-loss", **TO_2025, currency="EUR")
    assert result["columns"] == [
        {"name": "current", "since": "2025-01-01", "through": "2025-12-31"},
        {"name": "compare-1", "since": "2024-01-01", "through": "2024-12-31"},
    ]
    assert [lines_of(part)["result"] for part in result["currencies"]] == [["-45.00", "60.00"]]
    cash = await service.told("cash-flow", **TO_2025)
    assert lines_of(cash["currencies"][0])["closing-cash"] == ["867.00", "660.00"]
    for answer in (sheet, result, cash):
        assert (answer["ledger"], answer["holds"], answer["translation"]) == ("eu", True, None)
        assert answer["sequence"] == sheet["sequence"] > 0


async def test_translated_to_the_functional_and_to_another_currency(service: Service) -> None:
    sheet = await service.told("balance-sheet", **TO_2025, translate_to="EUR")
    (part,) = sheet["currencies"]
    assert lines_of(part)["exchange-difference-not-yet-posted"] == ["-4.00", "10.00"]
    assert sheet["translation"]["functional_currency"] == "EUR"
    assert sheet["translation"]["rates_known_at"].startswith("2026-01-02T00:00:00")
    result = await service.told("profit-and-loss", **TO_2025, translate_to="EUR")
    assert lines_of(result["currencies"][0])["result"] == ["-59.00", "70.00"]
    cash = await service.told("cash-flow", **TO_2025, translate_to="EUR")
    assert lines_of(cash["currencies"][0])["fx-effect"] == ["-11.00", "10.00"]
    dollars = await service.told("balance-sheet", **TO_2025, translate_to="USD")
    assert lines_of(dollars["currencies"][0])["translation-reserve"] == ["197.35", "-46.80"]
    assert all(answer["holds"] for answer in (sheet, result, cash, dollars))


async def test_the_same_sequence_and_rates_have_the_same_bytes(service: Service) -> None:
    first = await service.told("balance-sheet", to="2025-12-31", translate_to="EUR")
    stated = {"sequence": str(first["sequence"]), "rates_known_at": first["translation"]["rates_known_at"]}
    question = {"to": "2025-12-31", "translate_to": "EUR", **stated}
    before = await service.get("balance-sheet", **question)
    before_csv = await service.get("balance-sheet", "text/csv", **question)
    await service.learn("fx:later", "2025-12-31", "1.10", at=datetime(2026, 1, 3, tzinfo=UTC))
    late = EntryRequest(
        lines=[LineRequest("1000-BANK", "debit", "7.00"), LineRequest("4000-SALES", "credit", "7.00")],
        effective_on=date(2025, 12, 30),
    )
    assert (await tell(service.books, late, ledger="eu")).rejection is None
    assert await service.get("balance-sheet", **question) == before
    assert await service.get("balance-sheet", "text/csv", **question) == before_csv
    now = await service.told("balance-sheet", to="2025-12-31", translate_to="EUR")
    assert lines_of(now["currencies"][0])["total-assets"] == ["1224.00"], "874 + 300 + 55 / 1.10"
    assert now["sequence"] == first["sequence"] + 1


async def test_income_and_expense_at_the_average_of_each_year(service: Service) -> None:
    question = {"from": "2024-01-01", "to": "2024-12-31", "translate_to": "USD", "average_rates": "year"}
    result = await service.told("profit-and-loss", **question)
    assert (result["translation"]["average_rates"], result["holds"]) == ("year", True)
    (sales,) = [row for group in result["currencies"][0]["sections"][0]["groups"] for row in group["rows"]]
    (step,) = sales["parts"][0][0]["rates"]
    assert step["average"]["period"] == "2024"
    of_year = [Decimal(rate) for day, rate in small_company.RATES if day.startswith("2024")]
    assert step["average"]["days"] == len(of_year)
    assert Decimal(step["rate"]) == +(sum(of_year) / len(of_year)).quantize(Decimal(step["rate"]))
    sheet = await service.told("balance-sheet", to="2024-12-31", translate_to="USD", average_rates="year")
    assert sheet["holds"]
    _, text, _ = await service.get("profit-and-loss", "text/csv", **question)
    assert f"average of {len(of_year)} days of 2024" in text.decode()
    status, body, _ = await service.get("cash-flow", to="2024-12-31", translate_to="USD", average_rates="year")
    assert (status, orjson.loads(body)["errors"][0]["pointer"]) == (422, "/average_rates"), "flows have days"

    rent = [LineRequest("5000-RENT", "debit", "7.00"), LineRequest("1000-BANK", "credit", "7.00")]
    november = EntryRequest(lines=rent, effective_on=date(2025, 11, 5))
    assert (await tell(service.books, november, ledger="eu")).rejection is None
    status, body, _ = await service.get("profit-and-loss", to="2025-12-31", translate_to="USD", average_rates="month")
    answer = orjson.loads(body)
    assert (status, answer["code"]) == (422, "rate-missing")
    facts = {name: answer["facts"][name] for name in ("base", "counter", "on", "period")}
    assert facts == {"base": "EUR", "counter": "USD", "on": "2025-11-30", "period": "2025-11"}


async def test_rates_of_one_provider(service: Service) -> None:
    question = {"to": "2025-12-31", "translate_to": "EUR"}
    await service.learn("own:1", "2025-12-31", "1.10", provider="aaa")
    everybody = await service.told("balance-sheet", **question)
    assert lines_of(everybody["currencies"][0])["total-assets"] == ["1217.00"], "55 / 1.10: aaa comes first"
    ecb = await service.told("balance-sheet", **question, rates_provider="ecb")
    assert lines_of(ecb["currencies"][0])["total-assets"] == ["1211.00"], "55 / 1.25"
    assert (ecb["translation"]["rates_provider"], everybody["translation"]["rates_provider"]) == ("ecb", None)
    for report in ("profit-and-loss", "cash-flow"):
        told = await service.told(report, **question, rates_provider="ecb")
        providers = {step["provider"] for step in steps_in(told)}
        assert providers <= {"ecb"}
    status, body, _ = await service.get("balance-sheet", **question, rates_provider="nobody")
    answer = orjson.loads(body)
    assert (status, answer["code"], answer["facts"]["providers"]) == (422, "unknown-provider", ["aaa", "ecb"])
    status, body, _ = await service.get("balance-sheet", to="2024-12-31", translate_to="EUR", rates_provider="aaa")
    answer = orjson.loads(body)
    assert (status, answer["code"], answer["facts"]["rates_provider"]) == (422, "rate-missing", "aaa")
    before = {**question, "rates_known_at": "2020-01-01T00:00:00Z", "rates_provider": "ecb"}
    status, body, _ = await service.get("balance-sheet", **before)
    assert (status, orjson.loads(body)["code"]) == (422, "unknown-provider"), "not known then"


def steps_in(told: Any) -> list[Any]:
    """Every rate that a statement names."""
    if isinstance(told, dict):
        own = told["rates"] if "rates" in told and "translated" in told else []
        return [*own, *(step for value in told.values() for step in steps_in(value))]
    return [step for value in told for step in steps_in(value)] if isinstance(told, list) else []


async def test_a_missing_rate_names_pair_and_day(service: Service) -> None:
    status, body, _ = await service.get("balance-sheet", to="2026-02-01", translate_to="EUR")
    answer = orjson.loads(body)
    assert (status, answer["code"]) == (422, "rate-missing")
    assert {name: answer["facts"][name] for name in ("base", "counter", "on")} == {
        "base": "USD", "counter": "EUR", "on": "2026-02-01"
    }  # fmt: skip
    status, body, _ = await service.get(
        "balance-sheet", to="2025-12-31", translate_to="EUR", rates_known_at="2020-01-01T00:00:00Z"
    )
    assert (status, orjson.loads(body)["code"]) == (422, "rate-missing"), "not known then"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"to": "2024-01-01", "from": "2024-02-01"}, "malformed"),
        ({"compare": "2024"}, "malformed"),
        ({"compare": "2024-02-30"}, "malformed"),
        ({"compare": "2024-02-01..2024-01-01"}, "malformed"),
        ({"to": "0001-01-01"}, "malformed"),
        ({"level": "0"}, "malformed"),
        ({"currency": "EUR", "translate_to": "EUR"}, "malformed"),
        ({"rates_known_at": "2026-01-01T00:00:00", "translate_to": "EUR"}, "malformed"),
        ({"translate_to": "XYZ"}, "unknown-currency"),
        ({"rates_provider": "ecb"}, "malformed"),
        ({"rates_provider": "", "translate_to": "USD"}, "malformed"),
        ({"rates_provider": "ecb", "translate_to": "XYZ"}, "unknown-currency"),
        ({"currency": "eur"}, "unknown-currency"),
        ({"sequence": "999999"}, "sequence-not-reached"),
    ],
)
@pytest.mark.parametrize("report", ["profit-and-loss", "cash-flow"])
async def test_bad_questions(service: Service, report: str, query: dict[str, str], code: str) -> None:
    status, body, _ = await service.get(report, **query)
    assert (status, orjson.loads(body)["code"]) == (422, code), body


@pytest.mark.parametrize(
    "query", [{"average_rates": "year"}, {"average_rates": "year", "translate_to": "EUR"},
              {"average_rates": "week", "translate_to": "USD"}]
)  # fmt: skip
@pytest.mark.parametrize("report", ["profit-and-loss", "balance-sheet"])
async def test_averages_are_for_a_presentation_currency(service: Service, report: str, query: dict[str, str]) -> None:
    status, body, _ = await service.get(report, **query)
    answer = orjson.loads(body)
    assert (status, answer["code"]) == (422, "malformed"), body
    assert "average_rates" in body.decode()


async def test_a_balance_sheet_compares_days(service: Service) -> None:
    status, body, _ = await service.get("balance-sheet", compare="2024-01-01..2024-12-31")
    assert (status, orjson.loads(body)["code"]) == (422, "malformed")


async def test_csv_on_accept(service: Service) -> None:
    status, body, kind = await service.get("cash-flow", "text/csv", **TO_2025)
    assert (status, kind) == (200, "text/csv; charset=utf-8; header=present")
    lines = body.decode().split("\r\n")
    assert lines[0].endswith("level,current,compare-1")
    assert "line,EUR,,,,,closing-cash,,867.00,660.00" in lines
