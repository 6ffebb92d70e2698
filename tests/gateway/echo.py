"""A service to stand behind the gateway: it says what it received, and can be slow, long or endless on request."""

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

PIECE = b"x" * 65_535 + b"\n"


class EchoService:
    """Counts what reaches it. `gone` is set when a client leaves an export, `importing` by its first piece."""

    def __init__(self) -> None:
        self.requests = 0
        self.most_at_once = 0
        self.gone = asyncio.Event()
        self.release = asyncio.Event()
        self.importing = asyncio.Event()
        self._at_once = 0
        prefix = "/api/v1/ledgers/{ledger}"
        self.app = Starlette(
            routes=[
                Route("/health/ready", self._ready),
                Route("/openapi.json", self._openapi),
                Route(f"{prefix}/entries/bulk", self._answer_stream, methods=["POST"]),
                Route(f"{prefix}/log", self._export),
                Route("/{path:path}", self._echo, methods=["GET", "POST"]),
            ]
        )

    async def _answer_stream(self, request: Request) -> Response:
        """Piece by piece, or with ?count=1 the length alone once all has come."""
        return await (self._count(request) if "count" in request.query_params else self._bulk(request))

    async def _ready(self, _: Request) -> Response:
        return Response(b"{}")

    async def _openapi(self, _: Request) -> Response:
        schema = {"type": "object", "properties": {"description": {"type": "string"}}}
        shown = {
            "summary": "Post an entry",
            "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Entry"}}}},
            "responses": {"201": {"description": "Posted"}},
        }
        paths = {
            "/api/v1/ledgers/{ledger}/entries": {"post": shown},
            "/internal/secrets": {"get": {"responses": {"200": {"description": "Not for clients"}}}},
        }
        return Response(
            orjson.dumps({"openapi": "3.1.0", "paths": paths, "components": {"schemas": {"Entry": schema}}})
        )

    async def _echo(self, request: Request) -> Response:
        self.requests += 1
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            wanted = request.query_params
            if "wait_s" in wanted:
                await asyncio.sleep(float(wanted["wait_s"]))
            if "hold" in wanted:
                await self.release.wait()
            said = {
                "method": request.method,
                "raw_path": request.scope["raw_path"].decode(),
                "query": request.scope["query_string"].decode(),
                "headers": [[name.decode(), value.decode()] for name, value in request.scope["headers"]],
                "body": (await request.body()).decode(),
            }
            headers = {"Location": "/there", "Connection": "close, X-Private", "X-Private": "1", "Set-Cookie": "a=b"}
            return Response(
                b"y" * int(wanted["long"]) if "long" in wanted else orjson.dumps(said),
                status_code=int(wanted.get("status", "201" if request.method == "POST" else "200")),
                headers=headers,
                media_type="application/json",
            )
        finally:
            self._at_once -= 1

    async def _bulk(self, request: Request) -> Response:
        async def answers() -> AsyncIterator[bytes]:
            async for piece in request.stream():
                if piece:
                    yield b"got " + str(len(piece)).encode() + b"\n"

        request.scope["asgi"] = {"version": "3.0", "spec_version": "2.4"}  # else the answer's start eats the body
        return StreamingResponse(answers(), media_type="application/x-ndjson")

    async def _count(self, request: Request) -> Response:
        count, digest = 0, sha256()
        async for piece in request.stream():
            self.importing.set()
            count += len(piece)
            digest.update(piece)
        return Response(orjson.dumps({"bytes": count, "sha256": digest.hexdigest()}), media_type="application/json")

    async def _export(self, request: Request) -> Response:
        pieces = int(request.query_params.get("pieces", "0"))

        async def lines() -> AsyncIterator[bytes]:
            sent = 0
            try:
                while pieces == 0 or sent < pieces:
                    yield PIECE
                    sent += 1
                    await asyncio.sleep(0)
            finally:
                if sent != pieces:
                    self.gone.set()

        return StreamingResponse(lines(), media_type="application/x-ndjson")
