"""What every route that writes does: who asks, the body checked, one answer under the caller's key, told as HTTP.

A `Write` says where, who may, what is sent and what is done; `add_write` puts it into the application. The wish's key
is the Idempotency-Key header, else the body's `client_ref` where it has one, else the wish is asked once. What was done
is committed with its answer, and the outbox relay is woken.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from libs.common.auth import Caller
from libs.common.clock import Clock, new_id
from libs.common.db import Connection, Pool
from libs.common.errors import Fault, Rejection
from libs.common.http import App, Operation, add_hot_route, authenticate, read_body, require_json
from libs.common.idempotency import key_of
from libs.common.json_text import parse_json
from libs.common.openapi import REF
from libs.common.problems import malformed, malformed_by
from libs.common.sealing import Sealer
from libs.common.short_numbers import Place, exact_amounts
from services.invoicing.asking import CREATED, Asker, Done, Outcome, Wish, answer, fingerprint_of
from services.invoicing.wished import wish_response

PREFIX: Final = "/api/v1"
BODY_BYTES_MAX: Final = 1024 * 1024
_SLUG: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Tools:
    """What routes work with: the pools of the roles that write and read, the clock, the seal, the outbox's alarm."""

    writer: Pool
    reader: Pool
    clock: Clock
    sealer: Sealer
    wake: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, checked: whose, what, when, and by whom. `ids` are the address's."""

    organization: str
    body: Any
    now: datetime
    ids: Mapping[str, UUID]
    names: Mapping[str, str]
    key: str
    tools: Tools
    by: str = ""


Act = Callable[[Connection, Asked], Awaitable[Done | Rejection]]
Ask = Callable[[Wish, Asked], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class Write:
    """One route that writes. `act` works in the answer's transaction; `ask` stands in for it where there is a queue.

    `short_amounts` are the places where a JSON number is taken as an amount.
    """

    path: str
    scope: str
    body: TypeAdapter[Any]
    summary: str
    act: Act | None = None
    ask: Ask | None = None
    method: str = "POST"
    status: int = CREATED
    short_amounts: Sequence[Place] = ()
    is_empty_allowed: bool = False
    tags: Sequence[str] = field(default=("receivables",))


KEY_PARAMETER: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": "^[!-~]{1,200}$"},
}


def asker_of(caller: Caller) -> Asker:
    """The asker that a token speaks for; its keys are its own."""
    return Asker(caller.own_organization(), f"{caller.service or 'api'}/{caller.subject}")


def add_write(app: App, tools: Tools, write: Write) -> None:
    """Puts a route that writes into the application, with its entry in the OpenAPI document."""

    async def respond(request: Request) -> Response:
        caller = await authenticate(request, write.scope)
        value, body = await _checked(request, write)
        asker = asker_of(caller)
        key = key_of(request, required=False) or _own_key(request, body)
        wish = Wish(asker, key, fingerprint_of([write.method, request.url.path, value]))
        asked = Asked(
            asker.organization, body, tools.clock(), *_address(request, write.path), key=key, tools=tools,
            by=caller.subject,
        )  # fmt: skip
        if write.ask is not None:
            outcome = await write.ask(wish, asked)
        else:
            act = write.act
            assert act is not None, "a route does something"
            outcome = await answer(tools.writer, wish, asked.now, lambda connection: act(connection, asked))
        tools.wake()
        return wish_response(outcome)

    add_hot_route(app, PREFIX + write.path, respond, _operation(write))


def _own_key(request: Request, body: Any) -> str:
    """The key of a wish without one: its `client_ref` at this address (an order's invoice and payment may share it).

    What replaces something has none: it is asked again with another version, and its reference stays.
    """
    reference = getattr(body, "client_ref", None) if request.method == "POST" else None
    return str(new_id()) if reference is None else f"{request.url.path} {reference}"


async def _checked(request: Request, write: Write) -> tuple[Any, Any]:
    """The body as JSON and as its model has it. Raises Problem 4xx that names every place."""
    raw = await read_body(request, BODY_BYTES_MAX)
    if not raw and write.is_empty_allowed:
        raw = b"{}"
    else:
        require_json(request)
    value = parse_json(raw)
    if write.short_amounts:
        value, faults = exact_amounts(raw, value, write.short_amounts)
        if faults:
            raise malformed(faults)
    try:
        if write.short_amounts:
            return value, write.body.validate_json(_written(value))
        return value, write.body.validate_json(raw)
    except ValidationError as error:
        raise malformed_by(error, value) from error


def _written(value: Any) -> bytes:
    """JSON text of a body whose amounts are text now."""
    return orjson.dumps(value)


def _address(request: Request, path: str) -> tuple[dict[str, UUID], dict[str, str]]:
    """The ids and names of the address. Raises Problem 422 for an id that is no UUID."""
    ids: dict[str, UUID] = {}
    names: dict[str, str] = {}
    for name, text in request.path_params.items():
        if name == "ledger":
            if not _SLUG.fullmatch(text):
                raise malformed([Fault("", f"path parameter {name!r} of {path} is no ledger's code")])
            names[name] = text
            continue
        try:
            ids[name] = UUID(text)
        except ValueError as error:
            raise malformed([Fault("", f"path parameter {name!r} of {path} must be a UUID")]) from error
    return ids, names


def _operation(write: Write) -> Operation:
    path = PREFIX + write.path
    name = write.body._type.__name__.removesuffix("Body") + "Request"
    parameters: list[dict[str, Any]] = [] if write.method == "PUT" else [KEY_PARAMETER]
    for each in (part[1:-1] for part in write.path.split("/") if part.startswith("{")):
        schema = {"type": "string"} if each == "ledger" else {"type": "string", "format": "uuid"}
        parameters.append({"name": each, "in": "path", "required": True, "schema": schema})
    entry: dict[str, Any] = {
        "summary": write.summary,
        "tags": list(write.tags),
        "parameters": parameters,
        "responses": {
            str(write.status): {
                "description": "Done.",
                "content": {"application/json": {"schema": {"type": "object"}}},
            }
        },
    }
    if write.method == "DELETE":
        return Operation(write.method, path, write.scope, entry, {})
    entry["requestBody"] = {
        "required": not write.is_empty_allowed,
        "content": {"application/json": {"schema": {"$ref": REF.format(model=name)}}},
    }
    return Operation(write.method, path, write.scope, entry, {name: (write.body, "validation")})
