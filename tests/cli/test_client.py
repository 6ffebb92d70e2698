"""The client against a real server: what it sends again, under which headers, and what it says when refused."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from libs.cli.client import Client, Refused, connect
from libs.cli.exits import Ended, Exit, NotRunning

Route = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Seen:
    """The headers of every request a server got."""

    headers: list[dict[str, str]] = field(default_factory=list)


@asynccontextmanager
async def serving(*answers: Route, patience_s: float = 5.0) -> AsyncIterator[tuple[Client, Seen]]:
    """A server that gives these answers one after the other, and a client for it."""
    seen, waiting = Seen(), list(answers)

    async def respond(request: web.Request) -> web.StreamResponse:
        seen.headers.append(dict(request.headers))
        return await waiting.pop(0)(request)

    application = web.Application()
    application.router.add_route("*", "/api/v1/{rest:.*}", respond)
    async with TestServer(application) as server:
        base = str(server.make_url("/"))
        async with connect(base, "a-token", patience_s=patience_s) as client:
            yield client, seen


def answer(status: int, body: object, **headers: str) -> Route:
    async def route(request: web.Request) -> web.Response:
        await request.read()
        kind = "application/problem+json" if status >= 400 else "application/json"
        return web.Response(body=orjson.dumps(body), status=status, content_type=kind, headers=headers)

    return route


async def hang_up(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


def results(*lines: dict[str, object], broken: bool = False) -> Route:
    async def route(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        for line in lines:
            await response.write(orjson.dumps(line) + b"\n")
        if broken:
            assert request.transport is not None
            request.transport.close()
        return response

    return route


PROBLEM = {
    "code": "entry-not-balanced",
    "detail": "USD is open by 1.00.",
    "facts": {"currency": "USD"},
    "errors": [{"pointer": "/lines/1/amount", "detail": "is not enough"}],
    "request_id": "r-1",
}


async def test_post_sends_token_and_the_key_given() -> None:
    async with serving(answer(201, {"id": "1"}, **{"Idempotency-Replayed": "true"})) as (client, seen):
        made = await client.post("/organizations", {"slug": "demo"}, key="k-1", traceparent="00-1-1-01")
    assert (made.status, made.body, made.replayed) == (201, {"id": "1"}, True)
    (headers,) = seen.headers
    assert headers["Authorization"] == "Bearer a-token"
    assert headers["Idempotency-Key"] == "k-1"
    assert headers["traceparent"] == "00-1-1-01"
    assert "Idempotency-Retry" not in headers


async def test_a_refusal_tells_code_detail_places_and_request() -> None:
    async with serving(answer(422, PROBLEM)) as (client, _):
        with pytest.raises(Refused) as refusal:
            await client.post("/entries", {})
    assert refusal.value.code == Exit.REFUSED
    assert refusal.value.problem_code == "entry-not-balanced"
    assert refusal.value.facts == {"currency": "USD"}
    assert str(refusal.value).splitlines() == [
        "entry-not-balanced (422): USD is open by 1.00.",
        "  /lines/1/amount: is not enough",
        "  request r-1",
    ]


@pytest.mark.parametrize("first", [answer(503, PROBLEM, **{"Retry-After": "0"}), answer(429, PROBLEM), hang_up])
async def test_what_may_succeed_later_is_sent_again_under_the_same_key(first: Route) -> None:
    async with serving(first, answer(201, {"id": "1"})) as (client, seen):
        assert (await client.post("/entries", {})).body == {"id": "1"}
    again = seen.headers[-1]
    assert again["Idempotency-Key"] == seen.headers[0]["Idempotency-Key"]
    assert again["Idempotency-Retry"] == "true"


async def test_patience_ends_with_a_sentence() -> None:
    async with serving(*[answer(503, PROBLEM, **{"Retry-After": "0"})] * 500, patience_s=0.05) as (client, _):
        with pytest.raises(NotRunning, match=r"does not answer: USD is open by 1.00\.\nStart it with: ledgerbus up"):
            await client.get("/ledgers")


async def test_nobody_listening_is_not_running() -> None:
    async with connect("http://127.0.0.1:9", "a-token", patience_s=0.05) as client:
        with pytest.raises(NotRunning) as ended:
            await client.get("/ledgers")
    assert ended.value.code == Exit.NOT_RUNNING


async def test_an_answer_that_is_no_problem_document_is_told_as_it_is() -> None:
    async def page(request: web.Request) -> web.Response:
        return web.Response(text="<h1>Not here</h1>", status=404, content_type="text/html")

    async with serving(page) as (client, _):
        with pytest.raises(Refused, match="http-404 \\(404\\): <h1>Not here</h1>"):
            await client.get("/nowhere")


async def test_a_broken_bulk_is_sent_again_whole_and_gives_each_result_once() -> None:
    rows: list[dict[str, object]] = [{"index": index, "status": "posted"} for index in range(3)]
    async with serving(results(*rows[:2], broken=True), results(*rows)) as (client, seen):
        given = [row async for row in client.bulk("/ledgers/main/entries/bulk", lambda: [b"{}\n"] * 3, key="file-1")]
    assert given == rows
    assert [headers["Idempotency-Key"] for headers in seen.headers] == ["file-1", "file-1"]
    assert [headers.get("Idempotency-Retry") for headers in seen.headers] == [None, "true"]


async def test_a_list_is_read_to_its_last_page() -> None:
    asked: list[str] = []

    def page(items: list[int], following: str | None) -> Route:
        async def route(request: web.Request) -> web.StreamResponse:
            asked.append(request.query_string)
            return await answer(200, {"items": items, "next_cursor": following})(request)

        return route

    async with serving(page([1, 2], "c+2"), page([3], None)) as (client, _):
        assert await client.items("/ledgers") == [1, 2, 3]
    assert asked == ["", "cursor=c%2B2"]


async def test_a_line_that_failed_is_sent_again_or_told() -> None:
    posted: dict[str, object] = {"index": 0, "status": "posted"}
    failed: dict[str, object] = {"index": 1, "status": "failed", "code": "unavailable", "detail": "Busy."}
    async with serving(results(posted, failed), results(posted, {**posted, "index": 1})) as (client, _):
        given = [row["index"] async for row in client.bulk("/bulk", lambda: [b"{}\n"] * 2, key="file-1")]
    assert given == [0, 1]
    async with serving(results(posted, {**failed, "code": "line-too-long"})) as (client, _):
        with pytest.raises(Ended, match="Line 2: line-too-long: Busy"):
            [row async for row in client.bulk("/bulk", lambda: [b"{}\n"] * 2, key="file-1")]


async def test_bulk_streams_more_than_any_buffer_holds() -> None:
    count = 50_000

    async def echo(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        index = 0
        async for line in request.content:
            assert orjson.loads(line) == {"n": index}
            await response.write(b'{"index":%d,"status":"posted","pad":"%s"}\n' % (index, b"x" * 100))
            index += 1
        return response

    async with serving(echo) as (client, _):
        lines = [b'{"n":%d}\n' % index for index in range(count)]
        given = [row["index"] async for row in client.bulk("/bulk", lambda: lines, key="file-1")]
    assert given == list(range(count))


async def test_a_refused_bulk_is_not_sent_again() -> None:
    async with serving(answer(403, {"code": "scope-missing", "detail": "No."})) as (client, seen):
        with pytest.raises(Refused, match="scope-missing"):
            [row async for row in client.bulk("/bulk", lambda: [b"{}\n"], key="file-1")]
    assert len(seen.headers) == 1
