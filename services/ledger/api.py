"""The ledger's REST entrance: requests in, commands asked, answers and problems out.

Every POST is a plain route that checks bytes straight into the vocabulary's dataclasses (a JSON number is no amount,
an unknown field is refused); what all of them do is in writes.py, the reads are in read_api.py.
"""

from dataclasses import dataclass, field
from datetime import date
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from libs.common import metrics
from libs.common.auth import Caller
from libs.common.clock import new_id
from libs.common.db import Pool
from libs.common.errors import Fault, Problem
from libs.common.http import (
    App,
    Operation,
    add_hot_route,
    allow_body,
    authenticate,
    exchange_of,
    json_response,
    read_body,
)
from libs.common.idempotency import is_retry, key_of
from libs.common.journal import (
    AccountRequest,
    AmountText,
    CurrencyRequest,
    CurrencyText,
    EntryRequest,
    IfClosed,
    LedgerRequest,
    LongText,
    Metadata,
    ReversalRequest,
    ShortText,
    SlugText,
    TransferRequest,
)
from libs.common.problems import malformed
from libs.common.signing import SigningKeys
from libs.common.traces import start_span
from services.ledger import commands
from services.ledger.account_api import AccountApi
from services.ledger.accounts import shape_faults
from services.ledger.answers import (
    AccountAnswer,
    EntryAnswer,
    LedgerAnswer,
)
from services.ledger.atomic import ATOMIC_BYTES_MAX, atomic_request, posted_lines
from services.ledger.balance_api import BalanceApi
from services.ledger.bulk import BulkPosting
from services.ledger.commands import Asker, Books, Wish
from services.ledger.exchange_api import ExchangeApi
from services.ledger.hold_api import HoldApi
from services.ledger.period_api import PeriodApi
from services.ledger.proof_api import ProofApi
from services.ledger.read_api import ReadApi, entry_id_of
from services.ledger.report_api import ReportApi
from services.ledger.short_api import ShortApi
from services.ledger.state import Ledger
from services.ledger.statement_api import StatementApi
from services.ledger.writes import (
    KEY_PARAMETER,
    LEDGER_PARAMETER,
    PREFIX,
    Write,
    answered,
    ask,
    asker_of,
    check,
    is_dry_run,
    json_body,
)

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
    if_closed: IfClosed = "reject"
    metadata: Metadata = Field(default_factory=dict)
    id: UUID | None = None


class ReversalBody(BaseModel):
    """When and why; the lines are the entry's own, on the other sides."""

    model_config = ConfigDict(extra="forbid", strict=True)
    effective_on: date | None = None
    if_closed: IfClosed = "reject"
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
    keys: SigningKeys = field(default_factory=SigningKeys)

    def add_to(self, app: App) -> None:
        """Puts every route into the application."""
        for post in (
            Write("/organizations", "organization:create", self.open_organization, ORGANIZATION, "An organization",
                  keyed=False),
            Write("/currencies", "currency:write", self.define_currency, CURRENCY, "A currency of one's own",
                  keyed=False),
            Write("/ledgers", "ledger:create", self.open_ledger, LEDGER, "A set of books", LedgerAnswer,
                  keyed=False),
            Write(f"{BOOKS}/accounts", "account:write", self.open_account, ACCOUNT, "An account", AccountAnswer),
            Write(f"{BOOKS}/entries/{{id}}/reverse", "ledger:post", self.reverse, REVERSAL, "A reversal", EntryAnswer,
                  body_wanted=False),
            Write(f"{BOOKS}/transfers", "ledger:post", self.transfer, TRANSFER, "A transfer", EntryAnswer),
            Write(f"{BOOKS}/entries", "ledger:post", self.post_entry, ENTRY, "A journal entry", EntryAnswer),
        ):  # fmt: skip
            post.add_to(app)
        self._add_bulk(app)
        AccountApi(self.books, self.reader).add_to(app)
        ExchangeApi(self.books, self.reader, asker_of).add_to(app)
        HoldApi(self.books, self.reader).add_to(app)
        ReadApi(self.books, self.reader, self.auditor).add_to(app)
        BalanceApi(self.books, self.reader).add_to(app)
        ReportApi(self.books, self.reader).add_to(app)
        ShortApi(self.books, self.reader).add_to(app)
        StatementApi(self.books, self.reader).add_to(app)
        ProofApi(self.books, self.reader, self.auditor, self.keys).add_to(app)
        PeriodApi(self.books, self.reader).add_to(app)

    async def post_entry(self, request: Request) -> Response:
        """The hot one: 2 to 1,000 lines that balance."""
        caller = await authenticate(request, "ledger:post")
        raw, value = await json_body(request, ENTRY_BYTES_MAX)
        wanted = check(ENTRY, raw, value)
        with start_span("post_journal") as span:
            answer = await ask(self.books, request, caller, wanted, raw, value, dry_run=is_dry_run(request))
            span.set("ledgerbus.sequence", answer.sequence)
        return answered(answer, request)

    async def open_account(self, request: Request) -> Response:
        """An account under a code that is free."""
        caller = await authenticate(request, "account:write")
        raw, value = await json_body(request)
        wanted = check(ACCOUNT, raw, value)
        if faults := shape_faults(wanted):
            raise malformed(faults)
        return answered(await ask(self.books, request, caller, wanted, raw, value), request)

    async def transfer(self, request: Request) -> Response:
        """Two lines the ledger makes itself."""
        caller = await authenticate(request, "ledger:post")
        raw, value = await json_body(request)
        body = check(TRANSFER, raw, value)
        wanted = TransferRequest(**{name: getattr(body, name) for name in TransferBody.model_fields})
        with start_span("post_journal"):
            answer = await ask(self.books, request, caller, wanted, raw, value, dry_run=is_dry_run(request))
        return answered(answer, request)

    async def reverse(self, request: Request) -> Response:
        """Takes an entry back whole, once."""
        caller = await authenticate(request, "ledger:post")
        raw, value = await json_body(request, empty={})
        body = check(REVERSAL, raw, value)
        wanted = ReversalRequest(
            entry_id=entry_id_of(request.path_params["id"]),
            id=body.id,
            effective_on=body.effective_on,
            if_closed=body.if_closed,
            description=body.description,
        )
        with start_span("post_journal"):
            named = {"entry": str(wanted.entry_id), "body": value}
            answer = await ask(self.books, request, caller, wanted, raw, named, dry_run=is_dry_run(request))
        return answered(answer, request)

    async def open_organization(self, request: Request) -> Response:
        """An organization with its ledger `main`, by an operator."""
        caller = await authenticate(request, "organization:create")
        raw, value = await json_body(request)
        body = check(ORGANIZATION, raw, value)
        asker = Asker(body.slug, "api", caller.subject, f"api/{caller.subject}")
        answer = await commands.open_organization(self.books, body.slug, body.name, body.functional_currency, asker)
        return json_response(answer, 201, {"Location": f"{PREFIX}/organizations/{body.slug}"})

    async def open_ledger(self, request: Request) -> Response:
        """One more set of books."""
        caller = await authenticate(request, "ledger:create")
        raw, value = await json_body(request)
        wanted = check(LEDGER, raw, value)
        answer = await commands.open_ledger(self.books, wanted, asker_of(caller), exchange_of(request).traceparent)
        return json_response(answer, 201, {"Location": f"{PREFIX}/ledgers/{wanted.code}"})

    async def define_currency(self, request: Request) -> Response:
        """A unit that ISO 4217 does not have."""
        caller = await authenticate(request, "currency:write")
        raw, value = await json_body(request)
        wanted = check(CURRENCY, raw, value)
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
            return answered(answers[0], request)
        metrics.LEDGER_TX.labels("entry", "posted").inc(len(answers))
        headers = {"Idempotency-Replayed": "true"} if answers[0].replayed else {}
        return Response(posted_lines(answers), 200, headers, media_type="application/x-ndjson")

    def _add_bulk(self, app: App) -> None:
        entry = {
            "summary": "Many journal entries, each on its own or all or none",
            "parameters": [LEDGER_PARAMETER, KEY_PARAMETER,
                           {"name": "mode", "in": "query", "schema": {"type": "string", "enum": ["each", "atomic"]}}],
            "requestBody": {"required": True, "content": {"application/x-ndjson": {"schema": {"type": "string"}}}},
            "responses": {"200": {"description": "One result a line.",
                                  "content": {"application/x-ndjson": {"schema": {"type": "string"}}}}},
        }  # fmt: skip
        path = f"{PREFIX}/ledgers/{{ledger}}/entries/bulk"
        add_hot_route(app, path, self.post_bulk, Operation("POST", path, "ledger:post", entry))
