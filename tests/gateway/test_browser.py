"""Security headers on every answer, CORS for the listed origins only."""

import aiohttp
import pytest

from tests.gateway.conftest import Gateways
from tests.gateway.echo import EchoService
from tests.gateway.serving import serving

ENTRIES = "/api/v1/ledgers/main/entries"
GOOD, EVIL = "https://console.example", "https://evil.example"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}


@pytest.mark.parametrize("path", [ENTRIES, "/nothing", "/health/live", "/docs", "/api/openapi.json"])
async def test_every_answer_has_the_security_headers(gateway: str, client: aiohttp.ClientSession, path: str) -> None:
    async with client.get(gateway + path) as answer:
        for name in ("X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy", "Strict-Transport-Security"):
            assert name in answer.headers, name


async def test_a_listed_origin_may_ask_and_read_even_errors(
    gateways: Gateways, client: aiohttp.ClientSession, accountant: dict[str, str], echo: EchoService
) -> None:
    async with serving(echo.app) as upstream, gateways([upstream], origins=[GOOD]) as url:
        async with client.options(url + ENTRIES, headers={"Origin": GOOD} | PREFLIGHT) as answer:
            assert answer.status == 204
            assert answer.headers["Access-Control-Allow-Origin"] == GOOD
            assert "idempotency-key" in answer.headers["Access-Control-Allow-Headers"]
        for headers, status in ((accountant, 201), ({}, 401)):
            async with client.post(url + ENTRIES, headers=headers | {"Origin": GOOD}, data=b"{}") as answer:
                assert answer.status == status
                assert answer.headers["Access-Control-Allow-Origin"] == GOOD
                assert answer.headers["Vary"] == "Origin"
                assert "x-request-id" in answer.headers["Access-Control-Expose-Headers"]


async def test_another_origin_gets_no_permission(
    gateways: Gateways, client: aiohttp.ClientSession, accountant: dict[str, str], echo: EchoService
) -> None:
    async with serving(echo.app) as upstream, gateways([upstream], origins=[GOOD]) as url:
        async with client.options(url + ENTRIES, headers={"Origin": EVIL} | PREFLIGHT) as answer:
            assert answer.status == 403
            assert "Access-Control-Allow-Origin" not in answer.headers
        async with client.get(url + ENTRIES, headers=accountant | {"Origin": EVIL}) as answer:
            assert "Access-Control-Allow-Origin" not in answer.headers
            assert answer.headers["Vary"] == "Origin"
