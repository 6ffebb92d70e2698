"""A lean HTTP/1.1 load generator: a number of connections, each asks again as soon as it is answered (closed loop).

Written on asyncio protocols because the generator shares the machine with what it measures: 30 µs a request instead of
the 150 µs of a client library.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit


@dataclass(slots=True)
class Load:
    """What came back: latencies in seconds, and a count of each status."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)

    @property
    def per_s(self) -> float:
        """Answers with 2xx a second."""
        good = sum(count for status, count in self.statuses.items() if 200 <= status < 300)
        return good / self.seconds

    def percentile_ms(self, share: float) -> float:
        """The latency in ms that this share of the answers stays below."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


class _Connection(asyncio.Protocol):
    def __init__(self, next_request: Callable[[], bytes], load: Load, until: float) -> None:
        self._next_request = next_request
        self._load = load
        self._until = until
        self._buffer = b""
        self._sent = 0.0
        self._transport: asyncio.Transport | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods alone
        self._send()

    def _send(self) -> None:
        assert self._transport is not None
        self._sent = time.perf_counter()
        if self._sent >= self._until:
            self._transport.close()
            return
        self._transport.write(self._next_request())

    def data_received(self, received: bytes) -> None:
        self._buffer += received
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        at = head.find(b"content-length:")
        assert at >= 0, "the load generator reads answers with a content-length only"
        length = int(head[at + 15 :].split(b"\r\n", 1)[0])
        if len(self._buffer) < end + 4 + length:
            return
        self._load.latencies.append(time.perf_counter() - self._sent)
        status = int(head[9:12])
        self._load.statuses[status] = self._load.statuses.get(status, 0) + 1
        self._buffer = b""
        self._send()

    def connection_lost(self, _: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


async def closed_loop(url: str, connections: int, seconds: float, next_request: Callable[[], bytes]) -> Load:
    """Runs `connections` clients against a service for some seconds; `next_request` gives whole HTTP requests."""
    address = urlsplit(url)
    assert address.hostname is not None
    assert address.port is not None
    host, port = address.hostname, address.port
    load, started = Load(), time.perf_counter()
    loop = asyncio.get_running_loop()
    clients = []
    for _ in range(connections):
        _, client = await loop.create_connection(lambda: _Connection(next_request, load, started + seconds), host, port)
        clients.append(client)
    await asyncio.gather(*(client.ended for client in clients))
    load.seconds = time.perf_counter() - started
    return load


def post_request(host: str, path: str, token: str, body: bytes, key: str) -> bytes:
    """A POST with a JSON body, as bytes."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nIdempotency-Key: {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
