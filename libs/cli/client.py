"""A client of the gateway that is safe to repeat and says clearly what was refused.

Every POST has an Idempotency-Key (made here where the caller names none), so a request whose answer was lost may be
sent again: with the same key and `Idempotency-Retry: true`. What is sent again: 429, 503 and lost connections, after
Retry-After or a growing pause, until `patience_s` is over. Everything else is the answer: a body, or `Refused` with
the problem's code, sentence and places.

A bulk request streams both ways at once. When it breaks, the whole stream is sent again under the same key; the ledger
answers what it has seen from memory, and only results not yet given are given. So it does for a line that failed.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import orjson
from yarl import URL

from libs.cli.exits import Ended, Exit, NotRunning
from libs.common import clock

API: Final = "/api/v1"
NDJSON: Final = "application/x-ndjson"
_RESENT_STATUS: Final = frozenset({429, 503})
_CHUNK_BYTES: Final = 64 * 1024
_PAUSE_S_MAX: Final = 5.0
_STREAM_SILENCE_S_MAX: Final = 600
"""A file is read to its end before anything of it is posted; until then the service has nothing to say."""


class Refused(Ended):
    """The API said no; `code`, `detail`, `facts`, `errors` and `request_id` are the problem's own."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.problem_code: str = problem.get("code", "unknown")
        self.detail: str = problem.get("detail", "no detail was given")
        self.facts: Mapping[str, Any] = problem.get("facts") or {}
        self.request_id: str | None = problem.get("request_id")
        places = "".join(f"\n  {fault['pointer'] or '/'}: {fault['detail']}" for fault in problem.get("errors") or ())
        trail = f"\n  request {self.request_id}" if self.request_id else ""
        super().__init__(f"{self.problem_code} ({status}): {self.detail}{places}{trail}", Exit.REFUSED)


@dataclass(frozen=True, slots=True)
class Answer:
    """A success. `replayed`: the same request was answered before and nothing was done now."""

    status: int
    body: Any
    replayed: bool
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Download:
    """A file on its way in."""

    headers: Mapping[str, str]
    pieces: AsyncIterator[bytes]


def new_trace() -> tuple[str, str]:
    """A new trace that shall be recorded: its id, and the W3C traceparent that begins it."""
    trace_id = secrets.token_hex(16)
    return trace_id, f"00-{trace_id}-{secrets.token_hex(8)}-01"


class _Again(Exception):  # noqa: N818 - a wish, not an error
    """The request may succeed later."""

    def __init__(self, sentence: str, pause_s: float | None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.pause_s = pause_s


class Client:
    """One caller at one gateway. Make it with `connect`."""

    def __init__(self, session: aiohttp.ClientSession, base: str, patience_s: float) -> None:
        self._session = session
        self._base = base.rstrip("/")
        self._patience_s = patience_s

    async def get(self, path: str, **parameters: str) -> Any:
        """The JSON body of GET `path` (under /api/v1). Raises Refused and NotRunning."""
        return (await self._request("GET", path, parameters, None, {})).body

    async def items(self, path: str) -> list[Any]:
        """Every item of a list, page by page."""
        found: list[Any] = []
        cursor: dict[str, str] = {}
        while True:
            page = await self.get(path, **cursor)
            found += page["items"]
            if page["next_cursor"] is None:
                return found
            cursor = {"cursor": page["next_cursor"]}

    async def post(self, path: str, body: Any, *, key: str | None = None, traceparent: str | None = None) -> Answer:
        """POST of a JSON body; `key` is the Idempotency-Key. Raises Refused and NotRunning."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": key or str(clock.new_id())}
        if traceparent is not None:
            headers["traceparent"] = traceparent
        return await self._request("POST", path, {}, orjson.dumps(body), headers)

    async def put(self, path: str, body: Any) -> Any:
        """The JSON body of PUT `path`, which may be sent again as it is. Raises Refused and NotRunning."""
        headers = {"Content-Type": "application/json"}
        return (await self._request("PUT", path, {}, orjson.dumps(body), headers)).body

    async def bulk(
        self,
        path: str,
        lines: Callable[[], Iterable[bytes]],
        *,
        key: str | None,
        parameters: Mapping[str, str] = {"mode": "each"},
        content_type: str = NDJSON,
    ) -> AsyncIterator[dict[str, Any]]:
        """The result of each line of a stream, in order; `lines` gives the same bytes at each call.

        Without a key the service has to know by itself what it has seen before.
        """
        seen = 0
        attempts = _Attempts(self._patience_s)
        headers = {"Content-Type": content_type, "Accept": NDJSON}
        while True:
            if key is not None:
                headers["Idempotency-Key"] = key
                if attempts.count > 0:
                    headers["Idempotency-Retry"] = "true"
            try:
                async for result in self._bulk_once(self._url(path, parameters), lines, headers):
                    if result["index"] >= seen:
                        seen = result["index"] + 1
                        yield result
                return
            except (_Again, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError) as lost:
                await attempts.pause(self._base, lost)

    async def _bulk_once(
        self, url: URL, lines: Callable[[], Iterable[bytes]], headers: Mapping[str, str]
    ) -> AsyncIterator[dict[str, Any]]:
        unlimited = aiohttp.ClientTimeout(total=None, sock_read=_STREAM_SILENCE_S_MAX)
        async with self._session.post(url, data=_chunks(lines()), headers=headers, timeout=unlimited) as response:
            if response.status != 200:
                _raise_for(response, await response.read())
            async for line in response.content:
                result = orjson.loads(line)
                if result["status"] == "failed":
                    _raise_for_line(result)
                yield result

    @asynccontextmanager
    async def download(self, path: str, **parameters: str) -> AsyncIterator[Download]:
        """A file as it comes. Raises Refused, and NotRunning where the connection breaks."""
        unlimited = aiohttp.ClientTimeout(total=None, sock_read=_STREAM_SILENCE_S_MAX)
        try:
            async with self._session.get(self._url(path, parameters), timeout=unlimited) as response:
                if response.status != 200:
                    _raise_for(response, await response.read())
                yield Download(response.headers, response.content.iter_any())
        except (_Again, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError) as lost:
            raise NotRunning(f"The gateway at {self._base} broke off: {lost}") from lost

    async def _request(
        self, method: str, path: str, parameters: Mapping[str, str], body: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        attempts = _Attempts(self._patience_s)
        while True:
            sent = {**headers, "Idempotency-Retry": "true"} if attempts.count and method != "GET" else dict(headers)
            try:
                async with self._session.request(
                    method, self._url(path, parameters), data=body, headers=sent
                ) as response:
                    content = await response.read()
                    if response.status >= 400:
                        _raise_for(response, content)
                    replayed = response.headers.get("Idempotency-Replayed") == "true"
                    return Answer(response.status, _decoded(response, content), replayed, response.headers)
            except (_Again, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError) as lost:
                await attempts.pause(self._base, lost)

    def _url(self, path: str, parameters: Mapping[str, str]) -> URL:
        return URL(f"{self._base}{API}{path}").update_query(parameters)


class _Attempts:
    """Counts the tries of one request and waits between them."""

    def __init__(self, patience_s: float) -> None:
        self.count = 0
        self._give_up_s = clock.monotonic_s() + patience_s

    async def pause(self, base: str, reason: Exception) -> None:
        """Waits before the next try; raises NotRunning when patience is over."""
        self.count += 1
        pause_s = reason.pause_s if isinstance(reason, _Again) and reason.pause_s is not None else 0.1 * 2**self.count
        pause_s = min(pause_s, _PAUSE_S_MAX)
        if clock.monotonic_s() + pause_s > self._give_up_s:
            said = reason.sentence if isinstance(reason, _Again) else f"{type(reason).__name__} {reason}".strip()
            raise NotRunning(f"The gateway at {base} does not answer: {said}") from reason
        await asyncio.sleep(pause_s)


@asynccontextmanager
async def connect(base: str, token: str, *, patience_s: float = 20.0) -> AsyncIterator[Client]:
    """A client for the gateway at `base` (http://host:port) with a bearer token."""
    async with aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {token}"}, timeout=aiohttp.ClientTimeout(total=60), read_bufsize=2**20
    ) as session:
        yield Client(session, base, patience_s)


def _raise_for(response: aiohttp.ClientResponse, content: bytes) -> None:
    problem = _decoded(response, content)
    if not isinstance(problem, dict):
        problem = {"code": f"http-{response.status}", "detail": str(problem)[:500]}
    if response.status in _RESENT_STATUS:
        after = response.headers.get("Retry-After", "")
        raise _Again(problem.get("detail", f"status {response.status}"), float(after) if after.isdigit() else None)
    raise Refused(response.status, problem)


def _raise_for_line(result: Mapping[str, Any]) -> None:
    """A line that was neither posted nor rejected: undecided now, or the stream's end."""
    if result["code"] == "unavailable":
        raise _Again(result["detail"], None)
    raise Ended(f"Line {result['index'] + 1}: {result['code']}: {result['detail']}")


def _decoded(response: aiohttp.ClientResponse, content: bytes) -> Any:
    if "json" in response.content_type and response.content_type != NDJSON:
        return orjson.loads(content)
    return content.decode("utf-8", "replace")


async def _chunks(lines: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Lines joined into larger pieces: a packet per entry would cost more than the entry."""
    waiting = bytearray()
    for line in lines:
        waiting += line
        if len(waiting) >= _CHUNK_BYTES:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)
