"""The ledger's REST entrance: requests in, commands asked, answers and problems out.

Every POST is a plain route that checks bytes straight into the vocabulary's dataclasses (a JSON number is no amount,
an unknown field is refused); the reads are in read_api.py. A wish's organization, service and subject come from the
token alone.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from libs.common import metrics
from libs.common.auth import Caller
from libs.common.clock import new_id
from libs.common.db import Pool
from libs.common.errors import Fault, Problem, Rejection
from libs.common.http import (
    App,
    Operation,
    add_hot_route,
    allow_body,
    authenticate,
    exchange_of,
    json_response,
    read_body,
    require_json,
)
from libs.common.idempotency import is_retry, key_of
from libs.common.journal import (
    AccountRequest,
    AmountText,
    CurrencyRequest,
    CurrencyText,
    EntryRequest,
    LedgerRequest,
    LongText,
    Metadata,
    ReversalRequest,
    ShortText,
    SlugText,
    TransferRequest,
)
from libs.common.json_text import parse_json
from libs.common.openapi import REF
from libs.common.problems import malformed, malformed_by, rejection_problem
from libs.common.traces import start_span
from services.ledger import commands, domain
from services.ledger.accounts import shape_faults
from services.ledger.answers import (
    AccountAnswer,
    EntryAnswer,
    LedgerAnswer,
)
from services.ledger.atomic import ATOMIC_BYTES_MAX, atomic_request, posted_lines
from services.ledger.bulk import BulkPosting
from services.ledger.commands import Answer, Asker, Books, Wish, fingerprint_of
from services.ledger.read_api import ReadApi, entry_id_of
from services.ledger.rejections import CONFLICTS, NOT_FOUND
from services.ledger.state import Ledger

PREFIX = "/api/v1"
BOOKS = "/ledgers/{ledger}"
ENTRY_BYTES_MAX = 1024 * 1024
LOG_RECORDS_MAX = 1_000


class OrganizationBody(BaseModel):
    """A new organization; its ledger `main` is kept in the functional currency."""

    model_config = ConfigDict(extra="forbid", strict=True)
    slug: SlugText
    name: ShortText
    functional_currency: CurrencyText = "USD"


class TransferBody(BaseModel):
    """Lowers `from` and raises `to`, each on its normal side."""

    model_config = ConfigDict(extra="forbid", strict=True)
    source: ShortText = Field(alias="from")
    target: ShortText = Field(alias="to")
    amount: AmountText
    currency: CurrencyText | None = None
    description: LongText = ""
    external_id: ShortText | None = None
    effective_on: date | None = None
    metadata: Metadata = Field(default_factory=dict)
    id: UUID | None = None


class ReversalBody(BaseModel):
    """When and why; the lines are the entry's own, on the other sides."""

    model_config = ConfigDict(extra="forbid", strict=True)
    effective_on: date | None = None
    description: LongText | None = None
    id: UUID | None = None


ENTRY = TypeAdapter(EntryRequest)
ACCOUNT = TypeAdapter(AccountRequest)
LEDGER = TypeAdapter(LedgerRequest)
CURRENCY = TypeAdapter(CurrencyRequest)
ORGANIZATION = TypeAdapter(OrganizationBody)
TRANSFER = TypeAdapter(TransferBody)
REVERSAL = TypeAdapter(ReversalBody)


@dataclass(frozen=True, slots=True)
class LedgerApi:
    """What the routes work on: books to write, the reader's pool to read, the auditor's for what crosses tenants."""

    books: Books
    reader: Pool
    auditor: Pool

    def add_to(self, app: App) -> None:
        """Puts every route into the application."""
        for post in (
            Post("/organizations", "organization:create", self.open_organization, ORGANIZATION, "An organization"),
            Post("/currencies", "currency:write", self.define_currency, CURRENCY, "A currency of one's own"),
            Post("/ledgers", "ledger:create", self.open_ledger, LEDGER, "A set of books", LedgerAnswer),
            Post(f"{BOOKS}/accounts", "account:write", self.open_account, ACCOUNT, "An account", AccountAnswer),
            Post(f"{BOOKS}/entries/{{id}}/reverse", "ledger:post", self.reverse, REVERSAL, "A reversal", EntryAnswer),
            Post(f"{BOOKS}/transfers", "ledger:post", self.transfer, TRANSFER, "A transfer", EntryAnswer),
            Post(f"{BOOKS}/entries", "ledger:post", self.post_entry, ENTRY, "A journal entry", EntryAnswer),
        ):  # fmt: skip
            post.add_to(app)
        self._add_bulk(app)
        ReadApi(self.books, self.reader, self.auditor).add_to(app)

    async def post_entry(self, request: Request) -> Response:
        """The hot one: 2 to 1,000 lines that balance."""
        caller = await authenticate(request, "ledger:post")
        raw, value = await _json_body(request, ENTRY_BYTES_MAX)
        wanted = _check(ENTRY, raw, value)
        with start_span("post_journal") as span:
            answer = await self._ask(request, caller, wanted, raw, value, dry_run=is_dry_run(request))
            span.set("ledgerbus.sequence", answer.sequence)
        return _answered(answer, request)

    async def open_account(self, request: Request) -> Response:
        """An account under a code that is free."""
        caller = await authenticate(request, "account:write")
        raw, value = await _json_body(request)
        wanted = _check(ACCOUNT, raw, value)
        if faults := shape_faults(wanted):
            raise malformed(faults)
        return _answered(await self._ask(request, caller, wanted, raw, value), request)

    async def transfer(self, request: Request) -> Response:
        """Two lines the ledger makes itself."""
        caller = await authenticate(request, "ledger:post")
        raw, value = await _json_body(request)
        body = _check(TRANSFER, raw, value)
        wanted = TransferRequest(**{name: getattr(body, name) for name in TransferBody.model_fields})
        with start_span("post_journal"):
            answer = await self._ask(request, caller, wanted, raw, value, dry_run=is_dry_run(request))
        return _answered(answer, request)

    async def reverse(self, request: Request) -> Response:
        """Takes an entry back whole, once."""
        caller = await authenticate(request, "ledger:post")
        raw, value = await _json_body(request, empty={})
        body = _check(REVERSAL, raw, value)
        wanted = ReversalRequest(
            entry_id=entry_id_of(request.path_params["id"]),
            id=body.id,
            effective_on=body.effective_on,
            description=body.description,
        )
        with start_span("post_journal"):
            named = {"entry": str(wanted.entry_id), "body": value}
            answer = await self._ask(request, caller, wanted, raw, named, dry_run=is_dry_run(request))
        return _answered(answer, request)

    async def _ask(
        self,
        request: Request,
        caller: Caller,
        wanted: domain.Request,
        raw: bytes,
        value: Any,
        *,
        dry_run: bool = False,
    ) -> Answer:
        key = key_of(request, required=False)
        wish = Wish(
            asker=asker_of(caller),
            ledger=request.path_params["ledger"],
            request=wanted,
            key=key or str(new_id()),
            fingerprint=fingerprint_of([request.url.path.rpartition("/")[2], value]),
            size=len(raw),
            lookup=is_retry(request),
            traceparent=exchange_of(request).traceparent,
            dry_run=dry_run,
        )
        answer = await commands.ask(self.books, wish)
        kind = type(wanted).__name__.removesuffix("Request").lower()
        outcome = "rejected" if answer.rejection else "dry-run" if dry_run else "posted"
        metrics.LEDGER_TX.labels(kind, outcome).inc()
        return answer

    async def open_organization(self, request: Request) -> Response:
        """An organization with its ledger `main`, by an operator."""
        caller = await authenticate(request, "organization:create")
        raw, value = await _json_body(request)
        body = _check(ORGANIZATION, raw, value)
        asker = Asker(body.slug, "api", caller.subject, f"api/{caller.subject}")
        answer = await commands.open_organization(self.books, body.slug, body.name, body.functional_currency, asker)
        return json_response(answer, 201, {"Location": f"{PREFIX}/organizations/{body.slug}"})

    async def open_ledger(self, request: Request) -> Response:
        """One more set of books."""
        caller = await authenticate(request, "ledger:create")
        raw, value = await _json_body(request)
        wanted = _check(LEDGER, raw, value)
        answer = await commands.open_ledger(self.books, wanted, asker_of(caller), exchange_of(request).traceparent)
        return json_response(answer, 201, {"Location": f"{PREFIX}/ledgers/{wanted.code}"})

    async def define_currency(self, request: Request) -> Response:
        """A unit that ISO 4217 does not have."""
        caller = await authenticate(request, "currency:write")
        raw, value = await _json_body(request)
        wanted = _check(CURRENCY, raw, value)
        return json_response(await commands.define_currency(self.books, wanted, asker_of(caller)), 201)

    async def post_bulk(self, request: Request) -> Response:
        """NDJSON in, one result line a line out: each line on its own while it still comes in, or all or none."""
        caller = await authenticate(request, "ledger:post")
        mode = request.query_params.get("mode", "each")
        if mode not in ("each", "atomic"):
            raise malformed([Fault("/mode", "is each or atomic")])
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type not in ("application/x-ndjson", "application/jsonl"):
            raise Problem(
                415, "content-type-not-supported", "The content type must be application/x-ndjson.",
                headers={"Accept": "application/x-ndjson"},
            )  # fmt: skip
        ledger = await self.books.get(caller.own_organization(), request.path_params["ledger"])
        key = key_of(request, required=False)
        if mode == "atomic":
            return await self._post_atomically(request, caller, ledger, key)
        allow_body(request, None)
        posting = BulkPosting(self.books, ledger, asker_of(caller), key, exchange_of(request).traceparent, ENTRY)
        return StreamingResponse(posting.results(request.stream()), media_type="application/x-ndjson")

    async def _post_atomically(self, request: Request, caller: Caller, ledger: Ledger, key: str | None) -> Response:
        raw = await read_body(request, ATOMIC_BYTES_MAX)
        wanted, fingerprint = atomic_request(raw, ENTRY)
        wish = Wish(
            asker=asker_of(caller),
            ledger=ledger.code,
            request=wanted,
            key=key or str(new_id()),
            fingerprint=fingerprint,
            size=len(raw),
            lookup=is_retry(request),
            traceparent=exchange_of(request).traceparent,
        )
        with start_span("post_journals"):
            answers = await commands.post_atomically(self.books, ledger, wish)
        if answers[0].rejection is not None:
            metrics.LEDGER_TX.labels("entry", "rejected").inc()
            return _answered(answers[0], request)
        metrics.LEDGER_TX.labels("entry", "posted").inc(len(answers))
        headers = {"Idempotency-Replayed": "true"} if answers[0].replayed else {}
        return Response(posted_lines(answers), 200, headers, media_type="application/x-ndjson")

    def _add_bulk(self, app: App) -> None:
        entry = {
            "summary": "Many journal entries, each on its own or all or none",
            "parameters": [_LEDGER_PARAMETER, _KEY_PARAMETER,
                           {"name": "mode", "in": "query", "schema": {"type": "string", "enum": ["each", "atomic"]}}],
            "requestBody": {"required": True, "content": {"application/x-ndjson": {"schema": {"type": "string"}}}},
            "responses": {"200": {"description": "One result a line.",
                                  "content": {"application/x-ndjson": {"schema": {"type": "string"}}}}},
        }  # fmt: skip
        path = f"{PREFIX}/ledgers/{{ledger}}/entries/bulk"
        add_hot_route(app, path, self.post_bulk, Operation("POST", path, "ledger:post", entry))


@dataclass(frozen=True, slots=True)
class Post:
    """A plain POST route and its entry in the OpenAPI document."""

    path: str
    scope: str
    respond: Callable[[Request], Awaitable[Response]]
    body: TypeAdapter[Any]
    summary: str
    answer: Any = None

    def add_to(self, app: App) -> None:
        """Puts the route into the application."""
        path = PREFIX + self.path
        name = "".join(part.capitalize() for part in self.summary.replace("'", "").split()[1:]) + "Request"
        models: dict[str, Any] = {name: (self.body, "validation")}
        schema: dict[str, Any] = {"type": "object"}
        if self.answer is not None:
            models[self.answer.__name__] = (TypeAdapter(self.answer), "serialization")
            schema = {"$ref": REF.format(model=self.answer.__name__)}
        parameters = [_KEY_PARAMETER]
        for place, parameter in (("{ledger}", _LEDGER_PARAMETER), ("{id}", _ID_PARAMETER)):
            if place in path:
                parameters = [*parameters, parameter]
        if self.scope == "ledger:post":
            parameters = [*parameters, _DRY_RUN_PARAMETER]
        entry = {
            "summary": self.summary,
            "parameters": parameters,
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": {"$ref": REF.format(model=name)}}},
            },
            "responses": {"201": {"description": "Done.", "content": {"application/json": {"schema": schema}}}},
        }
        add_hot_route(app, path, self.respond, Operation("POST", path, self.scope, entry, models))


_LEDGER_PARAMETER = {"name": "ledger", "in": "path", "required": True, "schema": {"type": "string"}}
_ID_PARAMETER = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
_DRY_RUN_PARAMETER = {
    "name": "dry_run",
    "in": "query",
    "required": False,
    "schema": {"type": "string", "enum": ["true", "false"]},
    "description": "Asks for the verdict alone: nothing is posted or remembered.",
}
_KEY_PARAMETER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": "^[!-~]{1,200}$"},
}


def asker_of(caller: Caller) -> Asker:
    """The asker that a token speaks for; its keys are its own."""
    service = caller.service or "api"
    return Asker(caller.own_organization(), service, caller.subject, f"{service}/{caller.subject}")


async def _json_body(request: Request, bytes_max: int | None = None, empty: Any = None) -> tuple[bytes, Any]:
    raw = await read_body(request, bytes_max)
    if not raw and empty is not None:
        return b"{}", empty
    require_json(request)
    return raw, parse_json(raw)


def _check(model: TypeAdapter[Any], raw: bytes, value: Any) -> Any:
    try:
        return model.validate_json(raw)
    except ValidationError as error:
        raise malformed_by(error, value) from error


def _answered(answer: Answer, request: Request) -> Response:
    """201 with the entry or account, or the rejection as a problem; both say whether they were remembered."""
    headers = {"Idempotency-Replayed": "true"} if answer.replayed else {}
    if answer.rejection is not None:
        problem = rejection_problem(answer.rejection, status_of(answer.rejection))
        problem.headers.update(headers)
        raise problem
    assert answer.body is not None
    if not answer.sequence:
        return json_response(answer.body, 200, headers)
    noun, name = ("entries", answer.body["id"]) if answer.kind == "entry" else ("accounts", answer.body["code"])
    headers["Location"] = f"{PREFIX}/ledgers/{request.path_params['ledger']}/{noun}/{name}"
    return json_response(answer.body, 201, headers)


def is_dry_run(request: Request) -> bool:
    """Whether `?dry_run=true` asks for the verdict alone; raises Problem 422 for anything but true and false."""
    asked = request.query_params.get("dry_run", "false")
    if asked not in ("true", "false"):
        raise malformed([Fault("/dry_run", "is true or false")])
    return asked == "true"


def status_of(rejection: Rejection) -> Literal[404, 409, 422]:
    """The HTTP status of a rejection."""
    if rejection.code in NOT_FOUND:
        return 404
    return 409 if rejection.code in CONFLICTS else 422
