"""The gateway's application: the route table ahead of everything, then health and documentation."""

from collections.abc import Iterable, Mapping
from typing import Final

from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from libs.common.auth import Verifier
from libs.common.http import App, EdgeSettings, create_app, json_response
from libs.common.path_table import path_params
from services.gateway.browser import SECURITY_HEADERS
from services.gateway.errors_page import errors_page
from services.gateway.openapi import OpenApi
from services.gateway.proxy import BODY_S, Proxy
from services.gateway.readiness import UpstreamReadiness
from services.gateway.routes import SHORT_HEALTH, TABLE, Passage, RouteTable
from services.gateway.upstreams import Upstream

OPENAPI_PATH: Final = "/api/openapi.json"
ASSETS: Final = "https://cdn.jsdelivr.net"
_DOCS_POLICY: Final = (
    f"default-src 'self'; script-src 'self' 'unsafe-inline' {ASSETS}; style-src 'self' 'unsafe-inline' {ASSETS}; "
    "img-src 'self' data: https://fastapi.tiangolo.com https://cdn.redoc.ly; worker-src blob:; frame-ancestors 'none'"
)


class PassThrough(Route):
    """All passages of a table as one route, found in one look-up instead of one regular expression each."""

    def __init__(self, table: RouteTable, proxy: Proxy) -> None:
        super().__init__("/api/{path:path}", _Forward(proxy))
        self._table = table

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http" or not scope["path"].startswith("/api/"):
            return Match.NONE, {}
        passages = self._table.find(scope["path"])
        if not passages:
            return Match.NONE, {}
        passage = passages.get(scope["method"])
        if passage is None:
            return Match.PARTIAL, {"route": None}
        return Match.FULL, {"route": passage}


class _Forward:
    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        passage = scope["route"]
        if not isinstance(passage, Passage):
            raise HTTPException(405)
        await self._proxy.forward(passage, path_params(passage.path, scope["path"]), scope, receive, send)


def create_gateway(
    version: str,
    upstreams: Mapping[str, Upstream],
    verifier: Verifier,
    proxy: Proxy,
    readiness: UpstreamReadiness,
    *,
    passages: Iterable[Passage] = TABLE,
    access_log: bool = False,
) -> App:
    """The application. `proxy` must be started before the first request."""
    table = RouteTable(passages)
    deadline_s = max(passage.timeout_s for passage in table.passages) + BODY_S + 1
    edge = EdgeSettings(deadline_s=deadline_s, access_log=access_log, answer_headers=SECURITY_HEADERS)
    app = create_app("gateway", version, readiness=readiness, verifier=verifier, edge=edge, docs=False)
    app.router.routes.insert(0, PassThrough(table, proxy))
    _add_docs(app, OpenApi(version, table.passages, upstreams), proxy)
    _add_short_health(app, version, readiness)
    return app


def _add_short_health(app: App, version: str, readiness: UpstreamReadiness) -> None:
    """/health and /api/health, where clients of other ledgers look: one word and the version, 503 while not ready."""

    async def health(_: Request) -> Response:
        status, code = ("ok", 200) if readiness.ready else ("not-ready", 503)
        return json_response({"status": status, "version": version}, code, {"Cache-Control": "no-store"})

    for path in SHORT_HEALTH:
        app.router.routes.append(Route(path, health, methods=["GET"], include_in_schema=False))


def _add_docs(app: App, openapi: OpenApi, proxy: Proxy) -> None:
    async def document(_: Request) -> Response:
        return json_response(await openapi.document(proxy.session), headers={"Cache-Control": "max-age=30"})

    async def swagger(_: Request) -> Response:
        return _page(get_swagger_ui_html(openapi_url=OPENAPI_PATH, title="LedgerBus API"))

    async def redoc(_: Request) -> Response:
        return _page(get_redoc_html(openapi_url=OPENAPI_PATH, title="LedgerBus API", with_google_fonts=False))

    async def errors(_: Request) -> Response:
        return _page(Response(errors_page(), media_type="text/html"))

    routes = ((OPENAPI_PATH, document), ("/docs", swagger), ("/redoc", redoc), ("/docs/errors", errors))
    for path, respond in routes:
        app.router.routes.append(Route(path, respond, methods=["GET"], include_in_schema=False))


def _page(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = _DOCS_POLICY
    return response
