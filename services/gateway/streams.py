"""Streams: a body of any length to the service and its answer back, both at once, in constant memory.

Nobody buffers: the client's body is read when the service takes it, the service's answer when the client takes it. The
clock starts when the client's body has ended: until then a service may rightly be silent. A client that goes away ends
its stream at the service; a service that breaks off in the middle of its answer ends the client's connection.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import aiohttp
import yarl
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Send

from libs.common.errors import Problem

IDLE_S: Final = 60.0


class Intake:
    """The client's body, piece by piece, and what became of it. `limit` starts running when the body has ended."""

    def __init__(self, receive: Receive, limit: asyncio.Timeout, first_byte_s: float) -> None:
        self.broken: Problem | ClientDisconnect | None = None
        self.ended = asyncio.Event()
        self._receive = receive
        self._limit = limit
        self._first_byte_s = first_byte_s

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body's pieces. What breaks it is kept in `broken`, since the HTTP client wraps it in its own error."""
        try:
            more = True
            while more:
                message = await self._receive()
                if message["type"] != "http.request":
                    raise ClientDisconnect
                more = message.get("more_body", False)
                piece = message.get("body", b"")
                if piece:
                    yield piece
        except (Problem, ClientDisconnect) as error:
            self.broken = error
            raise
        self.end()

    def end(self) -> None:
        """The body has ended, or there is none: from now on the service has to say something."""
        self.ended.set()
        start_clock(self._limit, self._first_byte_s)

    async def client_gone(self) -> None:
        """Return when the client has closed its connection after its body's end."""
        await self.ended.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass


def start_clock(limit: asyncio.Timeout, seconds: float) -> None:
    """Let the time limit end that many seconds from now."""
    limit.reschedule(asyncio.get_running_loop().time() + seconds)


async def ask_stream(
    session: aiohttp.ClientSession, method: str, url: str, headers: list[tuple[str, str]], intake: Intake
) -> aiohttp.ClientResponse:
    """The answer's beginning, while the body may still be on its way."""
    if method == "GET":
        intake.end()
    return await session.request(
        method,
        yarl.URL(url, encoded=True),
        headers=headers,
        data=None if method == "GET" else intake.pieces(),
        allow_redirects=False,
    )


async def copy_while_there(answer: aiohttp.ClientResponse, send: Send, limit: asyncio.Timeout, intake: Intake) -> None:
    """Copy the answer's body to the client; stop at once when the client goes away."""
    copying = asyncio.create_task(copy(answer, send, limit, intake))
    gone = asyncio.create_task(intake.client_gone())
    try:
        await asyncio.wait((copying, gone), return_when=asyncio.FIRST_COMPLETED)
        if not copying.done():
            gone.result()
            raise ClientDisconnect
        copying.result()
    finally:
        copying.cancel()
        gone.cancel()
        await asyncio.gather(copying, gone, return_exceptions=True)


async def copy(answer: aiohttp.ClientResponse, send: Send, limit: asyncio.Timeout, intake: Intake | None) -> None:
    """Copy the answer's body to the client, `IDLE_S` at most between two pieces once the request's body has ended."""
    async for piece in answer.content.iter_any():
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        if intake is None or intake.ended.is_set():
            start_clock(limit, IDLE_S)
    await send({"type": "http.response.body", "body": b""})
