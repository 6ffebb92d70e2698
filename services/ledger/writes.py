"""What every route that writes does: who asks, the body checked, the request asked, the answer or the problem.

A wish's organization, service and subject come from the token alone.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from libs.common import metrics
from libs.common.auth import Caller
from libs.common.clock import new_id
from libs.common.errors import Fault, Rejection
from libs.common.http import App, Operation, add_hot_route, exchange_of, json_response, read_body, require_json
from libs.common.idempotency import is_retry, key_of
from libs.common.json_text import parse_json
from libs.common.openapi import REF
from libs.common.periods import PERMITS
from libs.common.problems import malformed, malformed_by, rejection_problem
from services.ledger import commands
from services.ledger.commands import Answer, Asker, Books, Wish, fingerprint_of
from services.ledger.domain import Request as WantedRequest
from services.ledger.rejections import CONFLICTS, NOT_FOUND

PREFIX = "/api/v1"


@dataclass(frozen=True, slots=True)
class Write:
    """A plain route that writes, and its entry in the OpenAPI document. `status` is that of what is done now.

    `body_wanted`: whether the body may not be left out. `keyed`: whether it is remembered under an Idempotency-Key.
    """

    path: str
    scope: str
    respond: Callable[[Request], Awaitable[Response]]
    body: TypeAdapter[Any]
    summary: str
    answer: Any = None
    method: str = "POST"
    status: int = 201
    body_wanted: bool = True
    keyed: bool = True

    def add_to(self, app: App) -> None:
        """Puts the route into the application."""
        path = PREFIX + self.path
        name = "".join(part.capitalize() for part in self.summary.replace("'", "").split()[1:]) + "Request"
        models: dict[str, Any] = {name: (self.body, "validation")}
        schema: dict[str, Any] = {"type": "object"}
        if self.answer is not None:
            models[self.answer.__name__] = (TypeAdapter(self.answer), "serialization")
            schema = {"$ref": REF.format(model=self.answer.__name__)}
        parameters = [KEY_PARAMETER] if self.keyed else []
        for place, parameter in (("{ledger}", LEDGER_PARAMETER), ("{id}", ID_PARAMETER), ("{code}", CODE_PARAMETER)):
            if place in path:
                parameters = [*parameters, parameter]
        responses = {str(self.status): told("Done.", schema)}
        if self.scope == "ledger:post":
            responses.setdefault("200", told(DRY_RUN_TOLD, {"type": "object"}))
            parameters = [*parameters, DRY_RUN_PARAMETER]
        entry = {
            "summary": self.summary,
            "parameters": parameters,
            "requestBody": {
                "required": self.body_wanted,
                "content": {"application/json": {"schema": {"$ref": REF.format(model=name)}}},
            },
            "responses": responses,
        }
        add_hot_route(app, path, self.respond, Operation(self.method, path, self.scope, entry, models))


def told(description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON answer's place in the document."""
    return {"description": description, "content": {"application/json": {"schema": schema}}}


DRY_RUN_TOLD = "What would have been posted, asked with dry_run: the same members, without a sequence."
LEDGER_PARAMETER = {"name": "ledger", "in": "path", "required": True, "schema": {"type": "string"}}
ID_PARAMETER = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
DRY_RUN_PARAMETER = {
    "name": "dry_run",
    "in": "query",
    "required": False,
    "schema": {"type": "string", "enum": ["true", "false"]},
    "description": "Asks for the verdict alone: nothing is posted or remembered.",
}
CODE_PARAMETER = {"name": "code", "in": "path", "required": True, "schema": {"type": "string"}}
KEY_PARAMETER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": "^[!-~]{1,200}$"},
}


def asker_of(caller: Caller) -> Asker:
    """The asker that a token speaks for; its keys are its own."""
    service = caller.service or "api"
    permits = caller.scopes & PERMITS
    return Asker(caller.own_organization(), service, caller.subject, f"{service}/{caller.subject}", permits)


async def json_body(request: Request, bytes_max: int | None = None, empty: Any = None) -> tuple[bytes, Any]:
    """The body as sent and as JSON; an empty one is `empty` where that is given. Raises Problem 4xx."""
    raw = await read_body(request, bytes_max)
    if not raw and empty is not None:
        return b"{}", empty
    require_json(request)
    return raw, parse_json(raw)


def check(model: TypeAdapter[Any], raw: bytes, value: Any) -> Any:
    """The body as the model has it. Raises Problem 422 that names every place."""
    try:
        return model.validate_json(raw)
    except ValidationError as error:
        raise malformed_by(error, value) from error


def answered(answer: Answer, request: Request, status: int = 201) -> Response:
    """The entry or account, or the rejection as a problem; both say whether they were remembered."""
    headers = {"Idempotency-Replayed": "true"} if answer.replayed else {}
    if answer.rejection is not None:
        problem = rejection_problem(answer.rejection, status_of(answer.rejection))
        problem.headers.update(headers)
        raise problem
    assert answer.body is not None
    if not answer.sequence:
        return json_response(answer.body, 200, headers)
    headers["Location"] = f"{PREFIX}/ledgers/{request.path_params['ledger']}/{_place(answer.kind, answer.body)}"
    return json_response(answer.body, status, headers)


def _place(kind: str, body: Mapping[str, Any]) -> str:
    match kind:
        case "entry":
            return f"entries/{body['id']}"
        case "capture":
            return f"entries/{body['entry']['id']}"
        case "hold":
            return f"holds/{body['id']}"
        case _:
            return f"accounts/{body['code']}"


def is_dry_run(request: Request) -> bool:
    """Whether `?dry_run=true` asks for the verdict alone; raises Problem 422 for anything but true and false."""
    if not request.scope["query_string"]:
        return False
    asked = request.query_params.get("dry_run", "false")
    if asked not in ("true", "false"):
        raise malformed([Fault("/dry_run", "is true or false")])
    return asked == "true"


def status_of(rejection: Rejection) -> Literal[404, 409, 422]:
    """The HTTP status of a rejection."""
    if rejection.code in NOT_FOUND:
        return 404
    return 409 if rejection.code in CONFLICTS else 422


async def ask(
    books: Books,
    request: Request,
    caller: Caller,
    wanted: WantedRequest,
    raw: bytes,
    value: Any,
    *,
    dry_run: bool = False,
) -> Answer:
    """One request through the ledger's writer; its key is scoped to the caller, `value` is what the key stands for."""
    key = key_of(request, required=False) or str(new_id())
    content = [request.scope["path"].rpartition("/")[2], value]
    ledger = request.path_params["ledger"]
    return await ask_under(key, books, request, caller, ledger, wanted, content, len(raw), dry_run=dry_run)


async def ask_under(
    key: str,
    books: Books,
    request: Request,
    caller: Caller,
    ledger: str,
    wanted: WantedRequest,
    content: Any,
    size: int,
    *,
    dry_run: bool = False,
) -> Answer:
    """As `ask`, under a key and on a ledger that are named here; the key stands for `content`, `size` bytes long."""
    wish = Wish(
        asker=asker_of(caller),
        ledger=ledger,
        request=wanted,
        key=key,
        fingerprint=fingerprint_of(content),
        size=size,
        lookup=is_retry(request),
        traceparent=exchange_of(request).traceparent,
        dry_run=dry_run,
    )
    answer = await commands.ask(books, wish)
    kind = type(wanted).__name__.removesuffix("Request").lower()
    outcome = "rejected" if answer.rejection else "dry-run" if dry_run else "posted"
    metrics.LEDGER_TX.labels(kind, outcome).inc()
    return answer
