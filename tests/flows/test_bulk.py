"""Twenty thousand entries in one request through the gateway, from clients that do not behave."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
import pytest

from tests.flows.shop import ENTRIES, LEDGER, Shop, sale

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]

LINES = 20_000
LINES_OF_A_BROKEN_ONE = 5_000
BAD_EVERY = 500
BAD: list[tuple[bytes, str]] = [
    (orjson.dumps(sale("1.001")), "too-many-decimals"),
    (orjson.dumps(sale("-1.00")), "amount-not-positive"),
    (b"{broken", "json-invalid"),
    (orjson.dumps({"lines": 7}), "malformed"),
    (orjson.dumps(sale(lines=sale()["lines"][:1])), "too-few-lines"),
]
CHUNK_LINES = 500


def line(no: int) -> tuple[bytes, str | None]:
    """The line at an index, and the code it is rejected with."""
    if no % BAD_EVERY == BAD_EVERY - 1:
        return BAD[no // BAD_EVERY % len(BAD)]
    return orjson.dumps(sale("1.00", description=f"Sale {no}")), None


def pieces(count: int) -> Iterator[bytes]:
    """The first lines, some hundred at a time."""
    for start in range(0, count, CHUNK_LINES):
        yield b"".join(line(no)[0] + b"\n" for no in range(start, min(count, start + CHUNK_LINES)))


def head(shop: Shop, key: str) -> bytes:
    """A bulk request up to its body."""
    sent = {
        "Host": urlsplit(shop.stack.gateway).netloc,
        **shop.bearer(),
        "Content-Type": "application/x-ndjson",
        "Transfer-Encoding": "chunked",
        "Idempotency-Key": key,
        "Connection": "close",
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    return f"POST {ENTRIES}/bulk?mode=each HTTP/1.1\r\n{lines}\r\n".encode()


def unchunked(answer: bytes) -> bytes:
    """The body of a chunked answer; an answer that broke off has no last chunk."""
    _, _, rest = answer.partition(b"\r\n\r\n")
    body = b""
    while True:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            return body
        body, rest = body + rest[:length], rest[length + 2 :]


async def send_all_then_read(shop: Shop, key: str, count: int) -> list[dict[str, Any]]:
    """Takes nothing of the answer before everything is sent, as many simple clients do."""
    address = urlsplit(shop.stack.gateway)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=4_096)
    writer.write(head(shop, key))
    for piece in pieces(count):
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await writer.drain()
    writer.write(b"0\r\n\r\n")
    await writer.drain()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 200 "), answer[:1_000]
    return [orjson.loads(result) for result in unchunked(answer).splitlines()]


async def break_off(shop: Shop, key: str, count: int) -> None:
    """Sends that many lines and goes away in the middle of the body."""
    address = urlsplit(shop.stack.gateway)
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(head(shop, key))
    for piece in pieces(count):
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await writer.drain()
    writer.transport.abort()


async def read_while_sending(shop: Shop, key: str, count: int) -> list[dict[str, Any]]:
    """Takes the answer as it comes."""
    headers = {**shop.bearer(), "Content-Type": "application/x-ndjson", "Idempotency-Key": key}
    url = f"{shop.stack.gateway}{ENTRIES}/bulk?mode=each"

    async def body() -> Any:
        for piece in pieces(count):
            yield piece

    async with (
        aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=180)) as session,
        session.post(url, data=body()) as answer,
    ):
        assert answer.status == 200
        return [orjson.loads(result) async for result in answer.content]


def check(results: list[dict[str, Any]], count: int) -> list[int]:
    """Every line has its result, in order; gives the sequences of those that were posted."""
    assert [result["index"] for result in results] == list(range(count))
    expected = [line(no)[1] for no in range(count)]
    assert [result.get("code") for result in results] == expected
    counts = Counter(result["status"] for result in results)
    assert counts == {"posted": count - count // BAD_EVERY, "rejected": count // BAD_EVERY}
    return [result["sequence"] for result in results if result["status"] == "posted"]


async def test_a_client_that_reads_nothing_before_it_has_sent_all(shop: Shop) -> None:
    before = await shop.sequence()
    results = await send_all_then_read(shop, "bulk", LINES)
    sequences = check(results, LINES)
    assert sequences == list(range(before + 1, before + 1 + len(sequences)))
    assert not any(result.get("replayed") for result in results)

    again = await read_while_sending(shop, "bulk", LINES)
    assert check(again, LINES) == sequences
    assert all(result["replayed"] for result in again if result["status"] == "posted")
    assert await shop.sequence() == before + len(sequences)
    assert await shop.posted("1010-CASH") == f"{len(sequences)}.00"
    assert (await shop.send("GET", f"{LEDGER}/verify")).body["ok"]


async def test_a_client_that_breaks_off_and_sends_all_again(shop: Shop) -> None:
    before = await shop.sequence()
    await break_off(shop, "broken", LINES_OF_A_BROKEN_ONE // 2)
    results = await read_while_sending(shop, "broken", LINES_OF_A_BROKEN_ONE)
    sequences = check(results, LINES_OF_A_BROKEN_ONE)
    assert len(set(sequences)) == len(sequences)
    assert sorted(sequences) == list(range(before + 1, before + 1 + len(sequences)))
    assert await shop.posted("1010-CASH") == f"{len(sequences)}.00"
