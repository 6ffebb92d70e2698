"""What every service's HTTP does alike: problems, limits, ids, traces, deadlines, bodies, health."""

import asyncio
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import yarl

from libs.common.auth import DevIssuer, create_dev_issuer
from libs.common.http import EdgeSettings
from libs.common.runtime import Readiness
from tests.common.http_app import AUDIENCE, ISSUER, JSON, build
from tests.gateway.serving import serving, talk_raw

GOOD = {"description": "Rent", "lines": [{"account": "a", "amount": "1.00"}]}
HEADERS = JSON | {"Idempotency-Key": "k1"}


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> tuple[DevIssuer, Path]:
    folder = tmp_path_factory.mktemp("issuer")
    create_dev_issuer(folder / "key.pem", folder / "jwks.json")
    return DevIssuer(folder / "key.pem", ISSUER, AUDIENCE, "development"), folder / "jwks.json"


@pytest.fixture
def readiness() -> Readiness:
    return Readiness("database")


@pytest.fixture
async def url(tokens: tuple[DevIssuer, Path], readiness: Readiness) -> AsyncIterator[str]:
    edge = EdgeSettings(body_bytes_max=100_000, deadline_s=5.0, body_idle_s=0.3)
    async with serving(build(tokens[1], readiness, edge)) as address:
        yield address


@pytest.fixture
async def client(tokens: tuple[DevIssuer, Path]) -> AsyncIterator[aiohttp.ClientSession]:
    token = tokens[0].token("anna", "demo", roles=["accountant"])
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        yield session


@pytest.fixture
def bearer(tokens: tuple[DevIssuer, Path]) -> str:
    return f"authorization: Bearer {tokens[0].token('anna', 'demo', roles=['accountant'])}"


async def problem(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    assert answer.content_type == "application/problem+json"
    told: dict[str, Any] = await answer.json()
    assert told.keys() == {
        "type", "title", "status", "code", "detail", "facts", "errors", "retryable", "request_id", "trace_id",
    }  # fmt: skip
    assert told["status"] == answer.status
    assert told["type"] == f"/docs/errors#{told['code']}"
    assert told["request_id"] == answer.headers["X-Request-Id"]
    assert told["trace_id"] == answer.headers["traceparent"].split("-")[1]
    return told


@pytest.mark.parametrize("path", ["/hot", "/easy/entries"])
async def test_hot_and_comfortable_routes_answer(url: str, client: aiohttp.ClientSession, path: str) -> None:
    async with client.post(url + path, headers=HEADERS, json=GOOD) as answer:
        assert answer.status == 201


BROKEN = [
    (b"", 400, "json-invalid", None),
    (b'{"description": "Rent", ', 400, "json-invalid", None),
    (b'{"description": NaN}', 400, "json-invalid", None),
    (b'{"description": "\xff"}', 400, "json-invalid", None),
    (b'{"description": "\\ud800", "lines": []}', 400, "json-invalid", None),
    (b'{"description": "a", "description": "b", "lines": []}', 400, "json-invalid", None),
    (b'{"description": "a\\u0000", "lines": []}', 422, "malformed", "/description"),
    (
        b'{"description": "a", "lines": [], "metadata": {"a/b": {"~": "\\u0000"}}}',
        422,
        "malformed",
        "/metadata/a~1b/~0",
    ),
    (b'{"description": "a", "lines": [], "metadata": ' + b'{"a":' * 40 + b"1" + b"}" * 41, 422, "malformed", ""),
    (b"[" * 2000 + b"]" * 2000, 422, "malformed", ""),
    (b"[]", 422, "malformed", ""),
    (b'{"lines": []}', 422, "malformed", "/description"),
    (b'{"description": 5, "lines": []}', 422, "malformed", "/description"),
    (b'{"description": "a", "lines": [], "surprise": 1}', 422, "malformed", "/surprise"),
    (b'{"description": "a", "lines": [{"account": "x", "amount": 12.5}]}', 422, "malformed", "/lines/0/amount"),
    (b'{"description": "a", "lines": [{"account": "x", "amount": null}]}', 422, "malformed", "/lines/0/amount"),
]


@pytest.mark.parametrize("path", ["/hot", "/easy/entries"])
@pytest.mark.parametrize(("body", "status", "code", "pointer"), BROKEN, ids=range(len(BROKEN)))
async def test_a_broken_body_is_told_where(
    url: str, client: aiohttp.ClientSession, path: str, body: bytes, status: int, code: str, pointer: str | None
) -> None:
    async with client.post(url + path, headers=HEADERS, data=body) as answer:
        told = await problem(answer)
    assert (told["status"], told["code"]) == (status, code)
    assert pointer is None or told["errors"][0]["pointer"] == pointer
    assert "Traceback" not in told["detail"]


async def test_a_number_for_an_amount_says_what_is_wanted(url: str, client: aiohttp.ClientSession) -> None:
    body = b'{"description": "a", "lines": [{"account": "x", "amount": 12.5}]}'
    async with client.post(f"{url}/hot", headers=HEADERS, data=body) as answer:
        fault = (await problem(answer))["errors"][0]
    assert fault["detail"] == 'is a JSON number; amounts are strings such as "12.50"'


async def test_nothing_huge_is_echoed(url: str, client: aiohttp.ClientSession) -> None:
    body = {"description": "a", "lines": ["x" * 30_000] * 3, "y" * 30_000: 1}
    async with client.post(f"{url}/hot", headers=HEADERS, json=body) as answer:
        assert len(orjson.dumps(await problem(answer))) < 2_000


async def test_many_faults_are_listed_up_to_a_bound(url: str, client: aiohttp.ClientSession) -> None:
    async with client.post(f"{url}/hot", headers=HEADERS, json={"description": "a", "lines": [1] * 2000}) as answer:
        told = await problem(answer)
    assert len(told["errors"]) == 50


@pytest.mark.parametrize("given", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
@pytest.mark.parametrize("path", ["/hot", "/easy/entries"])
async def test_another_content_type_is_415(
    url: str, client: aiohttp.ClientSession, path: str, given: str | None
) -> None:
    headers = {"Idempotency-Key": "k"} | ({"Content-Type": given} if given else {})
    skipped = () if given else ("Content-Type",)
    body = orjson.dumps(GOOD)
    async with client.post(url + path, headers=headers, data=body, skip_auto_headers=skipped) as answer:
        told = await problem(answer)
    assert (told["status"], told["code"]) == (415, "content-type-not-supported")


@pytest.mark.parametrize("given", ["application/json; charset=utf-8", "Application/JSON", "application/x+json"])
async def test_json_by_any_of_its_names(url: str, client: aiohttp.ClientSession, given: str) -> None:
    async with client.post(f"{url}/hot", headers=HEADERS | {"Content-Type": given}, json=GOOD) as answer:
        assert answer.status == 201


@pytest.mark.parametrize(
    ("key", "code"),
    [(None, "missing"), ("", "invalid"), ("a b", "invalid"), ("ü", "invalid"), ("x" * 201, "invalid")],
)
@pytest.mark.parametrize("path", ["/hot", "/easy/entries"])
async def test_a_key_must_be_there_and_readable(
    url: str, client: aiohttp.ClientSession, path: str, key: str | None, code: str
) -> None:
    headers = JSON | ({} if key is None else {"Idempotency-Key": key})
    async with client.post(url + path, headers=headers, json=GOOD) as answer:
        told = await problem(answer)
    assert (told["status"], told["code"]) == (400, f"idempotency-key-{code}")


async def test_who_asks_is_checked(url: str, client: aiohttp.ClientSession) -> None:
    async with client.get(f"{url}/easy/read/x") as answer:
        assert await answer.json() == {"name": "x", "by": "anna", "n": 1}
    async with aiohttp.ClientSession() as nobody, nobody.get(f"{url}/easy/read/x") as answer:
        assert (await problem(answer))["code"] == "token-missing"
        assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_query_parameter_is_named(url: str, client: aiohttp.ClientSession) -> None:
    async with client.get(f"{url}/easy/read/x?n=many") as answer:
        told = await problem(answer)
    assert told["errors"] == [{"pointer": "/n", "detail": "is 'many', but must be a whole number"}]


@pytest.mark.parametrize(
    ("method", "path", "known"),
    [
        ("GET", "/easy/read/x?n=1&limti=5", "n"),
        ("GET", "/easy/fail/defect?limti=5", "none"),
        ("POST", "/easy/entries?limti=5", "none"),
        ("POST", "/hot?limti=5", "dry_run"),
    ],
)
async def test_an_unknown_query_parameter_is_refused(
    url: str, client: aiohttp.ClientSession, method: str, path: str, known: str
) -> None:
    body = {"description": "", "lines": []}
    sent = {"json": body, "headers": {"Idempotency-Key": "k"}} if method == "POST" else {}
    async with client.request(method, url + path, **sent) as answer:
        told = await problem(answer)
    assert (told["status"], told["code"]) == (422, "malformed")
    told_known = f"is no query parameter here; known are: {known}"
    assert told["errors"] == [{"pointer": "/limti", "detail": told_known}]
    async with aiohttp.ClientSession() as nobody, nobody.request(method, url + path, **sent) as answer:
        assert (await problem(answer))["status"] == (422 if "fail" in path else 401)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/easy/read/x?n=1&n=1"), ("POST", "/hot?dry_run=true&dry%5Frun=false")]
)
async def test_a_query_parameter_given_twice_is_refused(
    url: str, client: aiohttp.ClientSession, method: str, path: str
) -> None:
    body = {"json": {"description": "", "lines": []}, "headers": {"Idempotency-Key": "k"}} if method == "POST" else {}
    async with client.request(method, yarl.URL(url + path, encoded=True), **body) as answer:
        told = await problem(answer)
    name = "n" if method == "GET" else "dry_run"
    assert (told["status"], told["code"]) == (422, "malformed")
    assert told["errors"] == [{"pointer": f"/{name}", "detail": "is given 2 times, and one value is wanted"}]


async def test_a_query_parameter_that_is_a_list_may_be_repeated(url: str, client: aiohttp.ClientSession) -> None:
    async with client.get(f"{url}/easy/many?tag=a&tag=b&tag=a") as answer:
        assert (answer.status, await answer.json()) == (200, ["a", "b", "a"])


async def test_a_known_query_parameter_of_a_hot_route_is_taken(url: str, client: aiohttp.ClientSession) -> None:
    sent = {"json": {"description": "", "lines": []}, "headers": {"Idempotency-Key": "k"}}
    async with client.post(f"{url}/hot?dry_run=true", **sent) as answer:
        assert answer.status == 201


@pytest.mark.parametrize("path", ["/easy/read/a%00b", "/easy/read/x?n=%00"])
async def test_nul_in_the_address_is_refused(url: str, bearer: str, path: str) -> None:
    answer = await talk_raw(url, f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{bearer}\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 422")


async def test_unknown_routes_and_methods(url: str, client: aiohttp.ClientSession) -> None:
    async with client.get(f"{url}/nothing") as answer:
        assert (await problem(answer))["code"] == "route-unknown"
    for path, allowed in (("/easy/entries", "POST"), ("/hot", "POST"), ("/health/live", "GET, HEAD")):
        async with client.delete(url + path) as answer:
            assert (await problem(answer))["code"] == "method-not-allowed"
            assert answer.headers["Allow"] == allowed


async def test_every_failure_is_a_problem(url: str, client: aiohttp.ClientSession) -> None:
    async with client.get(f"{url}/easy/fail/defect") as answer:
        told = await problem(answer)
        assert (told["status"], told["code"], told["retryable"]) == (500, "internal-error", False)
        assert "hunter2" not in orjson.dumps(told).decode()
    async with client.get(f"{url}/easy/fail/transient") as answer:
        told = await problem(answer)
        assert (told["status"], told["retryable"], answer.headers["Retry-After"]) == (503, True, "7")
    async with client.get(f"{url}/easy/fail/rejection") as answer:
        told = await problem(answer)
        assert (told["status"], told["title"], told["facts"]) == (422, "Entry not balanced", {"currency": "USD"})
        assert told["errors"] == [{"pointer": "/lines/1", "detail": "is off"}]
    async with client.get(f"{url}/easy/fail/conflict") as answer:
        assert (await problem(answer))["facts"] == {"version": 3}


@pytest.mark.parametrize("length_known", [True, False])
async def test_a_long_body_is_413(url: str, client: aiohttp.ClientSession, length_known: bool) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(300):
            yield b"x" * 65_536

    body: Any = BytesIO(b"x" * 20_000_000) if length_known else pieces()
    async with client.post(f"{url}/whole", data=body) as answer:
        told = await problem(answer)
    assert (told["status"], told["code"], told["facts"]) == (413, "body-too-large", {"bytes_max": 100_000})


async def test_a_streams_body_reaches_its_one_reader_whole(url: str, client: aiohttp.ClientSession) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b"x" * 1_000
            await asyncio.sleep(0)

    async with client.post(f"{url}/lines", data=pieces()) as answer:
        counts = [int(line) for line in (await answer.read()).split()]
    assert sum(counts) == 200_000


async def test_a_stream_that_stalls_is_ended(url: str) -> None:
    request = b"POST /lines HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"
    answer = await asyncio.wait_for(talk_raw(url, request, seconds=10), 10)
    assert not answer.endswith(b"0\r\n\r\n"), "an answer that broke off must not look whole"


@pytest.mark.parametrize(("wait_s", "deadline_ms", "status"), [(0, "2000", 200), (5, "100", 503)])
async def test_a_deadline_is_kept(
    url: str, client: aiohttp.ClientSession, wait_s: int, deadline_ms: str, status: int
) -> None:
    headers = {"X-Request-Deadline-Ms": deadline_ms}
    async with client.post(f"{url}/slow?wait_s={wait_s}", headers=headers) as answer:
        assert answer.status == status
        told = await answer.json()
    if status == 503:
        assert (told["code"], told["retryable"]) == ("deadline-exceeded", True)
    else:
        assert 0 < told["remaining_ms"] <= 2000


@pytest.mark.parametrize(("deadline_ms", "status"), [(None, 200), ("60000", 200), ("300", 503)])
async def test_a_lifted_deadline_leaves_the_senders(
    tokens: tuple[DevIssuer, Path],
    readiness: Readiness,
    client: aiohttp.ClientSession,
    deadline_ms: str | None,
    status: int,
) -> None:
    """A proof through the gateway, whose deadline is minutes, is not cut off at the application's own seconds."""
    headers = {} if deadline_ms is None else {"X-Request-Deadline-Ms": deadline_ms}
    async with serving(build(tokens[1], readiness, EdgeSettings(deadline_s=0.1))) as url:
        async with client.post(f"{url}/slow?wait_s=1&lift=yes", headers=headers) as answer:
            assert answer.status == status
        async with client.post(f"{url}/slow?wait_s=1", headers=headers) as answer:
            assert answer.status == 503, "what is not lifted is kept"


async def test_a_body_that_does_not_come_is_408(url: str) -> None:
    request = b"POST /whole HTTP/1.1\r\nhost: x\r\nx-request-deadline-ms: 200\r\ncontent-length: 5\r\n\r\nab"
    answer = await talk_raw(url, request, seconds=10)
    assert answer.startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize(
    ("given", "kept"), [("req-1", True), ("a" * 128, True), ("a" * 129, False), ("a b", False), ("", False)]
)
async def test_request_ids_are_kept_or_made(url: str, client: aiohttp.ClientSession, given: str, kept: bool) -> None:
    async with client.get(f"{url}/version", headers={"X-Request-Id": given}) as answer:
        told = answer.headers["X-Request-Id"]
    assert (told == given) == kept
    assert told


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    ("given", "joined"),
    [
        (f"00-{TRACE}-00f067aa0ba902b7-01", True),
        (f"cc-{TRACE}-00f067aa0ba902b7-01-more", True),
        (f"00-{TRACE}-00f067aa0ba902b7-01-more", False),
        (f"ff-{TRACE}-00f067aa0ba902b7-01", False),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{TRACE.upper()}-00f067aa0ba902b7-01", False),
        ("nonsense", False),
    ],
)
async def test_traces_are_joined_or_begun(url: str, client: aiohttp.ClientSession, given: str, joined: bool) -> None:
    async with client.get(f"{url}/version", headers={"traceparent": given}) as answer:
        version, trace_id, span_id, _ = answer.headers["traceparent"].split("-")
    assert version == "00"
    assert (trace_id == TRACE) == joined
    assert span_id != "00f067aa0ba902b7"


async def test_health(url: str, client: aiohttp.ClientSession, readiness: Readiness) -> None:
    async with client.get(f"{url}/health/live") as answer:
        assert (answer.status, (await answer.json())["status"]) == (200, "alive")
    async with client.get(f"{url}/health/ready") as answer:
        assert (answer.status, (await answer.json())["checks"]["database"]["ready"]) == (503, False)
    readiness.set("database", ok=True)
    async with client.get(f"{url}/health/ready") as answer:
        assert (answer.status, (await answer.json())["status"]) == (200, "ready")
    async with client.get(f"{url}/version") as answer:
        assert await answer.json() == {"service": "sample", "version": "1.2.3", "api": "v1"}


async def test_metrics_by_template_never_by_path(url: str, client: aiohttp.ClientSession) -> None:
    for path in ("/easy/read/one", "/easy/read/two", "/x/y/z"):
        async with client.get(url + path):
            pass
    async with client.get(f"{url}/metrics") as answer:
        text = await answer.text()
    assert 'route="/easy/read/{name}",service="sample",status="200"' in text
    assert "/easy/read/one" not in text
    assert "/x/y/z" not in text


async def test_openapi_shows_scopes_hot_routes_and_problems(url: str, client: aiohttp.ClientSession) -> None:
    async with client.get(f"{url}/openapi.json") as answer:
        document = await answer.json()
    hot, easy = document["paths"]["/hot"]["post"], document["paths"]["/easy/entries"]["post"]
    for entry in (hot, easy):
        assert entry["security"] == [{"bearer": ["ledger:post"]}]
        assert entry["responses"]["default"] == {"$ref": "#/components/responses/Problem"}
        assert "422" not in entry["responses"]
    assert {"Entry", "Line", "Problem"} <= document["components"]["schemas"].keys()


async def test_two_authorization_headers_are_refused(url: str, bearer: str) -> None:
    request = f"GET /easy/read/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{bearer}\r\n{bearer}\r\n\r\n"
    answer = await talk_raw(url, request.encode())
    assert answer.startswith(b"HTTP/1.1 401")
    assert b"token-malformed" in answer
