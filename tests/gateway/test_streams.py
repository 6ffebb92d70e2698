"""Streams flow both ways at once, in constant memory, and end on both sides when one side leaves."""

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256

import aiohttp
import psutil

from tests.gateway.conftest import Gateways
from tests.gateway.echo import PIECE, EchoService
from tests.gateway.serving import serving

LEDGER = "/api/v1/ledgers/main"
PIECES = 800
"""Times 64 KiB: 50 MiB."""
GROWTH_MAX = 25 * 1024 * 1024
"""Client, gateway and service of these tests are one process, so this is what all three together may keep."""


def resident() -> int:
    return int(psutil.Process().memory_info().rss)


async def pieces() -> AsyncIterator[bytes]:
    for _ in range(PIECES):
        yield PIECE


async def test_50_mib_in_without_keeping_them(
    gateway: str, client: aiohttp.ClientSession, accountant: dict[str, str]
) -> None:
    before = resident()
    async with client.post(f"{gateway}{LEDGER}/entries/bulk?count=1", headers=accountant, data=pieces()) as answer:
        assert answer.status == 200
        told = await answer.json()
    growth = resident() - before
    assert told == {"bytes": PIECES * len(PIECE), "sha256": sha256(PIECE * PIECES).hexdigest()}
    assert growth < GROWTH_MAX


async def test_50_mib_out_to_a_slow_reader_without_keeping_them(
    gateway: str, client: aiohttp.ClientSession, accountant: dict[str, str]
) -> None:
    before = resident()
    taken, most = 0, 0
    url = f"{gateway}{LEDGER}/log?pieces={PIECES}"
    async with client.get(url, headers=accountant) as answer:
        async for piece in answer.content.iter_any():
            taken += len(piece)
            if taken % 7 == 0:
                await asyncio.sleep(0.001)
                most = max(most, resident() - before)
    assert taken == PIECES * len(PIECE)
    assert most < GROWTH_MAX


async def test_an_answer_line_comes_before_the_next_line_is_sent(
    gateway: str, client: aiohttp.ClientSession, accountant: dict[str, str]
) -> None:
    lines: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def body() -> AsyncIterator[bytes]:
        while (line := await lines.get()) is not None:
            yield line

    lines.put_nowait(b"12345\n")
    async with client.post(f"{gateway}{LEDGER}/entries/bulk", headers=accountant, data=body()) as answer:
        assert await answer.content.readline() == b"got 6\n"
        lines.put_nowait(b"123\n")
        assert await answer.content.readline() == b"got 4\n"
        lines.put_nowait(None)
        assert await answer.content.read() == b""
        assert answer.headers["Content-Type"] == "application/x-ndjson"


async def test_a_client_that_leaves_ends_the_export_at_the_service(
    gateway: str, client: aiohttp.ClientSession, accountant: dict[str, str], echo: EchoService
) -> None:
    answer = await client.get(f"{gateway}{LEDGER}/log", headers=accountant)
    await answer.content.readexactly(1000)
    answer.close()
    await asyncio.wait_for(echo.gone.wait(), 10)


async def test_a_client_that_leaves_in_its_body_gives_its_place_back(
    gateways: Gateways, client: aiohttp.ClientSession, accountant: dict[str, str], echo: EchoService
) -> None:
    async with serving(echo.app) as upstream, gateways([upstream], streams_max=1) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            f"POST {LEDGER}/entries/bulk?count=1 HTTP/1.1\r\nhost: x\r\n"
            f"authorization: {accountant['Authorization']}\r\n"
            "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n".encode()
        )
        await asyncio.wait_for(echo.importing.wait(), 5)
        export = f"{url}{LEDGER}/log?pieces=1"
        async with client.get(export, headers=accountant) as answer:
            assert (answer.status, (await answer.json())["code"]) == (503, "upstream-overloaded")
        writer.close()
        for _ in range(200):
            async with client.get(export, headers=accountant) as answer:
                if answer.status == 200:
                    return
            await asyncio.sleep(0.02)
        raise AssertionError("the place was not given back")


async def test_a_stream_needs_its_scope_before_its_body(
    gateway: str, client: aiohttp.ClientSession, echo: EchoService
) -> None:
    async with client.post(f"{gateway}{LEDGER}/entries/bulk?count=1", data=b"{}\n") as answer:
        assert answer.status == 401
