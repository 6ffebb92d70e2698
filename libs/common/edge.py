"""The one middleware: what happens to every request before a route sees it and after a route is done.

Pure ASGI and written for speed: one pass over the headers, one closure around `receive`, one around `send`. It names
the request (X-Request-Id accepted or made), joins the W3C trace, counts the body while it comes in, keeps the deadline,
turns every exception into problem+json, and measures by route template.

A body that is too long is answered 413 at once; then what still comes is read and thrown away for a moment before the
connection closes, since closing with unread bytes would reset it and the sender would never see the answer.
"""

import asyncio
import re
import time
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client import Counter, Histogram
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Match, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.common import clock, metrics
from libs.common.auth import Caller
from libs.common.errors import Fault, Problem
from libs.common.problems import CONTENT_TYPE, problem_document, problem_of
from libs.common.telemetry import Span, get_logger, start_span

BODY_BYTES_MAX: Final = 1024 * 1024
HEADER_BYTES_MAX: Final = 32 * 1024
DEADLINE_S: Final = 30.0
BODY_IDLE_S: Final = 15.0
LINGER_S: Final = 2.0
LINGER_BYTES: Final = 64 * 1024 * 1024
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

_SCOPE_KEY: Final = "ledgerbus.exchange"
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,128}")

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """What one application allows: bytes of a body, seconds of a request, seconds between two pieces of a body.

    `answer_headers` go out with every answer; names in lower case.
    """

    body_bytes_max: int = BODY_BYTES_MAX
    deadline_s: float = DEADLINE_S
    body_idle_s: float = BODY_IDLE_S
    access_log: bool = False
    answer_headers: tuple[tuple[bytes, bytes], ...] = ()


class Exchange:
    """One request and its answer, as the middleware knows them; routes reach it with `exchange_of`."""

    __slots__ = (
        "answer_begun", "began_s", "body_bytes", "body_bytes_max", "body_complete", "caller", "content_length",
        "deadline", "deadline_ms", "receiving", "request_id", "started_s", "status", "trace_id", "traceparent",
    )  # fmt: skip

    def __init__(self, body_bytes_max: int) -> None:
        self.request_id = ""
        self.trace_id = ""
        self.traceparent = ""
        self.caller: Caller | None = None
        self.body_bytes = 0
        self.body_bytes_max: int | None = body_bytes_max
        self.body_complete = False
        self.content_length = 0
        self.deadline_ms: int | None = None
        self.deadline: asyncio.Timeout | None = None
        self.began_s = asyncio.get_running_loop().time()
        self.receiving = False
        self.answer_begun = False
        self.status = 500
        self.started_s = time.perf_counter()

    def lift_deadline(self) -> None:
        """Lift the application's own deadline: the request takes as long as it wants, or as its sender waits."""
        if self.deadline is None or self.deadline.expired():
            return
        self.deadline.reschedule(None if self.deadline_ms is None else self.began_s + self.deadline_ms / 1000)

    def begin_answer(self, start: Message) -> None:
        """Note that the answer begins; one without a stated length is a stream, which no deadline cuts in two."""
        self.answer_begun = True
        self.status = start["status"]
        if self.deadline_ms is not None and self.deadline is not None:
            lengths = (True for name, _ in start.get("headers", ()) if name == b"content-length")
            if not next(lengths, False) and not self.deadline.expired():
                self.deadline.reschedule(None)

    def remaining_ms(self) -> int | None:
        """Milliseconds until the deadline, at least 0; None where there is none."""
        when = None if self.deadline is None else self.deadline.when()
        if when is None:
            return None
        return max(0, int((when - asyncio.get_running_loop().time()) * 1000))


def exchange_of(request: Request) -> Exchange:
    """The exchange of a request that came through `Edge`."""
    return exchange_in(request.scope)


def exchange_in(scope: Scope) -> Exchange:
    """The exchange of an ASGI scope that came through `Edge`."""
    exchange: Exchange = scope[_SCOPE_KEY]
    return exchange


class Edge:
    """The middleware. `router` is asked which methods a path takes when it answers 405."""

    def __init__(self, app: ASGIApp, router: Router, settings: EdgeSettings, service: str) -> None:
        self._app = app
        self._service = service
        self._requests: dict[tuple[str, str, int], Counter] = {}
        self._durations: dict[tuple[str, str], Histogram] = {}
        self._router = router
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange(self._settings.body_bytes_max)
        scope[_SCOPE_KEY] = exchange

        async def receive_counted() -> Message:
            exchange.receiving = True
            if exchange.body_bytes_max is None:
                message = await (receive() if exchange.body_complete else self._receive_soon(receive))
            else:
                if exchange.content_length > exchange.body_bytes_max:
                    raise _too_long(exchange.body_bytes_max)
                message = await receive()
            if message["type"] == "http.request":
                exchange.body_bytes += len(message.get("body", b""))
                if exchange.body_bytes_max is not None and exchange.body_bytes > exchange.body_bytes_max:
                    raise _too_long(exchange.body_bytes_max)
                exchange.body_complete = not message.get("more_body", False)
            exchange.receiving = False
            return message

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.begin_answer(message)
                message["headers"] = [
                    *message.get("headers", ()),
                    *self._settings.answer_headers,
                    (b"x-request-id", exchange.request_id.encode()),
                    (b"traceparent", exchange.traceparent.encode()),
                ]
            await send(message)

        wrong, traceparent = read_headers(scope, exchange)
        with start_span("request", traceparent=traceparent) as span:
            exchange.trace_id, exchange.traceparent = span.trace_id, span.traceparent
            try:
                if wrong is not None:
                    raise wrong
                seconds = self._settings.deadline_s
                if exchange.deadline_ms is not None:
                    seconds = min(seconds, exchange.deadline_ms / 1000)
                async with asyncio.timeout(seconds) as exchange.deadline:
                    await self._app(scope, receive_counted, send_named)
            except ClientDisconnect:
                exchange.status = 499
            except Exception as error:  # noqa: BLE001 - the one place where every exception becomes an answer
                await self._answer(scope, exchange, error, receive, send_named)
            finally:
                self._measure(scope, exchange, span)

    async def _receive_soon(self, receive: Receive) -> Message:
        try:
            async with asyncio.timeout(self._settings.body_idle_s):
                return await receive()
        except TimeoutError as error:
            raise _too_slow() from error

    async def _answer(self, scope: Scope, exchange: Exchange, error: Exception, receive: Receive, send: Send) -> None:
        problem = problem_of(error)
        if isinstance(error, TimeoutError) and exchange.deadline is not None and exchange.deadline.expired():
            problem = _too_slow() if exchange.receiving else _out_of_time()
        if problem is None:
            log.error(
                "request-failed",
                exc_info=error,
                method=scope["method"],
                route=route_template(scope),
                request_id=exchange.request_id,
                trace_id=exchange.trace_id,
            )
            problem = Problem(
                500, "internal-error", "Something broke on our side; the request id finds it in the logs."
            )
        if exchange.answer_begun:
            log.warning("answer-cut-off", code=problem.code, request_id=exchange.request_id, detail=problem.detail)
            raise error
        if problem.status == 405:
            problem.headers["Allow"] = ", ".join(self._allowed(scope))
        await send_problem(problem, exchange, receive, send)

    def _allowed(self, scope: Scope) -> list[str]:
        def takes(method: str) -> bool:
            asked = {**scope, "method": method}
            return any(route.matches(asked)[0] is Match.FULL for route in self._router.routes)

        return [method for method in METHODS if takes(method)]

    def _measure(self, scope: Scope, exchange: Exchange, span: Span) -> None:
        method, route = scope["method"], route_template(scope)
        elapsed_ms = (time.perf_counter() - exchange.started_s) * 1000
        requests = self._requests.get((method, route, exchange.status))
        if requests is None:
            requests = metrics.HTTP_REQUESTS.labels(self._service, method, route, str(exchange.status))
            self._requests[method, route, exchange.status] = requests
        requests.inc()
        duration = self._durations.get((method, route))
        if duration is None:
            duration = metrics.HTTP_REQUEST_DURATION_MS.labels(self._service, method, route)
            self._durations[method, route] = duration
        duration.observe(elapsed_ms)
        if span.sampled:
            span.name = f"{method} {route}"
            span.set("http.response.status_code", exchange.status)
            span.set("request_id", exchange.request_id)
        if self._settings.access_log:
            log.info(
                "request",
                method=method,
                route=route,
                status=exchange.status,
                ms=round(elapsed_ms, 2),
                request_id=exchange.request_id,
                trace_id=exchange.trace_id,
                organization=exchange.caller and exchange.caller.organization,
            )


def read_headers(scope: Scope, exchange: Exchange) -> tuple[Problem | None, str | None]:
    """Take from the headers what concerns every request. Gives the problem with them, if any, and the traceparent."""
    size = 0
    traceparent: str | None = None
    wrong: Problem | None = None
    for name, value in scope["headers"]:
        size += len(name) + len(value) + 4
        if name == b"content-length":
            exchange.content_length = int(value)
        elif name == b"x-request-id":
            if _REQUEST_ID.fullmatch(value):
                exchange.request_id = value.decode()
        elif name == b"traceparent":
            traceparent = value.decode("latin-1")
        elif name == b"x-request-deadline-ms":
            if value.isdigit() and len(value) <= 9:
                exchange.deadline_ms = int(value)
            else:
                wrong = Problem(400, "header-invalid", "X-Request-Deadline-Ms must be a whole number of milliseconds.")
    if not exchange.request_id:
        exchange.request_id = clock.new_id().hex
    if size > HEADER_BYTES_MAX:
        detail = f"The headers are {size} bytes long; at most {HEADER_BYTES_MAX} are read."
        wrong = Problem(431, "headers-too-large", detail, headers={"Connection": "close"})
    elif "\0" in scope["path"] or b"%00" in scope["query_string"]:
        faults = [Fault("", "has a NUL character")]
        wrong = Problem(422, "malformed", "The address has a NUL character.", errors=faults)
    return wrong, traceparent


def route_template(scope: Scope) -> str:
    """The route's path as written in code; `unknown` where no route took the request. Bounded, so fit for a label."""
    return getattr(scope.get("route"), "path", "unknown")


async def send_problem(problem: Problem, exchange: Exchange, receive: Receive, send: Send) -> None:
    """Answer with a problem; on 413 and 408 read on for a moment, so that the sender sees the answer."""
    body = problem_document(problem, exchange.request_id, exchange.trace_id)
    headers: list[tuple[bytes, bytes]] = [
        (b"content-type", CONTENT_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        *((name.lower().encode(), value.encode("latin-1", "replace")) for name, value in problem.headers.items()),
    ]
    lingering = problem.status in (408, 413)
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": lingering})
    if lingering:
        await _drain(receive)
        await send({"type": "http.response.body", "body": b""})


async def _drain(receive: Receive) -> None:
    taken = 0
    try:
        async with asyncio.timeout(LINGER_S):
            while taken < LINGER_BYTES:
                message: dict[str, Any] = dict(await receive())
                taken += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        return


def _too_long(bytes_max: int) -> Problem:
    detail = f"The body is longer than {bytes_max} bytes, the most that is taken here."
    return Problem(413, "body-too-large", detail, facts={"bytes_max": bytes_max}, headers={"Connection": "close"})


def _too_slow() -> Problem:
    detail = "The body did not come in time."
    return Problem(408, "request-timeout", detail, retryable=True, headers={"Connection": "close"})


def _out_of_time() -> Problem:
    detail = "This took longer than its deadline; whether it was done is not known. Ask again with the same key."
    return Problem(503, "deadline-exceeded", detail, retryable=True, headers={"Retry-After": "1"})
