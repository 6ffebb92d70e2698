"""The ledger's REST entrance for reading: lists and the log; balances, reports and proofs have files of
their own.

Routes read under row-level security with the caller's organization, from the token alone; what crosses organizations
(an operator's list) reads with the auditor's role. Lists answer {"items", "next_cursor"}.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, TypeVar
from uuid import UUID

import orjson
from fastapi import Query
from starlette.requests import Request
from starlette.responses import StreamingResponse

from libs.common.auth import Caller
from libs.common.cursors import LIMIT_DEFAULT, Limit, decode_cursor, encode_cursor, page
from libs.common.days import WrittenDay
from libs.common.db import Pool
from libs.common.errors import Problem
from libs.common.http import App, exchange_of, requires, router
from services.ledger import reads
from services.ledger.answers import AccountAnswer, EntryAnswer, LedgerAnswer
from services.ledger.commands import Books
from services.ledger.state import Ledger

PREFIX = "/api/v1"
LOG_RECORDS_MAX = 1_000

T = TypeVar("T")

Reads = Annotated[Caller, requires("ledger:read")]


@dataclass(frozen=True, slots=True)
class ReadApi:
    """What the routes read from: the reader's pool under row-level security, the auditor's for what crosses tenants."""

    books: Books
    reader: Pool
    auditor: Pool

    def add_to(self, app: App) -> None:
        """Puts every route into the application."""
        routes = router(PREFIX)
        for path, respond, summary in (
            ("/organizations", self.organizations, "All organizations"),
            ("/currencies", self.currencies, "The organization's own currencies"),
            ("/ledgers", self.ledgers, "The organization's ledgers"),
            ("/ledgers/{ledger}", self.one_ledger, "A ledger"),
            ("/ledgers/{ledger}/accounts", self.accounts, "Accounts by code"),
            ("/ledgers/{ledger}/accounts/{code}", self.account, "An account by code or id"),
            ("/ledgers/{ledger}/accounts/{code}/events", self.account_events, "What happened to an account, in order"),
            ("/ledgers/{ledger}/entries", self.entries, "Journal entries, newest first"),
            ("/ledgers/{ledger}/entries/{id}", self.entry, "A journal entry"),
            ("/ledgers/{ledger}/log", self.log, "The event store: records after a sequence, in order"),
        ):
            routes.add_api_route(path, respond, summary=summary)
        app.include_router(routes)

    async def organizations(
        self, _: Annotated[Caller, requires("organization:read")], cursor: str | None = None,
        limit: Limit = LIMIT_DEFAULT,
    ) -> dict[str, Any]:  # fmt: skip
        after = decode_cursor(cursor, "organizations", {}).position[0] if cursor else ""
        async with self.auditor.acquire() as connection:
            items = await reads.list_organizations(connection, after, limit)
        return _page("organizations", {}, items, limit, lambda item: [item["slug"]])

    async def currencies(self, caller: Reads) -> dict[str, Any]:
        async with reads.as_reader(self.reader, caller.own_organization()) as connection:
            return page(await reads.list_currencies(connection), None)

    async def ledgers(self, caller: Reads, cursor: str | None = None, limit: Limit = LIMIT_DEFAULT) -> dict[str, Any]:
        name = f"{caller.own_organization()}/ledgers"
        after = decode_cursor(cursor, name, {}).position[0] if cursor else ""
        async with reads.as_reader(self.reader, caller.own_organization()) as connection:
            items = await reads.list_ledgers(connection, after, limit)
        return _page(name, {}, items, limit, lambda item: [item["code"]])

    async def one_ledger(self, ledger: str, caller: Reads) -> LedgerAnswer:
        async with reads.as_reader(self.reader, caller.own_organization()) as connection:
            found = await reads.read_ledger(connection, ledger)
        return _found(found, "unknown-ledger", f"The organization has no ledger {ledger!r}.")

    async def accounts(
        self, ledger: str, caller: Reads, type_: Annotated[str | None, Query(alias="type")] = None,
        parent: str | None = None, q: str | None = None, cursor: str | None = None, limit: Limit = LIMIT_DEFAULT,
    ) -> dict[str, Any]:  # fmt: skip
        books = await self.books.get(caller.own_organization(), ledger)
        name, filters = f"{caller.own_organization()}/{ledger}/accounts", {"type": type_, "parent": parent, "q": q}
        after = ""
        if cursor:
            begun = decode_cursor(cursor, name, filters)
            filters, after = begun.filters, begun.position[0]
        async with reads.as_reader(self.reader, caller.own_organization(), books) as connection:
            items = await reads.list_accounts(connection, books, filters, after, limit)
        return _page(name, filters, items, limit, lambda item: [item["code"]])

    async def account(self, ledger: str, code: str, caller: Reads) -> AccountAnswer:
        books = await self.books.get(caller.own_organization(), ledger)
        async with reads.as_reader(self.reader, caller.own_organization(), books) as connection:
            found = await reads.read_account(connection, books, code)
        return _found(found, "unknown-account", f"The ledger has no account {code!r}.")

    async def account_events(
        self, ledger: str, code: str, caller: Reads,
        after: Annotated[int, Query(ge=0, le=2**62)] = 0, limit: Limit = LIMIT_DEFAULT,
    ) -> dict[str, Any]:  # fmt: skip
        books = await self.books.get(caller.own_organization(), ledger)
        async with reads.as_reader(self.reader, caller.own_organization(), books) as connection:
            _found(await reads.read_account(connection, books, code), "unknown-account", f"No account {code!r}.")
            items = await reads.list_account_events(connection, books, code, after, limit)
        return {"items": items, "next_after": items[-1]["sequence"] if len(items) == limit else None}

    async def entries(
        self, ledger: str, caller: Reads, from_: Annotated[WrittenDay | None, Query(alias="from")] = None,
        to: WrittenDay | None = None, account: str | None = None, origin: str | None = None,
        external_id: str | None = None, q: str | None = None, cursor: str | None = None,
        limit: Limit = LIMIT_DEFAULT,
    ) -> dict[str, Any]:  # fmt: skip
        books = await self.books.get(caller.own_organization(), ledger)
        name = f"{caller.own_organization()}/{ledger}/entries"
        filters: dict[str, Any] = {
            "from": from_, "to": to, "account": account, "origin": origin, "external_id": external_id, "q": q
        }  # fmt: skip
        before = 2**63 - 1
        if cursor:
            begun = decode_cursor(cursor, name, filters)
            filters, before = begun.filters, begun.position[0]
            for end in ("from", "to"):
                filters[end] = date.fromisoformat(filters[end]) if filters.get(end) else None
        async with reads.as_reader(self.reader, caller.own_organization(), books) as connection:
            items = await reads.list_entries(connection, books, filters, before, limit)
        return _page(name, filters, items, limit, lambda item: [item["sequence"]])

    async def entry(self, ledger: str, id: str, caller: Reads) -> EntryAnswer:  # noqa: A002
        books = await self.books.get(caller.own_organization(), ledger)
        async with reads.as_reader(self.reader, caller.own_organization(), books) as connection:
            found = await reads.read_entry(connection, books, entry_id_of(id))
        return _found(found, "unknown-entry", f"The ledger has no entry {id}.")

    async def log(
        self, ledger: str, request: Request, caller: Reads,
        after: Annotated[int, Query(ge=0, le=2**62)] = 0,
        limit: Annotated[int, Query(ge=1, le=LOG_RECORDS_MAX)] = LIMIT_DEFAULT,
    ) -> Any:  # fmt: skip
        books = await self.books.get(caller.own_organization(), ledger)
        if "application/x-ndjson" in request.headers.get("accept", ""):
            exchange_of(request).lift_deadline()
            return StreamingResponse(self._log_lines(caller, books, after), media_type="application/x-ndjson")
        async with reads.as_reader(self.reader, caller.own_organization(), books) as connection:
            items = await reads.list_records(connection, books, after, limit)
        return {"items": items, "next_after": items[-1]["sequence"] if len(items) == limit else None}

    async def _log_lines(self, caller: Caller, ledger: Ledger, after: int) -> AsyncIterator[bytes]:
        """The whole log after a sequence as NDJSON, in slices of short transactions."""
        while True:
            async with reads.as_reader(self.reader, caller.own_organization(), ledger) as connection:
                records = await reads.list_records(connection, ledger, after, LOG_RECORDS_MAX)
            if not records:
                return
            yield b"".join(orjson.dumps(record) + b"\n" for record in records)
            after = records[-1]["sequence"]


def entry_id_of(text: str) -> UUID:
    """The id in a path; raises Problem 404 where the text is none."""
    found = reads.as_uuid(text)
    if found is None:
        raise Problem(404, "unknown-entry", f"{text[:80]!r} is no entry's id.")
    return found


def _found(answer: T | None, code: str, detail: str) -> T:
    if answer is None:
        raise Problem(404, code, detail)
    return answer


def _page(
    name: str, filters: dict[str, Any], items: list[Any], limit: int, position: Callable[[Any], list[Any]]
) -> dict[str, Any]:
    following = encode_cursor(name, filters, position(items[-1])) if len(items) == limit else None
    return page(items, following)
