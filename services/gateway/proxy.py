"""Pass-through: a request goes to its service and the answer comes back, unchanged but for headers (`incoming.py`).

A plain request is read whole (its length is limited), asked with a time limit, and asked again only where that is safe:
nothing was sent, it is a GET, or it carries an Idempotency-Key; a repeat that may be known already says so with
`Idempotency-Retry: true`. A stream (`streams.py`) flows in both directions at once and is never repeated.

Once an answer has begun, the only way to say that it broke off is to close the connection, so that is what happens.
"""

import asyncio
from collections.abc import Mapping
from typing import Final, NamedTuple

import aiohttp
import yarl
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from libs.common import clock
from libs.common.auth import Caller, Verifier
from libs.common.edge import Exchange, exchange_in
from libs.common.errors import Problem
from services.gateway.incoming import Incoming, answer_headers, read_incoming
from services.gateway.limits import Limits
from services.gateway.routes import OPEN, Passage
from services.gateway.streams import IDLE_S, Intake, ask_stream, copy, copy_while_there
from services.gateway.upstreams import Instance, Upstream
from services.gateway.wish import Wish, target_of, timed_out, unreachable

ATTEMPTS_MAX: Final = 3
PAUSE_S: Final = 0.05
BODY_S: Final = 15.0
CONNECT_S: Final = 2.0
KEEP_ALIVE_S: Final = 4.0
WHOLE_ANSWER_BYTES: Final = 256 * 1024

_NOT_MADE_UP: Final = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
_PRIVATE: Final = (b"cache-control", b"no-store")

Headers = list[tuple[bytes, bytes]]


class Answer(NamedTuple):
    """A service's answer; `body` is None while it still has to be read from `response`."""

    response: aiohttp.ClientResponse
    body: bytes | None


class Proxy:
    """The way to all upstreams. `start` before the first request, `close` after the last."""

    def __init__(
        self, upstreams: Mapping[str, Upstream], verifier: Verifier, limits: Limits, *, body_s: float = BODY_S
    ) -> None:
        self._upstreams = upstreams
        self._verifier = verifier
        self._limits = limits
        self._body_s = body_s
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the pool of connections, bounded by the upstreams' places and kept shorter than a server keeps them."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_NOT_MADE_UP,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
        )

    async def close(self) -> None:
        """Close the pool."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """The pool of connections."""
        assert self._session is not None, "start() opens the pool"
        return self._session

    async def forward(
        self, passage: Passage, params: Mapping[str, str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer one request. Raises Problem for everything that is the gateway's to refuse."""
        exchange = exchange_in(scope)
        if passage.scope == OPEN:
            incoming, whose = read_incoming(scope, exchange), ""
            extra = self._limits.take_open(_address(scope), passage.rate_class, clock.monotonic_s())
        else:
            incoming, caller = await self._admit(scope, exchange)
            exchange.caller = caller
            caller.require(passage.scope)
            whose = caller.organization or ""
            extra = self._limits.take(caller.organization, caller.subject, passage.rate_class, clock.monotonic_s())
        upstream = self._upstreams[passage.upstream]
        shard = f"{whose}/{params.get('ledger', passage.ledger)}"
        wish = Wish(passage, upstream, target_of(scope), shard, incoming)
        if passage.stream:
            with upstream.place(stream=True):
                await self._pass_stream(wish, extra, exchange, receive, send)
            return
        body = b"" if passage.method == "GET" else await self._whole_body(exchange, passage.body_bytes_max, receive)
        with upstream.place(stream=False):
            await self._pass_whole(wish, body, extra, exchange, send)

    async def _admit(self, scope: Scope, exchange: Exchange) -> tuple[Incoming, Caller]:
        """The request's headers and its caller. Raises Problem 401, or 429 where its address was refused too often."""
        try:
            incoming = read_incoming(scope, exchange)
            return incoming, await self._verifier.verify(incoming.authorization)
        except Problem as problem:
            if problem.status != 401:
                raise
            raise self._limits.refusal(_address(scope), problem, clock.monotonic_s()) from problem

    async def _whole_body(self, exchange: Exchange, bytes_max: int, receive: Receive) -> bytes:
        exchange.body_bytes_max = bytes_max
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            body: bytes = message.get("body", b"")
            return body
        pieces: list[bytes] = []
        try:
            async with asyncio.timeout(self._body_s):
                while True:
                    if message["type"] != "http.request":
                        raise ClientDisconnect
                    pieces.append(message.get("body", b""))
                    if not message.get("more_body", False):
                        return b"".join(pieces)
                    message = await receive()
        except TimeoutError as error:
            detail = f"The body did not come within {self._body_s:.0f} s."
            raise Problem(408, "request-timeout", detail, retryable=True, headers={"Connection": "close"}) from error

    async def _pass_whole(self, wish: Wish, body: bytes, extra: Headers, exchange: Exchange, send: Send) -> None:
        until_s = asyncio.get_running_loop().time() + _budget_s(wish.passage, exchange)
        answer = await self._ask(wish, body, until_s)
        try:
            await send(_start(answer.response, extra))
            if answer.body is not None:
                await send({"type": "http.response.body", "body": answer.body})
                return
            async with asyncio.timeout(IDLE_S) as limit:
                await copy(answer.response, send, limit, None)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise unreachable(wish.upstream, retryable=wish.repeatable) from error
        finally:
            answer.response.release()

    async def _ask(self, wish: Wish, body: bytes, until_s: float) -> Answer:
        """The answer. Tries again where that is safe."""
        resent = False
        gauges = wish.upstream.gauges
        for attempt in range(1, ATTEMPTS_MAX + 1):
            asked_at_s = clock.monotonic_s()
            instance = wish.upstream.choose(wish.shard, asked_at_s)
            try:
                async with asyncio.timeout_at(until_s):
                    answer = await self._ask_once(wish, body, until_s, instance, resent=resent)
            except aiohttp.ClientError as error:
                gauges.unreachable.inc()
                instance.circuit.failed(clock.monotonic_s())
                unsent = isinstance(error, aiohttp.ClientConnectorError)
                safe = unsent or wish.repeatable
                if attempt == ATTEMPTS_MAX or not safe:
                    raise unreachable(wish.upstream, retryable=safe) from error
                resent = resent or not unsent
            except TimeoutError as error:
                gauges.timed_out.inc()
                instance.circuit.failed(clock.monotonic_s())
                raise timed_out(wish.upstream, retryable=wish.repeatable) from error
            else:
                gauges.answered.inc()
                gauges.duration_ms.observe((clock.monotonic_s() - asked_at_s) * 1000)
                instance.circuit.succeeded()
                return answer
            await asyncio.sleep(PAUSE_S * attempt)
        raise AssertionError("the last attempt returns or raises")

    async def _ask_once(self, wish: Wish, body: bytes, until_s: float, instance: Instance, *, resent: bool) -> Answer:
        remaining_ms = max(1, int((until_s - asyncio.get_running_loop().time()) * 1000))
        headers = [*wish.incoming.headers, ("x-request-deadline-ms", str(remaining_ms))]
        if resent and wish.incoming.idempotency_key is not None:
            headers.append(("idempotency-retry", "true"))
        response = await self.session.request(
            wish.passage.method,
            yarl.URL(instance.url + wish.target, encoded=True),
            headers=headers,
            data=body or None,
            allow_redirects=False,
        )
        length = response.content_length
        if length is None or length > WHOLE_ANSWER_BYTES:
            return Answer(response, None)
        return Answer(response, await response.read())

    async def _pass_stream(self, wish: Wish, extra: Headers, exchange: Exchange, receive: Receive, send: Send) -> None:
        exchange.body_bytes_max = None
        exchange.lift_deadline()
        instance = wish.upstream.choose(wish.shard, clock.monotonic_s())
        response: aiohttp.ClientResponse | None = None
        try:
            async with asyncio.timeout(None) as limit:
                intake = Intake(receive, limit, wish.passage.timeout_s)
                url = instance.url + wish.target
                response = await ask_stream(self.session, wish.passage.method, url, wish.incoming.headers, intake)
                instance.circuit.succeeded()
                wish.upstream.gauges.answered.inc()
                await send(_start(response, extra))
                await copy_while_there(response, send, limit, intake)
        except (aiohttp.ClientError, TimeoutError) as error:
            if intake.broken is not None:
                raise intake.broken from error
            if response is not None:
                raise unreachable(wish.upstream, retryable=False) from error
            instance.circuit.failed(clock.monotonic_s())
            late = isinstance(error, TimeoutError)
            gauges = wish.upstream.gauges
            (gauges.timed_out if late else gauges.unreachable).inc()
            refuse = timed_out if late else unreachable
            raise refuse(wish.upstream, retryable=wish.passage.method == "GET") from error
        finally:
            if response is not None:
                response.close()


def _address(scope: Scope) -> str:
    """Where the request came from, empty where the server does not say."""
    client = scope.get("client")
    return client[0] if client else ""


def _start(response: aiohttp.ClientResponse, extra: Headers) -> dict[str, object]:
    headers = answer_headers(response.raw_headers)
    headers.extend(extra)
    if "Cache-Control" not in response.headers:
        headers.append(_PRIVATE)
    return {"type": "http.response.start", "status": response.status, "headers": headers}


def _budget_s(passage: Passage, exchange: Exchange) -> float:
    """Seconds for the service: the route's, or a little less than the caller's deadline leaves."""
    remaining_ms = exchange.remaining_ms()
    return passage.timeout_s if remaining_ms is None else min(passage.timeout_s, remaining_ms * 0.98 / 1000)
