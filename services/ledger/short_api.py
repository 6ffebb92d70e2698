"""The short paths for writing: what clients of other small ledgers send, posted to the organization's ledger `main`.

Each path reads its own form (short_forms.py), makes one of the ledger's ordinary requests of it, asks as any other
entrance does, and answers in the form's words (short_words.py). On these paths alone an amount may be a JSON number,
read as the decimal text it is written as; an account may be named by code or id; and the idempotency key may stand in
the body, as `idempotency_key` or `client_ref`. Reading is in short_read_api.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from uuid import uuid5

import orjson
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from starlette.requests import Request
from starlette.responses import Response

from libs.common.auth import Caller
from libs.common.clock import new_id
from libs.common.db import Pool
from libs.common.errors import Fault, Rejection
from libs.common.http import (
    App,
    Operation,
    add_hot_route,
    authenticate,
    json_response,
    read_body,
    require_json,
)
from libs.common.idempotency import key_of
from libs.common.journal import AccountRequest
from libs.common.json_text import parse_json
from libs.common.openapi import REF
from libs.common.problems import malformed, malformed_by, rejection_problem
from libs.common.short_numbers import EVERY, exact_amounts
from libs.common.traces import start_span
from services.ledger import reads, short_examples, short_forms, short_reads, short_words
from services.ledger.accounts import shape_faults
from services.ledger.commands import Answer, Books
from services.ledger.domain import Request as Wanted
from services.ledger.short_forms import Form
from services.ledger.short_read_api import TAG, V1, ShortReadApi
from services.ledger.state import Ledger
from services.ledger.writes import (
    DRY_RUN_PARAMETER,
    DRY_RUN_TOLD,
    KEY_PARAMETER,
    ask_under,
    asker_of,
    is_dry_run,
    status_of,
)

STRICT: Final = ConfigDict(extra="forbid", strict=True)
BODY_BYTES_MAX: Final = 1024 * 1024
AMOUNTS: Final = (("amount",), ("lines", EVERY, "amount"), ("entries", EVERY, "amount"))
"""Where a JSON number is an amount."""


class Meant(NamedTuple):
    """What a form asks for, the form's words for our members, and what its own members do not agree on."""

    request: Wanted
    words: Mapping[str, str]
    faults: list[Fault]


class Situation(NamedTuple):
    """What surrounds an answer: the form, its key, the ledger, and ids by account code."""

    form: Form
    key: str
    ledger: Ledger
    ids: Mapping[str, str]


def _account(form: Form, ledger: Ledger, code: str) -> Meant:
    return Meant(*short_forms.account_request(form, code=code, currency=ledger.functional_currency.code))


def _asset(form: Form, ledger: Ledger, code: str) -> Meant:
    functional = ledger.functional_currency.code
    return Meant(*short_forms.account_request(form, code=code, currency=functional, type_="asset"))


def _wallet(form: Form, _: Ledger, code: str) -> Meant:
    return Meant(short_forms.wallet_request(form, code=code), short_forms.WALLET_WORDS, [])


def _journal(form: Form, _: Ledger, __: str) -> Meant:
    return Meant(short_forms.journal_request(form), short_forms.JOURNAL_WORDS, [])


def _transaction(form: Form, _: Ledger, __: str) -> Meant:
    return Meant(short_forms.transaction_request(form), short_forms.TRANSACTION_WORDS, [])


def _wallet_transfer(form: Form, _: Ledger, __: str) -> Meant:
    return Meant(short_forms.wallet_transfer_request(form), short_forms.WALLET_TRANSFER_WORDS, [])


def _transfer(form: Form, _: Ledger, __: str) -> Meant:
    faults = short_forms.one_of(form, "ccy", "currency").faults
    return Meant(short_forms.transfer_request(form), short_forms.TRANSFER_WORDS, faults)


def _told_account(body: Form, _: Situation) -> dict[str, Any]:
    return short_words.account_words(body)


def _told_wallet(body: Form, _: Situation) -> dict[str, Any]:
    return short_words.wallet_words(body)


def _told_journal(body: Form, _: Situation) -> dict[str, Any]:
    return {"ok": True, "entry_id": body["id"], "sequence": body["sequence"], "posted_at": body["recorded_at"]}


def _told_transaction(body: Form, situation: Situation) -> dict[str, Any]:
    functional = situation.ledger.functional_currency
    return short_words.transaction_words(body, situation.ids, situation.key, functional)


def _told_transfer(body: Form, situation: Situation) -> dict[str, Any]:
    return short_words.transfer_words(body, situation.form)


@dataclass(frozen=True, slots=True)
class ShortPost:
    """One short path for writing: where, who may, which form, what it means, and how the answer is told."""

    path: str
    scope: str
    form: Any
    summary: str
    mean: Callable[[Form, Ledger, str], Meant]
    tell: Callable[[Form, Situation], dict[str, Any]]
    adapter: TypeAdapter[Any] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "adapter", TypeAdapter(with_config(STRICT)(self.form)))


POSTS: Final = (
    ShortPost(f"{V1}/accounts", "account:write", short_forms.AccountForm, "Open an account", _account, _told_account),
    ShortPost(f"{V1}/journal", "ledger:post", short_forms.JournalForm, "Post an entry", _journal, _told_journal),
    ShortPost(
        f"{V1}/transactions", "ledger:post", short_forms.TransactionForm, "Post a transaction", _transaction,
        _told_transaction,
    ),
    *(
        ShortPost(
            f"{V1}/ledger/account{slash}", "account:write", short_forms.WalletForm, "Open a wallet", _wallet,
            _told_wallet,
        )
        for slash in ("", "/")
    ),
    *(
        ShortPost(
            f"{V1}/ledger/transfer{slash}", "ledger:post", short_forms.WalletTransferForm, "Transfer between wallets",
            _wallet_transfer, _told_transfer,
        )
        for slash in ("", "/")
    ),
    ShortPost("/api/accounts", "account:write", short_forms.AccountForm, "Open an asset account", _asset,
              _told_account),
    ShortPost("/api/transfers", "ledger:post", short_forms.TransferForm, "Transfer", _transfer, _told_transfer),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ShortApi:
    """What the short paths work on: books to write, the reader's pool to read."""

    books: Books
    reader: Pool

    def add_to(self, app: App) -> None:
        """Puts every short path into the application."""
        for post in POSTS:
            add_hot_route(app, post.path, self._responding(post), _operation(post))
        ShortReadApi(self.books, self.reader).add_to(app)

    def _responding(self, post: ShortPost) -> Callable[[Request], Any]:
        async def respond(request: Request) -> Response:
            return await self._respond(post, request)

        return respond

    async def _respond(self, post: ShortPost, request: Request) -> Response:
        caller = await authenticate(request, post.scope)
        raw = await read_body(request, BODY_BYTES_MAX)
        require_json(request)
        form = read_form(post, raw)
        dry_run = is_dry_run(request)
        sent_key, faults = short_forms.key_in(form, key_of(request, required=False))
        ledger = await self.books.get(caller.own_organization(), "main")
        key = sent_key or str(new_id())
        code = f"account-{uuid5(ledger.id, f'{asker_of(caller).scope}/{key}')}"
        meant = post.mean(form, ledger, code)
        _refuse_malformed(form, meant, faults)
        await self._name_by_code(caller, ledger, meant.request)
        with start_span("post_journal" if post.scope == "ledger:post" else "open_account"):
            content = ["short", post.path.rstrip("/"), form]
            size = max(len(raw), len(orjson.dumps(meant.request)))
            answer = await ask_under(
                key, self.books, request, caller, ledger.code, meant.request, content, size, dry_run=dry_run
            )
        return await self._answered(post, caller, answer, meant, Situation(form, key, ledger, {}))

    async def _name_by_code(self, caller: Caller, ledger: Ledger, wanted: Wanted) -> None:
        names = short_forms.accounts_named(wanted)
        if not names:
            return
        async with reads.as_reader(self.reader, caller.own_organization(), ledger) as connection:
            accounts = await short_reads.read_names(connection, ledger, names)
        short_forms.by_code(wanted, {name: account.code for name, account in accounts.items()})

    async def _answered(
        self, post: ShortPost, caller: Caller, answer: Answer, meant: Meant, situation: Situation
    ) -> Response:
        headers = {"Idempotency-Replayed": "true"} if answer.replayed else {}
        rejection = answer.rejection
        if rejection is not None:
            errors = short_forms.own_faults(rejection.errors, situation.form, meant.words)
            told = Rejection(rejection.code, rejection.detail, rejection.facts, errors)
            problem = rejection_problem(told, status_of(rejection))
            problem.headers.update(headers)
            raise problem
        assert answer.body is not None
        if answer.kind == "entry":
            codes = {line["account"] for line in answer.body["lines"]}
            async with reads.as_reader(self.reader, caller.own_organization(), situation.ledger) as connection:
                accounts = await short_reads.read_names(connection, situation.ledger, codes)
            situation = situation._replace(ids={code: account.id for code, account in accounts.items()})
        if not answer.sequence:
            return json_response(post.tell(answer.body, situation), 200, headers)
        noun, name = ("entries", answer.body["id"]) if answer.kind == "entry" else ("accounts", answer.body["code"])
        headers["Location"] = f"{V1}/ledgers/{situation.ledger.code}/{noun}/{name}"
        return json_response(post.tell(answer.body, situation), 201, headers)


def read_form(post: ShortPost, raw: bytes) -> Form:
    """The form in a body, its amounts as text. Raises Problem 400 or 422."""
    value, faults = exact_amounts(raw, parse_json(raw), AMOUNTS)
    if faults:
        raise malformed(faults)
    try:
        form: Form = post.adapter.validate_json(orjson.dumps(value))
    except ValidationError as error:
        raise malformed_by(error, value) from error
    return form


def _refuse_malformed(form: Form, meant: Meant, faults: list[Fault]) -> None:
    found = [*faults, *meant.faults]
    if isinstance(meant.request, AccountRequest):
        found += short_forms.own_faults(shape_faults(meant.request), form, meant.words)
    if found:
        raise malformed(found)


def _operation(post: ShortPost) -> Operation:
    name = f"Short{post.form.__name__}"
    content = {"schema": {"$ref": REF.format(model=name)}, "example": short_examples.ASKED[post.path.rstrip("/")]}
    told = {"schema": {"type": "object"}, "example": short_examples.TOLD["POST", post.path.rstrip("/")]}
    responses = {"201": {"description": "Done.", "content": {"application/json": told}}}
    parameters = [KEY_PARAMETER]
    if post.scope == "ledger:post":
        responses["200"] = {**responses["201"], "description": DRY_RUN_TOLD}
        parameters = [*parameters, DRY_RUN_PARAMETER]
    entry = {
        "tags": [TAG],
        "summary": post.summary,
        "parameters": parameters,
        "requestBody": {"required": True, "content": {"application/json": content}},
        "responses": responses,
    }
    return Operation("POST", post.path, post.scope, entry, {name: (post.adapter, "validation")})
