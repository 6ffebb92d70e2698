"""What reaches the service is what was asked, and what comes back is what it said."""

import asyncio
from typing import Any

import aiohttp
import pytest

from tests.gateway.echo import EchoService
from tests.gateway.serving import talk_raw

ENTRIES = "/api/v1/ledgers/main/entries"


async def asked(answer: aiohttp.ClientResponse) -> tuple[dict[str, Any], dict[str, str]]:
    said = await answer.json()
    return said, dict(said["headers"])


async def test_body_path_and_query_arrive_unchanged(
    gateway: str, client: aiohttp.ClientSession, accountant: dict[str, str]
) -> None:
    async with client.post(f"{gateway}{ENTRIES}?dry_run=true", headers=accountant, data=b'{"a": 1}') as answer:
        said, _ = await asked(answer)
    assert answer.status == 201
    assert (said["method"], said["raw_path"]) == ("POST", ENTRIES)
    assert said["query"] == "dry_run=true"
    assert said["body"] == '{"a": 1}'


async def test_percent_signs_stay_as_the_client_wrote_them(gateway: str, accountant: dict[str, str]) -> None:
    path = b"/api/v1/ledgers/main/accounts/a%2Db%20c?q=%C3%A9%26x"
    request = b"GET " + path + b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: "
    answer = await talk_raw(gateway, request + accountant["Authorization"].encode() + b"\r\n\r\n")
    assert b'"raw_path":"/api/v1/ledgers/main/accounts/a%2Db%20c"' in answer
    assert b'"query":"q=%C3%A9%26x"' in answer


async def test_what_the_service_needs_is_passed_on(
    gateway: str, client: aiohttp.ClientSession, accountant: dict[str, str]
) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    sent = {
        **accountant,
        "Idempotency-Key": "order/7",
        "X-Request-Id": "req-1",
        "traceparent": f"00-{trace_id}-00f067aa0ba902b7-01",
        "X-Request-Deadline-Ms": "5000",
    }
    async with client.post(gateway + ENTRIES, headers=sent, data=b"{}") as answer:
        _, headers = await asked(answer)
    assert headers["idempotency-key"] == "order/7"
    assert headers["authorization"] == accountant["Authorization"]
    assert headers["x-request-id"] == answer.headers["X-Request-Id"] == "req-1"
    assert headers["traceparent"].split("-")[1] == answer.headers["traceparent"].split("-")[1] == trace_id
    assert 0 < int(headers["x-request-deadline-ms"]) <= 5000
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert "idempotency-retry" not in headers


async def test_without_a_deadline_the_routes_own_is_passed_on(
    gateway: str, client: aiohttp.ClientSession, accountant: dict[str, str]
) -> None:
    async with client.get(gateway + ENTRIES, headers=accountant) as answer:
        _, headers = await asked(answer)
    assert 9_000 < int(headers["x-request-deadline-ms"]) <= 10_000


async def test_headers_of_one_connection_stay_on_it(gateway: str, accountant: dict[str, str]) -> None:
    request = (
        f"POST {ENTRIES} HTTP/1.1\r\nhost: x\r\nauthorization: {accountant['Authorization']}\r\n"
        "connection: close, x-inner\r\nx-inner: 1\r\nte: trailers\r\nproxy-authorization: Basic x\r\n"
        "keep-alive: timeout=5\r\ncookie: a=b\r\nx-forwarded-for: 6.6.6.6\r\nx-kept: 1\r\ncontent-length: 2\r\n\r\n{}"
    )
    answer = (await talk_raw(gateway, request.encode())).lower()
    assert b'["x-kept","1"]' in answer
    for dropped in (b"x-inner", b'["te"', b"proxy-authorization", b"keep-alive", b"cookie", b"6.6.6.6"):
        assert dropped not in answer, dropped


async def test_the_answers_connection_headers_stay_behind(
    gateway: str, client: aiohttp.ClientSession, accountant: dict[str, str]
) -> None:
    async with client.post(gateway + ENTRIES, headers=accountant, data=b"{}") as answer:
        assert answer.headers["Location"] == "/there"
        assert "X-Private" not in answer.headers
        assert "Set-Cookie" not in answer.headers
        assert len(answer.headers.getall("X-Request-Id")) == 1


@pytest.mark.parametrize("status", [200, 204, 304, 404, 409, 422, 500, 503])
async def test_the_services_own_status_is_passed_back(
    gateway: str, client: aiohttp.ClientSession, accountant: dict[str, str], status: int
) -> None:
    async with client.get(f"{gateway}{ENTRIES}?status={status}", headers=accountant) as answer:
        assert answer.status == status


async def test_a_long_answer_comes_whole(
    gateway: str, client: aiohttp.ClientSession, accountant: dict[str, str]
) -> None:
    async with client.get(f"{gateway}{ENTRIES}?long=3000000", headers=accountant) as answer:
        assert await answer.read() == b"y" * 3_000_000


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api/v2/ledgers", "/api/v1/ledgers//accounts", "/nothing"])
async def test_an_unknown_path_is_404(
    gateway: str, client: aiohttp.ClientSession, accountant: dict[str, str], echo: EchoService, path: str
) -> None:
    async with client.get(gateway + path, headers=accountant) as answer:
        assert (answer.status, (await answer.json())["code"]) == (404, "route-unknown")
        assert answer.content_type == "application/problem+json"
    assert echo.requests == 0


@pytest.mark.parametrize("path", ["/api/v1/ledgers/..", "/api/v1/ledgers/%2e%2e", "/api/v1/ledgers/main/accounts/."])
async def test_dot_segments_lead_nowhere(
    gateway: str, accountant: dict[str, str], echo: EchoService, path: str
) -> None:
    request = (
        f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: {accountant['Authorization']}\r\n\r\n"
    )
    answer = await talk_raw(gateway, request.encode())
    assert answer.startswith(b"HTTP/1.1 404")
    assert echo.requests == 0


async def test_a_wrong_method_lists_the_right_ones(
    gateway: str, client: aiohttp.ClientSession, accountant: dict[str, str]
) -> None:
    async with client.delete(gateway + ENTRIES, headers=accountant) as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, POST")


async def test_broken_http_is_refused(gateway: str) -> None:
    assert (await talk_raw(gateway, b"NOT HTTP AT ALL\r\n\r\n")).startswith(b"HTTP/1.1 400")


async def test_too_many_header_bytes_are_refused(gateway: str, client: aiohttp.ClientSession) -> None:
    headers = {f"x-filler-{number}": "a" * 4000 for number in range(10)}
    async with client.get(gateway + ENTRIES, headers=headers) as answer:
        assert (answer.status, (await answer.json())["code"]) == (431, "headers-too-large")


async def test_a_key_sent_twice_is_refused(gateway: str, accountant: dict[str, str], echo: EchoService) -> None:
    request = (
        f"POST {ENTRIES} HTTP/1.1\r\nhost: x\r\nauthorization: {accountant['Authorization']}\r\nconnection: close\r\n"
        "idempotency-key: a\r\nidempotency-key: b\r\ncontent-length: 2\r\n\r\n{}"
    )
    answer = await talk_raw(gateway, request.encode())
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"idempotency-key-invalid" in answer
    assert echo.requests == 0


async def test_many_at_once(gateway: str, client: aiohttp.ClientSession, accountant: dict[str, str]) -> None:
    async def one(number: int) -> None:
        async with client.post(gateway + ENTRIES, headers=accountant, data=str(number)) as answer:
            assert (await answer.json())["body"] == str(number)

    await asyncio.gather(*(one(number) for number in range(100)))
