"""A service that is away, slow or broken: the client is told the truth, quickly, and whether to ask again."""

import asyncio
from collections.abc import Callable
from io import BytesIO
from typing import Any

import aiohttp
import pytest

from tests.gateway.conftest import Gateways
from tests.gateway.echo import EchoService
from tests.gateway.serving import free_port, listening, serving, talk_raw

ENTRIES = "/api/v1/ledgers/main/entries"
KEY = {"Idempotency-Key": "order/7"}
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"


class Flaky:
    """A raw server that hangs up without a word on its first `failures` connections, and keeps what it was sent."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.heads: list[bytes] = []

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET /health"):
            return
        self.heads.append(head)
        if len(self.heads) > self.failures:
            writer.write(OK)
            await writer.drain()


async def problem(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    assert answer.content_type == "application/problem+json"
    told: dict[str, Any] = await answer.json()
    assert told["status"] == answer.status
    assert told["request_id"] == answer.headers["X-Request-Id"]
    return told


async def test_a_service_that_is_away_is_502_and_retryable(
    gateways: Gateways, client: aiohttp.ClientSession, accountant: dict[str, str]
) -> None:
    async with (
        gateways([f"http://127.0.0.1:{free_port()}"]) as url,
        client.post(url + ENTRIES, headers=accountant | KEY, data=b"{}") as answer,
    ):
        told = await problem(answer)
    assert (told["status"], told["code"], told["retryable"]) == (502, "upstream-unreachable", True)
    assert told["facts"] == {"upstream": "ledger"}


async def test_the_circuit_opens_and_closes_again(
    gateways: Gateways, client: aiohttp.ClientSession, accountant: dict[str, str]
) -> None:
    flaky = Flaky(failures=6)
    async with listening(flaky.talk) as upstream, gateways([upstream]) as url:
        statuses = []
        for _ in range(4):
            async with client.post(url + ENTRIES, headers=accountant | KEY, data=b"{}") as answer:
                statuses.append(answer.status)
        assert statuses == [502, 502, 503, 503]
        assert len(flaky.heads) == 6
        assert answer.headers["Retry-After"] == "1"
        await asyncio.sleep(0.6)
        async with client.post(url + ENTRIES, headers=accountant | KEY, data=b"{}") as answer:
            assert answer.status == 200
        async with client.get(url + ENTRIES, headers=accountant) as answer:
            assert answer.status == 200


@pytest.mark.parametrize(("method", "headers"), [("GET", {}), ("POST", KEY)])
async def test_what_is_safe_is_asked_again(
    gateways: Gateways, client: aiohttp.ClientSession, accountant: dict[str, str], method: str, headers: dict[str, str]
) -> None:
    flaky = Flaky(failures=2)
    async with (
        listening(flaky.talk) as upstream,
        gateways([upstream]) as url,
        client.request(method, url + ENTRIES, headers=accountant | headers) as answer,
    ):
        assert answer.status == 200
    assert len(flaky.heads) == 3
    marked = [b"idempotency-retry: true" in head for head in flaky.heads]
    assert marked == ([False, True, True] if headers else [False, False, False])


async def test_a_post_without_a_key_is_asked_once(
    gateways: Gateways, client: aiohttp.ClientSession, accountant: dict[str, str]
) -> None:
    flaky = Flaky(failures=2)
    async with (
        listening(flaky.talk) as upstream,
        gateways([upstream]) as url,
        client.post(url + ENTRIES, headers=accountant, data=b"{}") as answer,
    ):
        told = await problem(answer)
    assert (told["code"], told["retryable"]) == ("upstream-unreachable", False)
    assert "not known" in told["detail"]
    assert len(flaky.heads) == 1


async def test_a_stream_is_asked_once(
    gateways: Gateways, client: aiohttp.ClientSession, accountant: dict[str, str]
) -> None:
    flaky = Flaky(failures=2)
    async with (
        listening(flaky.talk) as upstream,
        gateways([upstream]) as url,
        client.post(f"{url}{ENTRIES}/bulk", headers=accountant | KEY, data=b"{}\n") as answer,
    ):
        told = await problem(answer)
    assert (told["code"], told["retryable"]) == ("upstream-unreachable", False)
    assert len(flaky.heads) == 1


@pytest.mark.parametrize(("headers", "retryable"), [({}, False), (KEY, True)])
async def test_a_slow_service_is_504_by_the_clients_deadline(
    gateway: str,
    client: aiohttp.ClientSession,
    accountant: dict[str, str],
    headers: dict[str, str],
    retryable: bool,
) -> None:
    sent = accountant | headers | {"X-Request-Deadline-Ms": "300"}
    async with client.post(f"{gateway}{ENTRIES}?wait_s=20", headers=sent, data=b"{}") as answer:
        told = await problem(answer)
    assert (told["status"], told["code"], told["retryable"]) == (504, "upstream-timeout", retryable)


async def test_a_deadline_that_is_no_number_is_refused(
    gateway: str, client: aiohttp.ClientSession, accountant: dict[str, str]
) -> None:
    async with client.get(gateway + ENTRIES, headers=accountant | {"X-Request-Deadline-Ms": "soon"}) as answer:
        assert (await problem(answer))["code"] == "header-invalid"


@pytest.mark.parametrize("promised", ["content-length: 1000000", "transfer-encoding: chunked"])
async def test_an_answer_that_breaks_off_ends_the_clients_connection(
    gateways: Gateways, client: aiohttp.ClientSession, accountant: dict[str, str], promised: str
) -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\n{promised}\r\n\r\n400\r\n".encode() + b"x" * 1024)
        await writer.drain()

    async with listening(half) as upstream, gateways([upstream]) as url:
        export = f"{url}/api/v1/ledgers/main/log"
        with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError)):
            async with client.get(export, headers=accountant) as answer:
                await answer.read()


async def test_a_short_answer_that_breaks_off_is_asked_again_and_never_half(
    gateways: Gateways, client: aiohttp.ClientSession, accountant: dict[str, str]
) -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
        await writer.drain()

    async with (
        listening(half) as upstream,
        gateways([upstream]) as url,
        client.get(url + ENTRIES, headers=accountant) as answer,
    ):
        assert (await problem(answer))["code"] == "upstream-unreachable"


async def test_an_answer_that_is_no_http_is_502(
    gateways: Gateways, client: aiohttp.ClientSession, accountant: dict[str, str]
) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-what\r\n\r\n")
        await writer.drain()

    async with (
        listening(babble) as upstream,
        gateways([upstream]) as url,
        client.get(url + ENTRIES, headers=accountant) as answer,
    ):
        assert (await problem(answer))["status"] == 502


async def test_a_service_holds_so_many_requests_and_no_more(
    gateways: Gateways, client: aiohttp.ClientSession, accountant: dict[str, str], echo: EchoService
) -> None:
    async with serving(echo.app) as upstream, gateways([upstream], requests_max=3) as url:

        async def one() -> int:
            async with client.get(f"{url}{ENTRIES}?hold=1", headers=accountant) as answer:
                if answer.status == 503:
                    assert (await problem(answer))["code"] == "upstream-overloaded"
                    assert answer.headers["Retry-After"] == "1"
                return answer.status

        asking = [asyncio.create_task(one()) for _ in range(5)]
        refused, held = await asyncio.wait(asking, timeout=0.5)
        assert [task.result() for task in refused] == [503, 503]
        echo.release.set()
        assert [await task for task in held] == [200, 200, 200]
    assert echo.most_at_once == 3


async def test_requests_go_to_the_instance_that_lives(
    gateways: Gateways, client: aiohttp.ClientSession, accountant: dict[str, str], echo: EchoService
) -> None:
    async with serving(echo.app) as upstream, gateways([f"http://127.0.0.1:{free_port()}", upstream]) as url:
        statuses: list[int] = []
        for number in range(30):
            async with client.get(f"{url}/api/v1/ledgers/l{number}/entries", headers=accountant) as answer:
                statuses.append(answer.status)
        assert statuses.count(200) >= 28


async def test_a_long_body_is_refused_while_it_comes(
    gateway: str, accountant: dict[str, str], echo: EchoService
) -> None:
    host, _, port = gateway.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST {ENTRIES} HTTP/1.1\r\nhost: x\r\nauthorization: {accountant['Authorization']}\r\n"
        "transfer-encoding: chunked\r\n\r\n".encode()
    )
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    for _ in range(20):
        writer.write(chunk)
        await writer.drain()
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    assert head.startswith(b"HTTP/1.1 413")
    for _ in range(300):
        writer.write(chunk)
        await writer.drain()
    writer.write(b"0\r\n\r\n")
    rest = await asyncio.wait_for(reader.read(), 5)
    assert b'"code":"body-too-large"' in rest
    writer.close()
    assert echo.requests == 0


async def test_a_long_body_is_refused_by_its_stated_length(
    gateway: str, client: aiohttp.ClientSession, accountant: dict[str, str], echo: EchoService
) -> None:
    async with client.post(gateway + ENTRIES, headers=accountant, data=BytesIO(b"x" * 20_000_000)) as answer:
        told = await problem(answer)
    assert (told["status"], told["facts"]) == (413, {"bytes_max": 1024 * 1024})
    assert echo.requests == 0


async def test_a_client_that_sends_too_slowly_is_told(
    gateways: Gateways, accountant: dict[str, str], echo: EchoService
) -> None:
    request = (
        f"POST {ENTRIES} HTTP/1.1\r\nhost: x\r\nauthorization: {accountant['Authorization']}\r\n"
        "content-length: 100\r\n\r\n{"
    )
    async with serving(echo.app) as upstream, gateways([upstream], body_s=0.2) as url:
        answer = await talk_raw(url, request.encode(), seconds=10)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"request-timeout" in answer
    assert echo.requests == 0


async def test_health_tells_which_service_is_away(
    gateways: Gateways, client: aiohttp.ClientSession, echo: EchoService
) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    async with gateways([dead]) as url, client.get(f"{url}/health/ready") as answer:
        assert answer.status == 503
        checks = (await answer.json())["checks"]
    assert checks == {"ledger": {"ready": False, "instances": {dead: "no connection"}}}
    async with (
        serving(echo.app) as upstream,
        gateways([upstream]) as url,
        client.get(f"{url}/health/ready") as answer,
    ):
        assert answer.status == 200
        async with client.get(f"{url}/health/live") as answer:
            assert answer.status == 200
        async with client.get(f"{url}/version") as answer:
            assert await answer.json() == {"service": "gateway", "version": "1.2.3", "api": "v1"}


async def test_rejected_tokens_never_reach_the_service(
    gateway: str, client: aiohttp.ClientSession, bearer: Callable[..., dict[str, str]], echo: EchoService
) -> None:
    for headers, status, code in (
        ({}, 401, "token-missing"),
        ({"Authorization": "Basic YTpi"}, 401, "token-missing"),
        ({"Authorization": "Bearer nonsense"}, 401, "token-malformed"),
        (bearer("viewer"), 403, "scope-missing"),
        (bearer("operator", organization=None), 403, "scope-missing"),
    ):
        async with client.post(gateway + ENTRIES, headers=headers, data=b"{}") as answer:
            told = await problem(answer)
            assert (told["status"], told["code"]) == (status, code)
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert echo.requests == 0
