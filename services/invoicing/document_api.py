"""Documents over REST: an invoice or credit note as a page, as PDF where `Accept` wants one, and as e-invoice.

Both are made when they are asked for, of what was kept at issue, and only where the page still has its hash of then.
Laying out a PDF takes a core some tenths of a second, so that happens in a thread. What is missing for an e-invoice is
422 with every gap; its cents are checked first.
"""

import asyncio
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from libs.common.auth import Caller
from libs.common.db import Connection
from libs.common.errors import Problem
from libs.common.http import App, requires, router
from libs.common.telemetry import get_logger
from services.invoicing import catalog_store, party_store, receivable_reads
from services.invoicing.customers import opened
from services.invoicing.documents import cents, cii, en16931, html, pdf, ubl
from services.invoicing.documents.printed import PrintedInvoice
from services.invoicing.hashing import document_hash
from services.invoicing.issued_parties import Parties, known
from services.invoicing.printing import as_issued, printed_invoice, printed_note
from services.invoicing.receivable_reads import as_reader
from services.invoicing.rows import Row
from services.invoicing.writing import PREFIX, Tools

log = get_logger(__name__)

Reads = Annotated[Caller, requires("invoice:read")]
Syntax = Annotated[Literal["ubl", "cii"], Query(description="UBL 2.1 or UN/CEFACT CII")]

PAGE: Final = "text/html; charset=utf-8"
PDF: Final = "application/pdf"
_SAFE: Final = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
_TEXT: Final[dict[str, Any]] = {"schema": {"type": "string"}}
_PAGES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The document",
        "content": {"text/html": _TEXT, PDF: {"schema": {"type": "string", "format": "binary"}}},
    }
}
_EINVOICE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The e-invoice", "content": {"application/xml": _TEXT}}
}

_engine = cache(pdf.engine)
"""What lays pages out is loaded when the first PDF is asked for."""


@dataclass(frozen=True, slots=True)
class DocumentApi:
    """The routes of documents."""

    tools: Tools

    def add_to(self, app: App) -> None:
        """Puts every route into the application."""
        routes = router(PREFIX, ["documents"])
        routes.add_api_route(
            "/invoices/{id}/document", self.invoice, summary="An invoice as HTML or PDF",
            response_class=Response, responses=_PAGES,
        )  # fmt: skip
        routes.add_api_route(
            "/invoices/{id}/e-invoice", self.e_invoice, summary="An invoice by EN 16931",
            response_class=Response, responses=_EINVOICE,
        )  # fmt: skip
        routes.add_api_route(
            "/credit-notes/{id}/document", self.note, summary="A credit note as HTML or PDF",
            response_class=Response, responses=_PAGES,
        )  # fmt: skip
        routes.add_api_route(
            "/credit-notes/{id}/e-invoice", self.e_note, summary="A credit note by EN 16931",
            response_class=Response, responses=_EINVOICE,
        )  # fmt: skip
        app.include_router(routes)

    async def invoice(self, id: UUID, caller: Reads, request: Request) -> Response:  # noqa: A002
        return await _page(await self._invoice(caller.own_organization(), id), request)

    async def e_invoice(self, id: UUID, caller: Reads, syntax: Syntax = "ubl") -> Response:  # noqa: A002
        return _written(await self._invoice(caller.own_organization(), id), syntax)

    async def note(self, id: UUID, caller: Reads, request: Request) -> Response:  # noqa: A002
        return await _page(await self._note(caller.own_organization(), id), request)

    async def e_note(self, id: UUID, caller: Reads, syntax: Syntax = "ubl") -> Response:  # noqa: A002
        return _written(await self._note(caller.own_organization(), id), syntax)

    async def _invoice(self, organization: str, invoice: UUID) -> PrintedInvoice:
        async with as_reader(self.tools.reader, organization) as connection:
            row = await receivable_reads.read_invoice(connection, organization, invoice)
            if row is None:
                raise Problem(404, "unknown-invoice", "There is no such invoice.", facts={"invoice": str(invoice)})
            if row["number"] is None:
                raise Problem(409, "document-not-issued", "A draft has no document yet; issue it first.")
            parties = await self._parties(connection, row)
        return printed_invoice(row, *parties)

    async def _note(self, organization: str, note: UUID) -> PrintedInvoice:
        """A credit note, between those who stand on the invoice that it corrects."""
        async with as_reader(self.tools.reader, organization) as connection:
            row = await receivable_reads.read_credit_note(connection, organization, note)
            if row is None:
                facts = {"credit_note": str(note)}
                raise Problem(404, "unknown-credit-note", "There is no such credit note.", facts=facts)
            invoice = await receivable_reads.read_invoice(connection, organization, row["invoice"])
            assert invoice is not None
            parties = await self._parties(connection, invoice)
        printed = printed_note(row, invoice, *parties)
        if parties.buyer:
            _compare(printed, row)
        return printed

    async def _parties(self, connection: Connection, row: Row) -> Parties:
        """Seller and buyer as they were at issue; as they are today where it was issued before that was kept.

        Raises Problem 409 where what would be printed is not what was hashed.
        """
        organization, invoice, sealer = row["organization"], row["id"], self.tools.sealer
        kept = await party_store.read_parties(connection, (organization, invoice))
        if kept is None:
            customer = await receivable_reads.read_customer(connection, organization, row["customer"])
            terms = await catalog_store.ledger_terms(connection, [(organization, row["ledger"])])
            assert customer is not None
            return Parties(terms[organization, row["ledger"]].seller, opened(sealer, customer))
        parties = known(sealer, organization, invoice, kept)
        if parties.buyer:
            _compare(as_issued(row, *parties), kept)
        return parties


def _compare(printed: PrintedInvoice, kept: Row) -> None:
    """Raises Problem 409 where what would be printed is not what was hashed. Another form's hash says nothing of it."""
    if kept["document_form"] == html.FORM and document_hash(printed) != kept["document_hash"]:
        log.error("document-altered", organization=kept["organization"], number=printed.number)
        raise Problem(
            409,
            "document-altered",
            "What would be printed is not the document that was issued: its rendering has another hash.",
            facts={"number": printed.number, "document_hash": kept["document_hash"].hex()},
        )


async def _page(printed: PrintedInvoice, request: Request) -> Response:
    """HTML unless PDF is preferred."""
    page = html.render(printed)
    if not prefers_pdf(request.headers.get("accept", "")):
        return Response(page, media_type=PAGE, headers=_SAFE)
    made = await asyncio.to_thread(lambda: pdf.write(page, _engine()))
    name = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in printed.number)
    return Response(made, media_type=PDF, headers={"Content-Disposition": f'inline; filename="{name}.pdf"'})


def prefers_pdf(accept: str) -> bool:
    """Whether an Accept header names PDF, and neither HTML nor anything else before it or with more weight.

    >>> prefers_pdf("application/pdf"), prefers_pdf("text/html, application/pdf"), prefers_pdf("*/*")
    (True, False, False)
    """
    ranges = []
    for place, each in enumerate(accept.split(",")):
        name, *parameters = (part.strip().lower() for part in each.split(";"))
        weight = next((text[2:] for text in parameters if text.startswith("q=")), "1")
        ranges.append((weight.ljust(5, "0") if "." in weight else f"{weight}.000", -place, name))
    wanted = [name for weight, _, name in sorted(ranges, reverse=True) if weight.strip("0.")]
    return bool(wanted) and wanted[0] == PDF


def _written(printed: PrintedInvoice, syntax: str) -> Response:
    refused = en16931.check(printed)
    if refused is not None:
        raise Problem(422, refused.code, refused.detail, facts=refused.facts, errors=refused.errors)
    text = ubl.write(printed) if syntax == "ubl" else cii.write(printed)
    faults = cents.check(text, printed.totals.policy)
    assert not faults, faults
    return Response(text, media_type="application/xml")
