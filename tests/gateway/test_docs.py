"""One document for the whole platform, and the pages that show it."""

import aiohttp
import pytest

from libs.common.errors import Problem
from libs.common.problems import problem_document
from services.gateway.errors_page import CODES
from services.gateway.openapi import merge
from services.gateway.routes import SHORT_HEALTH, Passage
from tests.gateway.conftest import Gateways
from tests.gateway.serving import free_port

ENTRIES = "/api/v1/ledgers/{ledger}/entries"


async def test_the_document_shows_what_the_table_lets_through(gateway: str, client: aiohttp.ClientSession) -> None:
    async with client.get(f"{gateway}/api/openapi.json") as answer:
        document = await answer.json()
    assert list(document["paths"]) == [ENTRIES, *SHORT_HEALTH], "a service's inner routes stay hidden"
    post = document["paths"][ENTRIES]["post"]
    assert post["security"] == [{"bearer": ["ledger:post"]}]
    assert post["tags"] == ["ledger"]
    assert post["requestBody"]["content"]["application/json"]["example"]["lines"][0]["amount"] == "1000.00"
    assert post["responses"]["default"] == {"$ref": "#/components/responses/Problem"}
    assert document["components"]["schemas"].keys() == {"Entry", "Problem"}
    assert document["x-upstreams-missing"] == []


async def test_a_service_that_is_away_is_named(gateways: Gateways, client: aiohttp.ClientSession) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    async with gateways([dead]) as url, client.get(f"{url}/api/openapi.json") as answer:
        document = await answer.json()
    assert (answer.status, list(document["paths"]), document["x-upstreams-missing"]) == (
        200,
        [*SHORT_HEALTH],
        ["ledger"],
    )


def test_schemas_that_differ_under_one_name_are_told_apart() -> None:
    def part(path: str, kind: str) -> dict[str, object]:
        entry = {"responses": {"200": {"content": {"x": {"schema": {"$ref": "#/components/schemas/Line"}}}}}}
        schemas = {"Line": {"type": kind}, "Same": {"type": "null"}, "Outer": {"$ref": "#/components/schemas/Line"}}
        return {"paths": {path: {"get": entry}}, "components": {"schemas": schemas}}

    passages = [Passage("GET", "/a", "alpha", "a:read"), Passage("GET", "/b", "beta", "b:read")]
    document = merge("1", passages, {"alpha": part("/a", "object"), "beta": part("/b", "array")}, [])
    schemas = document["components"]["schemas"]
    assert schemas["Line"] == {"type": "object"}
    assert schemas["BetaLine"] == {"type": "array"}
    assert "BetaSame" not in schemas
    assert schemas["BetaOuter"] == {"$ref": "#/components/schemas/BetaLine"}
    shown = document["paths"]["/b"]["get"]["responses"]["200"]["content"]["x"]["schema"]
    assert shown == {"$ref": "#/components/schemas/BetaLine"}


@pytest.mark.parametrize(("path", "part"), [("/docs", "swagger-ui"), ("/redoc", "redoc"), ("/docs/errors", "token-ex")])
async def test_the_pages_are_there(gateway: str, client: aiohttp.ClientSession, path: str, part: str) -> None:
    async with client.get(gateway + path) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/html"
        assert "Content-Security-Policy" in answer.headers
        assert part in await answer.text()


@pytest.mark.parametrize("code", [code for code, _, _ in CODES])
async def test_a_problems_type_points_at_its_explanation(
    gateway: str, client: aiohttp.ClientSession, code: str
) -> None:
    link = problem_document(Problem(400, code, "x"), "", "").decode().split('"type":"')[1].split('"')[0]
    async with client.get(gateway + link) as answer:
        assert f'id="{link.partition("#")[2]}"' in await answer.text()


async def test_metrics_count_by_route_template(
    gateway: str, client: aiohttp.ClientSession, accountant: dict[str, str]
) -> None:
    async with client.get(f"{gateway}/api/v1/ledgers/main/entries/7", headers=accountant) as answer:
        assert answer.status == 200
    async with client.get(f"{gateway}/metrics") as answer:
        text = await answer.text()
    route = 'route="/api/v1/ledgers/{ledger}/entries/{id}"'
    assert f'http_requests_total{{method="GET",{route},service="gateway",status="200"}}' in text
    assert 'gateway_upstream_requests_total{outcome="answered",upstream="ledger"}' in text
