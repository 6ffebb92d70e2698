"""Reminders over REST: a ledger's levels, runs and what they would do, letters with their documents, holds."""

import asyncio
from dataclasses import asdict, dataclass
from functools import cache
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from libs.common.auth import Caller
from libs.common.cursors import LIMIT_DEFAULT, Limit, decode_cursor, encode_cursor, page
from libs.common.db import Connection
from libs.common.errors import Problem, Rejection
from libs.common.http import App, requires, router
from libs.common.journal import SlugText
from services.invoicing import catalog_store, dunning, dunning_store, receivable_reads
from services.invoicing.asked_days import AskedDay
from services.invoicing.asking import OK, Done
from services.invoicing.bodies import EmptyBody
from services.invoicing.customers import opened
from services.invoicing.document_api import PAGE, PDF, prefers_pdf
from services.invoicing.documents import letter, pdf
from services.invoicing.dunning import Run, hold_words, letter_words, level_words
from services.invoicing.dunning_bodies import DunningBody, HoldBody, LevelsBody
from services.invoicing.printing import printed_letter
from services.invoicing.receivable_reads import as_reader
from services.invoicing.rejections import reject
from services.invoicing.reminding import Level
from services.invoicing.writing import PREFIX, Asked, Tools, Write, add_write

Reads = Annotated[Caller, requires("invoice:read")]

_SAFE: Final = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
_TEXT: Final[dict[str, Any]] = {"schema": {"type": "string"}}
_PAGES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The letter",
        "content": {"text/html": _TEXT, PDF: {"schema": {"type": "string", "format": "binary"}}},
    }
}

_engine = cache(pdf.engine)


@dataclass(frozen=True, slots=True)
class DunningApi:
    """The routes of dunning."""

    tools: Tools

    def add_to(self, app: App) -> None:
        """Puts every route into the application."""
        tags, at_levels = ("dunning",), "/ledgers/{ledger}/dunning-levels"
        levels, run = TypeAdapter(LevelsBody), TypeAdapter(DunningBody)
        hold, empty = TypeAdapter(HoldBody), TypeAdapter(EmptyBody)
        for write in (
            Write(at_levels, "mapping:write", levels, "A ledger's dunning levels", _put_levels, method="PUT", status=OK,
                  tags=tags),
            Write("/dunning/run", "invoice:write", run, "Letters sent", _run, status=OK, is_empty_allowed=True,
                  tags=tags),
            Write("/dunning/holds", "invoice:write", hold, "A new hold of dunning", _hold, tags=tags),
            Write("/dunning/holds/{id}/release", "invoice:write", empty, "A released hold", _release, status=OK,
                  is_empty_allowed=True, tags=tags),
        ):  # fmt: skip
            add_write(app, self.tools, write)
        routes = router(PREFIX, list(tags))
        routes.add_api_route(at_levels, self.levels, summary="A ledger's dunning levels")
        routes.add_api_route("/dunning/preview", self.preview, summary="What a run would send")
        routes.add_api_route("/dunning/letters", self.letters, summary="Letters, oldest first")
        routes.add_api_route("/dunning/letters/{id}", self.letter, summary="One letter")
        routes.add_api_route(
            "/dunning/letters/{id}/document", self.document, summary="A letter as HTML or PDF",
            response_class=Response, responses=_PAGES,
        )  # fmt: skip
        routes.add_api_route("/dunning/holds", self.holds, summary="Holds of dunning, oldest first")
        app.include_router(routes)

    async def levels(self, ledger: str, caller: Reads) -> dict[str, Any]:
        """Empty where none were set yet."""
        organization = caller.own_organization()
        async with as_reader(self.tools.reader, organization) as connection:
            row = await dunning_store.read_levels(connection, organization, ledger)
        return {"ledger": ledger, "levels": [], "fee_account": None, "version": 0} if row is None else level_words(row)

    async def preview(self, caller: Reads, ledger: SlugText = "main", on: AskedDay | None = None) -> dict[str, Any]:
        """As of the end of a day, today unless said; it may be a day to come."""
        organization = caller.own_organization()
        run = Run(organization, ledger, on or self.tools.clock().date())
        async with as_reader(self.tools.reader, organization) as connection:
            found = await dunning.preview(connection, run)
        if isinstance(found, Rejection):
            raise Problem(422, found.code, found.detail, facts=found.facts, errors=found.errors)
        return found

    async def letters(
        self, caller: Reads, customer: UUID | None = None, invoice: UUID | None = None, ledger: str | None = None,
        cursor: str | None = None, limit: Limit = LIMIT_DEFAULT,
    ) -> dict[str, Any]:  # fmt: skip
        """Of an invoice: those that raised it."""
        organization = caller.own_organization()
        filters: dict[str, Any] = {"customer": customer, "invoice": invoice, "ledger": ledger}
        name, after = f"dunning-letters/{organization}", None
        if cursor is not None:
            begun = decode_cursor(cursor, name, filters)
            filters, after = {**dict.fromkeys(filters), **begun.filters}, UUID(begun.position[0])
        async with as_reader(self.tools.reader, organization) as connection:
            rows = await dunning_store.list_letters(connection, organization, filters, after, limit + 1)
        following = encode_cursor(name, filters, [str(rows[limit - 1]["id"])]) if len(rows) > limit else None
        return page([letter_words(row) for row in rows[:limit]], following)

    async def letter(self, id: UUID, caller: Reads) -> dict[str, Any]:  # noqa: A002
        organization = caller.own_organization()
        async with as_reader(self.tools.reader, organization) as connection:
            row = await dunning_store.read_letter(connection, organization, id)
        if row is None:
            raise _unknown(id)
        return letter_words(row)

    async def document(self, id: UUID, caller: Reads, request: Request) -> Response:  # noqa: A002
        """HTML unless PDF is preferred; to a customer's name and address as they are now."""
        organization = caller.own_organization()
        async with as_reader(self.tools.reader, organization) as connection:
            row = await dunning_store.read_letter(connection, organization, id)
            if row is None:
                raise _unknown(id)
            customer = await receivable_reads.read_customer(connection, organization, row["customer"])
            terms = await catalog_store.ledger_terms(connection, [(organization, row["ledger"])])
        assert customer is not None, "a letter is a customer's"
        seller = terms[organization, row["ledger"]].seller
        written = letter.render(printed_letter(row, seller, opened(self.tools.sealer, customer)))
        if not prefers_pdf(request.headers.get("accept", "")):
            return Response(written, media_type=PAGE, headers=_SAFE)
        made = await asyncio.to_thread(lambda: pdf.write(written, _engine()))
        return Response(made, media_type=PDF, headers={"Content-Disposition": f'inline; filename="reminder-{id}.pdf"'})

    async def holds(
        self, caller: Reads, invoice: UUID | None = None, customer: UUID | None = None, active: bool | None = None,
        cursor: str | None = None, limit: Limit = LIMIT_DEFAULT,
    ) -> dict[str, Any]:  # fmt: skip
        """`active` are those that were not released; one whose day is over stops nothing any more."""
        organization = caller.own_organization()
        filters: dict[str, Any] = {"invoice": invoice, "customer": customer, "active": active}
        name, after = f"dunning-holds/{organization}", None
        if cursor is not None:
            begun = decode_cursor(cursor, name, filters)
            filters, after = {**dict.fromkeys(filters), **begun.filters}, UUID(begun.position[0])
        async with as_reader(self.tools.reader, organization) as connection:
            rows = await dunning_store.list_holds(connection, organization, filters, after, limit + 1)
        following = encode_cursor(name, filters, [str(rows[limit - 1]["id"])]) if len(rows) > limit else None
        return page([hold_words(row) for row in rows[:limit]], following)


def _unknown(letter_: UUID) -> Problem:
    return Problem(404, "unknown-dunning-letter", "There is no such dunning letter.", facts={"letter": str(letter_)})


def _asked_run(asked: Asked) -> Run:
    body: DunningBody = asked.body
    return Run(asked.organization, body.ledger, body.on or asked.now.date())


async def _put_levels(connection: Connection, asked: Asked) -> Done | Rejection:
    body: LevelsBody = asked.body
    levels = [Level(**asdict(level)) for level in body.levels]
    return await dunning.put_levels(
        connection, asked.organization, asked.names["ledger"], levels, body.fee_account, asked.now
    )  # fmt: skip


async def _run(connection: Connection, asked: Asked) -> Done | Rejection:
    return await dunning.run_dunning(connection, asked.tools.sealer, _asked_run(asked), asked.now)


async def _hold(connection: Connection, asked: Asked) -> Done | Rejection:
    body: HoldBody = asked.body
    if (body.invoice_id is None) == (body.customer is None):
        return reject("hold-of-one")
    return await dunning.set_hold(connection, asked.tools.sealer, asked.organization, asdict(body), asked.now)


async def _release(connection: Connection, asked: Asked) -> Done | Rejection:
    return await dunning.release_hold(connection, asked.organization, asked.ids["id"], asked.now)
