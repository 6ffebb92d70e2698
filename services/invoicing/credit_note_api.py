"""Credit notes and deferred revenue over REST."""

from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from pydantic import TypeAdapter

from libs.common.auth import Caller
from libs.common.cursors import LIMIT_DEFAULT, Limit, decode_cursor, encode_cursor, page
from libs.common.db import Connection
from libs.common.errors import Problem, Rejection
from libs.common.http import App, requires, router
from services.invoicing import receivable_reads
from services.invoicing.asking import OK, Done
from services.invoicing.bodies import CreditNoteBody, DeferralsBody
from services.invoicing.credit_notes import LineCredit, NoteWish, issue_credit_note
from services.invoicing.deferrals import run_deferrals
from services.invoicing.receivable_reads import as_reader
from services.invoicing.words import credit_note_words
from services.invoicing.writing import PREFIX, Asked, Tools, Write, add_write

Reads = Annotated[Caller, requires("invoice:read")]


@dataclass(frozen=True, slots=True)
class CreditNoteApi:
    """The routes of credit notes and deferrals."""

    tools: Tools

    def add_to(self, app: App) -> None:
        """Puts every route into the application."""
        tags = ("credit notes",)
        note, run = TypeAdapter(CreditNoteBody), TypeAdapter(DeferralsBody)
        for write in (
            Write("/credit-notes", "invoice:write", note, "A credit note", _credit, tags=tags),
            Write("/deferrals/run", "invoice:write", run, "Revenue that is earned, recognised", _recognise, status=OK,
                  tags=("deferrals",)),
        ):  # fmt: skip
            add_write(app, self.tools, write)
        routes = router(PREFIX, list(tags))
        routes.add_api_route("/credit-notes", self.list, summary="Credit notes, oldest first")
        routes.add_api_route("/credit-notes/{id}", self.get, summary="One credit note with its taxes")
        app.include_router(routes)

    async def get(self, id: UUID, caller: Reads) -> dict[str, Any]:  # noqa: A002
        organization = caller.own_organization()
        async with as_reader(self.tools.reader, organization) as connection:
            row = await receivable_reads.read_credit_note(connection, organization, id)
            taxes = await receivable_reads.read_credit_note_taxes(connection, organization, id)
        if row is None:
            raise Problem(404, "unknown-credit-note", "There is no such credit note.", facts={"credit_note": str(id)})
        hashed = row["document_hash"]
        return {**credit_note_words(row, taxes), "document_hash": None if hashed is None else hashed.hex()}

    async def list(
        self, caller: Reads, invoice_id: UUID | None = None, cursor: str | None = None, limit: Limit = LIMIT_DEFAULT
    ) -> dict[str, Any]:
        organization = caller.own_organization()
        filters: dict[str, Any] = {"invoice_id": invoice_id}
        name, after, wanted = f"credit-notes/{organization}", None, invoice_id
        if cursor is not None:
            begun = decode_cursor(cursor, name, filters)
            filters, after = {"invoice_id": begun.filters.get("invoice_id")}, UUID(begun.position[0])
            wanted = UUID(filters["invoice_id"]) if filters["invoice_id"] else None
        async with as_reader(self.tools.reader, organization) as connection:
            rows = await receivable_reads.list_credit_notes(connection, organization, wanted, after, limit + 1)
        following = encode_cursor(name, filters, [str(rows[limit - 1]["id"])]) if len(rows) > limit else None
        return page([credit_note_words(row) for row in rows[:limit]], following)


async def _credit(connection: Connection, asked: Asked) -> Done | Rejection:
    body: CreditNoteBody = asked.body
    lines = None if body.lines is None else [LineCredit(each.line, each.net, each.quantity) for each in body.lines]
    wish = NoteWish(
        organization=asked.organization,
        invoice=body.invoice_id,
        lines=lines,
        amount=body.amount,
        reason=body.reason,
        issued_on=body.issued_on or asked.now.date(),
    )
    return await issue_credit_note(connection, wish, asked.now)


async def _recognise(connection: Connection, asked: Asked) -> Done | Rejection:
    return await run_deferrals(connection, asked.organization, asked.body.ledger, asked.body.through, asked.now)
