"""An HTTP application as all services run it: one middleware, one error format, the same four addresses.

Shape: `create_app` gives a FastAPI application whose middleware stack is `Edge` alone, a pure ASGI layer that names the
request, joins the trace, counts the body while it comes in, keeps the deadline, and answers every exception as
problem+json. Routes that need not be fast are written as FastAPI routes (`requires(scope)` gives the caller); hot ones
as plain functions of a Starlette request, added with `add_hot_route`, which read bytes and answer bytes and are found
without FastAPI (a third of the time of a request that posts an entry):

    async def post_entry(request: Request) -> Response:
        caller = await authenticate(request, "ledger:post")
        key = key_of(request, required=True)
        wanted = await read_model(request, ENTRY)
        ...
        return json_response(posted, 201)

A query parameter that a route does not know is refused once the caller is known: misspelt, it would be ignored in
silence. So is one that is given twice and is no list: one value would win in silence. FastAPI routes know theirs by
their signature, hot ones by their `Operation`.

Limits: `BODY_BYTES_MAX` a body unless the route says otherwise (`allow_body`), `HEADER_BYTES_MAX` of headers, the
deadline the sender gave (X-Request-Deadline-Ms) and never more than the application's own. Streams lift both and are
held to `BODY_IDLE_S` between two pieces instead.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, TypeVar, get_args, get_origin

import orjson
from fastapi import APIRouter, FastAPI, Security
from fastapi.dependencies.utils import get_flat_params
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.params import Form, ParamTypes
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer, SecurityScopes
from pydantic import TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from libs.common.auth import Caller, Verifier
from libs.common.edge import BODY_BYTES_MAX, Edge, EdgeSettings, Exchange, exchange_of
from libs.common.errors import Fault, Problem
from libs.common.health import Ready, add_health
from libs.common.json_text import parse_json, pointer_token
from libs.common.openapi import Operation, openapi_document
from libs.common.path_table import PathTable, path_params
from libs.common.problems import FAULTS_MAX, malformed, malformed_by

__all__ = [
    "BODY_BYTES_MAX", "App", "EdgeSettings", "Exchange", "Operation", "add_hot_route", "allow_body", "authenticate",
    "create_app", "exchange_of", "json_response", "read_body", "read_json", "read_model", "requires", "router",
]  # fmt: skip

JSON: Final = "application/json"

_Model = TypeVar("_Model")


class App(FastAPI):
    """A FastAPI application with `Edge` as its only middleware, and hand-written OpenAPI entries for hot routes."""

    service: str
    edge: EdgeSettings
    verifier: Verifier
    operations: list[Operation]

    def build_middleware_stack(self) -> ASGIApp:
        hot = [route for route in self.router.routes if isinstance(route, HotRoute)]
        return Edge(_HotFirst(hot, AsyncExitStackMiddleware(self.router)), self.router, self.edge, self.service)

    def openapi(self) -> dict[str, Any]:
        if not self.openapi_schema:
            self.openapi_schema = openapi_document(super().openapi(), self.operations)
        return self.openapi_schema


def create_app(
    service: str,
    version: str,
    *,
    readiness: Ready,
    verifier: Verifier,
    edge: EdgeSettings | None = None,
    title: str | None = None,
    description: str = "",
    docs: bool = True,
) -> App:
    """An application with /health/live, /health/ready, /version, /metrics and, where `docs`, /docs and /redoc."""
    app = App(
        title=title or f"LedgerBus {service}",
        version=version,
        description=description,
        docs_url="/docs" if docs else None,
        redoc_url="/redoc" if docs else None,
        openapi_url="/openapi.json" if docs else None,
        redirect_slashes=False,
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
        },
    )
    app.router.route_class = StrictRoute
    app.service = service
    app.edge = edge or EdgeSettings()
    app.verifier = verifier
    app.operations = []
    add_health(app, service, version, readiness)
    return app


class _CheckedRequest(Request):
    """A request whose body was read and checked before FastAPI, which would call every failure in it a 400."""

    def __init__(self, request: Request, raw: bytes, value: Any) -> None:
        super().__init__(request.scope, request.receive)
        self._raw = raw
        self._value = value

    async def body(self) -> bytes:
        return self._raw

    async def json(self) -> Any:
        return self._value


class StrictRoute(APIRoute):
    """A FastAPI route whose JSON body is checked by `json_text`; another content type than JSON is 415.

    `query_names` are the query parameters it knows, its dependencies' too; `query_lists` those that may be repeated.
    """

    query_names: frozenset[str]
    query_lists: frozenset[str]

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        parameters = [
            parameter
            for parameter in get_flat_params(self.dependant)
            if getattr(parameter.field_info, "in_", None) is ParamTypes.query
        ]
        self.query_names = frozenset(parameter.alias for parameter in parameters)
        self.query_lists = frozenset(
            parameter.alias for parameter in parameters if _takes_many(parameter.field_info.annotation)
        )
        respond: Callable[[Request], Awaitable[Response]] = super().get_route_handler()
        if not any(dependency.call is _authenticate for dependency in self.dependant.dependencies):
            respond = _with_known_query(respond)
        if self.body_field is None or isinstance(self.body_field.field_info, Form):
            return respond

        async def respond_checked(request: Request) -> Response:
            require_json(request)
            raw = await read_body(request)
            return await respond(_CheckedRequest(request, raw, parse_json(raw)))

        return respond_checked


def _takes_many(annotation: Any) -> bool:
    return any(get_origin(each) is list for each in (annotation, *get_args(annotation)))


class HotRoute(Route):
    """A plain route. It is among the application's routes for what asks all of them, such as 405; `_HotFirst` calls it.

    `query_names` are the query parameters it knows.
    """

    def __init__(self, operation: Operation, respond: Callable[[Request], Awaitable[Response]]) -> None:
        super().__init__(operation.path, respond, methods=[operation.method])
        self.respond = respond
        parameters = [each for each in operation.entry.get("parameters", ()) if each["in"] == "query"]
        self.query_names = frozenset(parameter["name"] for parameter in parameters)
        self.query_lists = frozenset(
            parameter["name"] for parameter in parameters if parameter["schema"].get("type") == "array"
        )

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = super().matches(scope)
        return match, {**found, "route": self} if match is Match.FULL else found


class _HotFirst:
    """Calls a hot route where one takes the request, and FastAPI for everything else. Names the route in the scope."""

    def __init__(self, routes: Iterable[HotRoute], fastapi: ASGIApp) -> None:
        self._fastapi = fastapi
        self._table: PathTable[HotRoute] = PathTable()
        for route in routes:
            for method in route.methods or ():
                self._table.add(method, route.path, route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._table.find(scope["path"]).get(scope["method"]) if scope["type"] == "http" else None
        if route is None:
            await self._fastapi(scope, receive, send)
            return
        scope["route"] = route
        scope["path_params"] = path_params(route.path, scope["path"])
        response = await route.respond(Request(scope, receive, send))
        await response(scope, receive, send)


def router(prefix: str = "", tags: Sequence[str] = ()) -> APIRouter:
    """A router for comfortable routes, to be included in the application."""
    return APIRouter(prefix=prefix, tags=list(tags), route_class=StrictRoute, redirect_slashes=False)


def add_hot_route(app: App, path: str, respond: Callable[[Request], Awaitable[Response]], operation: Operation) -> None:
    """Put a plain route ahead of all others. `operation` is its OpenAPI entry, written by hand."""
    assert operation.path == path
    app.router.routes.insert(0, HotRoute(operation, respond))
    app.operations.append(operation)


async def authenticate(request: Request, scope: str) -> Caller:
    """The caller of a plain route. Raises Problem 401 or 403, and 422 for a query that the route does not take."""
    values = request.headers.getlist("authorization")
    if len(values) > 1:
        raise Problem(401, "token-malformed", "The Authorization header was sent more than once.")
    app: App = request.app
    caller = await app.verifier.verify(values[0] if values else None)
    exchange_of(request).caller = caller
    caller.require(scope)
    refuse_wrong_query(request)
    return caller


def refuse_wrong_query(request: Request) -> None:
    """Raise Problem 422 unless the route knows every query parameter, and each that is no list is given once."""
    if request.scope["query_string"]:
        route = request.scope["route"]
        known: frozenset[str] = route.query_names
        counts = Counter(name for name, _ in request.query_params.multi_items())
        told = f"is no query parameter here; known are: {', '.join(sorted(known)) or 'none'}"
        faults = [(name, told) for name in counts if name not in known]
        faults += [
            (name, f"is given {count} times, and one value is wanted")
            for name, count in counts.items()
            if count > 1 and name in known and name not in route.query_lists
        ]
        if faults:
            raise malformed([Fault(f"/{pointer_token(name[:60])}", detail) for name, detail in faults[:FAULTS_MAX]])


def _with_known_query(respond: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def respond_checked(request: Request) -> Response:
        refuse_wrong_query(request)
        return await respond(request)

    return respond_checked


_BEARER: Final = HTTPBearer(auto_error=False, scheme_name="bearer", bearerFormat="JWT")


async def _authenticate(request: Request, wanted: SecurityScopes, _: Annotated[Any, Security(_BEARER)]) -> Caller:
    (scope,) = wanted.scopes
    return await authenticate(request, scope)


def requires(scope: str) -> Any:
    """The mark of a FastAPI route's parameter: `caller: Annotated[Caller, requires("ledger:read")]`."""
    return Security(_authenticate, scopes=[scope])


def allow_body(request: Request, bytes_max: int | None) -> None:
    """Let this request's body be as long as that. None makes it a stream: any length, no deadline, never idle.

    A StreamingResponse listens for the client's leaving by reading `receive`, and so would throw away pieces of a body
    that is still being read; to an application of ASGI 2.4 it does not, hence the version.
    """
    exchange = exchange_of(request)
    exchange.body_bytes_max = bytes_max
    if bytes_max is None:
        exchange.lift_deadline()
        request.scope["asgi"] = {**request.scope["asgi"], "spec_version": "2.4"}


async def read_body(request: Request, bytes_max: int | None = None) -> bytes:
    """The whole body. Raises Problem 413 as soon as it is longer than `bytes_max` or the application's limit."""
    if bytes_max is not None:
        exchange_of(request).body_bytes_max = bytes_max
    receive = request.receive
    message = await receive()
    if message["type"] != "http.request":
        raise ClientDisconnect
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        return body
    pieces = [body]
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientDisconnect
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)


async def read_json(request: Request) -> Any:
    """The body as a checked JSON value. Raises Problem 413, 415, 400 or 422."""
    require_json(request)
    return parse_json(await read_body(request))


async def read_model(request: Request, model: TypeAdapter[_Model]) -> _Model:
    """The body as a model's value, by JSON's rules (a text is a date, a number is no text). Raises as `read_json`."""
    require_json(request)
    raw = await read_body(request)
    value = parse_json(raw)
    try:
        return model.validate_json(raw)
    except ValidationError as error:
        raise malformed_by(error, value) from error


def require_json(request: Request) -> None:
    """Raise Problem 415 unless the content type is JSON."""
    given = request.headers.get("content-type", "")
    if given == JSON:
        return
    media_type = given.partition(";")[0].strip().lower()
    if media_type != JSON and not (media_type.startswith("application/") and media_type.endswith("+json")):
        raise Problem(
            415,
            "content-type-not-supported",
            f"The content type must be {JSON}" + (f", not {media_type[:60]!r}." if media_type else "; none was sent."),
            headers={"Accept": JSON},
        )


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer of bytes that are JSON already, or of anything orjson writes (dataclasses, UUIDs, dates)."""
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    return Response(body, status_code=status, headers=headers, media_type=JSON)
