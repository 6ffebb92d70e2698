"""Tax over REST: numbers, the report of any days, and returns. JSON, or the lines as CSV on `Accept: text/csv`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import Query
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from libs.common import csv_text
from libs.common.auth import Caller
from libs.common.cursors import LIMIT_DEFAULT, Limit, decode_cursor, encode_cursor, page
from libs.common.db import Connection
from libs.common.errors import Fault, Problem, Rejection
from libs.common.http import App, json_response, requires, router
from libs.common.journal import SlugText
from services.invoicing import tax_reads, tax_return_store, tie_out_reads
from services.invoicing.asked_days import AskedDay
from services.invoicing.asking import OK, Done
from services.invoicing.bodies import EmptyBody, TaxNumberBody, TaxReturnBody
from services.invoicing.receivable_reads import as_reader
from services.invoicing.rejections import reject
from services.invoicing.tax_books import AccountMovement
from services.invoicing.tax_gathering import Wanted, gather, registrations_of, with_books
from services.invoicing.tax_lines import TaxLine
from services.invoicing.tax_reads import Span
from services.invoicing.tax_registrations import Registered, Window, currency_of, windows
from services.invoicing.tax_report import (
    LISTED_MAX,
    compare,
    line_words,
    lines_csv,
    sum_words,
    tie_words,
    total_words,
)
from services.invoicing.tax_returns import (
    ReturnWish,
    basis_of,
    file_return,
    kept_line,
    lines_of,
    open_return,
    register,
    registered_words,
    return_words,
    take_return_back,
)
from services.invoicing.writing import PREFIX, Asked, Tools, Write, add_write

ReadsTaxes = Annotated[Caller, requires("tax:read")]
From = Annotated[AskedDay, Query(alias="from", description="First tax point.")]
To = Annotated[AskedDay, Query(description="Last tax point.")]
Basis = Annotated[
    Literal["accrual", "cash"] | None, Query(description="The books' own where it is absent.")
]  # fmt: skip
NumberText = Annotated[str | None, Query(min_length=1, max_length=60, description="Needed where there are several.")]

CSV: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}


@dataclass(frozen=True, slots=True)
class TaxApi:
    """The routes of tax."""

    tools: Tools

    def add_to(self, app: App) -> None:
        """Puts every route into the application."""
        tags = ("tax",)
        number, wanted, empty = TypeAdapter(TaxNumberBody), TypeAdapter(TaxReturnBody), TypeAdapter(EmptyBody)
        for write in (
            Write("/tax-numbers", "tax:write", number, "Under which number a ledger reports", _register, tags=tags),
            Write("/tax-returns", "tax:write", wanted, "The return of the next period", _open, tags=tags),
            Write("/tax-returns/{id}/file", "tax:write", empty, "A return filed: its lines are frozen", _file,
                  status=OK, is_empty_allowed=True, tags=tags),
            Write("/tax-returns/{id}", "tax:write", empty, "An open return taken back", _take_back, method="DELETE",
                  status=OK, is_empty_allowed=True, tags=tags),
        ):  # fmt: skip
            add_write(app, self.tools, write)
        routes = router(PREFIX, list(tags))
        add = routes.add_api_route
        add("/tax-numbers", self.numbers, summary="Under which numbers ledgers report")
        add("/tax/report", self.report, summary="Tax by category and rate, with its documents and its tie to the books",
            response_model=dict[str, Any], responses=CSV)  # fmt: skip
        add("/tax-returns", self.returns, summary="Tax returns, oldest first")
        add("/tax-returns/{id}", self.one, summary="A tax return with its lines: as filed, or as it would be now",
            response_model=dict[str, Any], responses=CSV)  # fmt: skip
        app.include_router(routes)

    async def numbers(self, caller: ReadsTaxes) -> dict[str, Any]:
        """Those registered, and of ledgers without any the one that stands on their invoices."""
        organization = caller.own_organization()
        async with as_reader(self.tools.reader, organization) as connection:
            found = await registrations_of(connection, organization)
        rows = sorted(found, key=lambda row: (row.ledger, row.valid_from))
        return page([registered_words(row) for row in rows], None)

    async def report(
        self, request: Request, caller: ReadsTaxes, from_: From, to: To, basis: Basis = None,
        tax_number: NumberText = None, ledger: SlugText | None = None,
    ) -> Response:  # fmt: skip
        """Of one tax number, or of one of its ledgers alone."""
        if to < from_:
            raise Problem(422, "malformed", "/to is before /from.", errors=[Fault("/to", f"is before {from_}")])
        organization = caller.own_organization()
        async with as_reader(self.tools.reader, organization) as connection:
            await tie_out_reads.hold_snapshot(connection)
            registered = await registrations_of(connection, organization)
            number = _the_number(registered, tax_number, ledger)
            if ledger is not None:
                registered = [row for row in registered if row.ledger == ledger]
            currency = currency_of(registered, number)
            if currency is None:
                raise _unknown_number(number)
            bases = await basis_of(connection, organization, registered, number)
            wanted = Wanted(organization, number, currency, basis or min(bases), registered)
            tied = await gather(connection, wanted, from_, to, tied=True)
            ledgers = [
                await _tie(connection, wanted, window, tied, bases) for window in windows(registered, number, from_, to)
            ]
        lines = [line for line in tied if line.is_told]
        words = [line_words(line, currency) for line in lines]
        if _wants_csv(request):
            return Response(lines_csv(words), media_type=csv_text.MEDIA_TYPE)
        return json_response(
            {
                "tax_number": number,
                "from": from_,
                "to": to,
                "basis": wanted.basis,
                "currency": currency,
                "rows": sum_words(lines, currency),
                "total": total_words(lines, currency),
                "books": ledgers,
                "ties": all(each["ties"] for each in ledgers) if wanted.basis in bases else None,
                "documents": words[:LISTED_MAX],
                "documents_left_out": max(0, len(words) - LISTED_MAX),
            }
        )

    async def returns(
        self, caller: ReadsTaxes, tax_number: NumberText = None, cursor: str | None = None,
        limit: Limit = LIMIT_DEFAULT,
    ) -> dict[str, Any]:  # fmt: skip
        organization = caller.own_organization()
        name, after = f"tax-returns/{organization}", None
        filters = {"tax_number": tax_number}
        if cursor is not None:
            begun = decode_cursor(cursor, name, filters)
            tax_number, after = begun.filters.get("tax_number"), UUID(begun.position[0])
        async with as_reader(self.tools.reader, organization) as connection:
            rows = await tax_return_store.list_returns(connection, organization, tax_number, after, limit + 1)
        following = encode_cursor(name, filters, [str(rows[limit - 1]["id"])]) if len(rows) > limit else None
        return page([return_words(row) for row in rows[:limit]], following)

    async def one(self, id: UUID, request: Request, caller: ReadsTaxes) -> Response:  # noqa: A002
        organization = caller.own_organization()
        async with as_reader(self.tools.reader, organization) as connection:
            await tie_out_reads.hold_snapshot(connection)
            row = await tax_return_store.read_return(connection, organization, id)
            if row is None:
                facts = {"tax_return": str(id)}
                raise Problem(404, "unknown-tax-return", "There is no such tax return.", facts=facts)
            if row["state"] == "filed":
                lines = [kept_line(line) for line in await tax_return_store.read_lines(connection, organization, id)]
            else:
                lines = await lines_of(connection, organization, row)
        currency = row["currency"]
        words = [line_words(line, currency, is_correction=line.tax_point_on < row["from_on"]) for line in lines]
        if _wants_csv(request):
            return Response(lines_csv(words), media_type=csv_text.MEDIA_TYPE)
        return json_response(
            {
                **return_words(row),
                "rows": sum_words(lines, currency),
                "total": total_words(lines, currency),
                "documents": words[:LISTED_MAX],
                "documents_left_out": max(0, len(words) - LISTED_MAX),
            }
        )


def _wants_csv(request: Request) -> bool:
    return "text/csv" in request.headers.get("accept", "")


def _the_number(registered: Sequence[Registered], given: str | None, ledger: str | None) -> str:
    """The number that is meant. Raises Problem 422 where there is none, or several and none is named."""
    if given is not None:
        return given
    numbers = sorted({row.tax_number for row in registered if ledger is None or row.ledger == ledger})
    if len(numbers) == 1:
        return numbers[0]
    said = f"name one of {', '.join(numbers)}" if numbers else "register one, or put it on the seller of a ledger"
    raise Problem(
        422, "unknown-tax-number", f"Which tax number is meant: {said}.", errors=[Fault("/tax_number", "is not given")]
    )


def _unknown_number(number: str) -> Problem:
    refused = reject("unknown-tax-number", errors=[Fault("/tax_number", f"is {number[:60]}")])
    return Problem(422, refused.code, refused.detail, errors=refused.errors)


async def _tie(
    connection: Connection, wanted: Wanted, window: Window, lines: Sequence[TaxLine], bases: set[str]
) -> Mapping[str, Any]:
    """What the books of one ledger have of the lines in one stretch of its days, at the sequence heard."""
    organization, ledger = wanted.organization, window.ledger
    heard = await tie_out_reads.heard_through(connection, organization, ledger)
    about = {"ledger": ledger, "from": window.since, "to": window.until, "sequence": heard}
    if bases != {wanted.basis}:
        return {**about, "ties": None, "rows": [], "note": "the books are on the other basis"}
    here = [line for line in lines if line.ledger == ledger and window.since <= line.tax_point_on <= window.until]
    if wanted.basis == "cash":
        booked = await tax_reads.booked_on(connection, organization, ledger, window.since, window.until, heard)
    else:
        postings = sorted({line.posting for line in here})
        booked = await tax_reads.booked_for(connection, organization, postings, heard)
        here = await with_books(connection, organization, here, booked)
    span = Span(organization, ledger, window.since, window.until)
    movements: list[AccountMovement] = await tax_reads.account_movements(
        connection, span, heard, sorted({each.posting for each in booked})
    )
    ties = compare(here, booked, movements, wanted.currency)
    rows = tie_words(ties, movements)
    return {**about, "ties": all(row["ties"] for row in rows), "rows": rows, "note": None}


async def _register(connection: Connection, asked: Asked) -> Done | Rejection:
    body = asked.body
    row = Registered(body.ledger, body.tax_number, body.currency, body.valid_from)
    return await register(connection, asked.organization, row, asked.now)


async def _open(connection: Connection, asked: Asked) -> Done | Rejection:
    body = asked.body
    wish = ReturnWish(
        tax_number=body.tax_number, from_on=body.from_, to_on=body.to, basis=body.basis, gap_reason=body.gap_reason
    )
    return await open_return(connection, asked.organization, wish, asked.now)


async def _file(connection: Connection, asked: Asked) -> Done | Rejection:
    return await file_return(connection, asked.organization, asked.ids["id"], asked.by, asked.now)


async def _take_back(connection: Connection, asked: Asked) -> Done | Rejection:
    return await take_return_back(connection, asked.organization, asked.ids["id"])
