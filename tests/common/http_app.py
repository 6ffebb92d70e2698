"""A small service made of every kind of route that libs.common.http offers."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, ConfigDict, TypeAdapter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from libs.common.auth import Caller, Verifier
from libs.common.errors import Fault, Problem, Rejection, Transient
from libs.common.http import (
    App,
    EdgeSettings,
    Operation,
    add_hot_route,
    allow_body,
    authenticate,
    create_app,
    exchange_of,
    json_response,
    read_json,
    read_model,
    requires,
    router,
)
from libs.common.idempotency import RequiredKey, key_of
from libs.common.problems import rejection_problem
from libs.common.runtime import Readiness

ISSUER, AUDIENCE = "http://issuer.test", "ledgerbus"
JSON = {"Content-Type": "application/json"}


class Line(BaseModel):
    model_config = ConfigDict(extra="forbid")
    account: str
    amount: str


class Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")
    description: str
    lines: list[Line]
    metadata: dict[str, Any] = {}


ENTRY = TypeAdapter(Entry)


def build(jwks: Path, readiness: Readiness, edge: EdgeSettings) -> App:
    app = create_app("sample", "1.2.3", readiness=readiness, verifier=Verifier(ISSUER, AUDIENCE, jwks), edge=edge)
    dry_run = {"name": "dry_run", "in": "query", "required": False, "schema": {"type": "boolean"}}
    entry = {"summary": "Post", "parameters": [dry_run], "responses": {"201": {"description": "Posted"}}}
    operation = Operation("POST", "/hot", "ledger:post", entry, {"Entry": (ENTRY, "validation")})
    add_hot_route(app, "/hot", _post, operation)
    for path, respond in (("/json", _echo_json), ("/lines", _lines), ("/slow", _slow), ("/whole", _whole)):
        shown = {"responses": {"200": {"description": "Done"}}}
        add_hot_route(app, path, respond, Operation("POST", path, "ledger:post", shown))
    app.include_router(_comfortable())
    return app


async def _post(request: Request) -> Response:
    caller = await authenticate(request, "ledger:post")
    key = key_of(request, required=True)
    wanted = await read_model(request, ENTRY)
    return json_response({"by": caller.subject, "key": key, "lines": len(wanted.lines)}, 201, {"Location": "/hot/1"})


async def _echo_json(request: Request) -> Response:
    return json_response(await read_json(request))


async def _whole(request: Request) -> Response:
    return json_response({"bytes": len(await request.body())})


async def _slow(request: Request) -> Response:
    if "lift" in request.query_params:
        exchange_of(request).lift_deadline()
    await asyncio.sleep(float(request.query_params["wait_s"]))
    return json_response({"remaining_ms": exchange_of(request).remaining_ms()})


async def _lines(request: Request) -> Response:
    allow_body(request, None)

    async def counts() -> AsyncIterator[bytes]:
        async for piece in request.stream():
            if piece:
                yield str(len(piece)).encode() + b"\n"

    return StreamingResponse(counts(), media_type="application/x-ndjson")


def _comfortable() -> Any:
    routes = router("/easy", tags=["easy"])

    @routes.get("/read/{name}")
    async def read(name: str, caller: Annotated[Caller, requires("ledger:read")], n: int = 1) -> dict[str, Any]:
        return {"name": name, "by": caller.subject, "n": n}

    @routes.get("/many")
    async def many(
        caller: Annotated[Caller, requires("ledger:read")], tag: Annotated[list[str] | None, Query()] = None
    ) -> list[str]:
        return tag or []

    @routes.post("/entries", status_code=201)
    async def post(entry: Entry, caller: Annotated[Caller, requires("ledger:post")], key: RequiredKey) -> Entry:
        return entry

    @routes.get("/fail/{how}")
    async def fail(how: str) -> None:
        raise {
            "defect": KeyError("the password is hunter2"),
            "transient": Transient("The database is away.", retry_after_s=7),
            "rejection": rejection_problem(
                Rejection("entry-not-balanced", "Off by 1.00 USD.", {"currency": "USD"}, [Fault("/lines/1", "is off")])
            ),
            "conflict": Problem(409, "version-conflict", "Somebody was faster.", facts={"version": 3}),
        }[how]

    return routes
