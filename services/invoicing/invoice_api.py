"""Invoices over REST: made (alone, or with the short form), issued, void, written off; read and listed."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from pydantic import TypeAdapter

from libs.common.auth import Caller
from libs.common.cursors import LIMIT_DEFAULT, Limit, decode_cursor, encode_cursor, page
from libs.common.db import Connection, transaction
from libs.common.errors import Fault, Problem, Rejection
from libs.common.http import App, requires, router
from libs.common.problems import malformed
from services.invoicing import draft_changes, invoices, party_store, receivable_reads, recoveries, voiding, write_offs
from services.invoicing.asking import OK, Done, Outcome, Wish, outcome_of
from services.invoicing.bodies import (
    SHORT_AMOUNTS,
    DayBody,
    DraftBody,
    EmptyBody,
    InvoiceBody,
    LineBody,
    ReasonBody,
    RecoveryBody,
    TaxBody,
    WriteOffBody,
)
from services.invoicing.domain import Posting, Status
from services.invoicing.drafts import TaxTerms
from services.invoicing.invoice_plans import InvoiceWish, LineWish
from services.invoicing.issuing import IssueQueue
from services.invoicing.receivable_reads import as_reader
from services.invoicing.wished import wish_response
from services.invoicing.words import allocation_words, invoice_terms_words, invoice_words, settlement_words
from services.invoicing.writing import PREFIX, Asked, Tools, Write, add_write

Reads = Annotated[Caller, requires("invoice:read")]
Writes = Annotated[Caller, requires("invoice:write")]
Expected = Annotated[int | None, Query(ge=1, le=2**62, description="The version that was read")]


@dataclass(frozen=True, slots=True)
class InvoiceApi:
    """The routes of invoices; `queue` commits together what arrives together."""

    tools: Tools
    queue: IssueQueue

    def add_to(self, app: App) -> None:
        """Puts every route into the application."""
        tags = ("invoices",)
        body, empty, reason, write_off = (
            TypeAdapter(InvoiceBody), TypeAdapter(EmptyBody), TypeAdapter(ReasonBody), TypeAdapter(WriteOffBody),
        )  # fmt: skip
        day, recovery, draft = TypeAdapter(DayBody), TypeAdapter(RecoveryBody), TypeAdapter(DraftBody)
        for write in (
            Write("/invoices", "invoice:write", body, "A new invoice", ask=self._make, short_amounts=SHORT_AMOUNTS,
                  tags=tags),
            Write("/invoices/{id}", "invoice:write", draft, "A draft changed", _change_draft, method="PUT", status=OK,
                  tags=tags),
            Write("/invoices/{id}/issue", "invoice:write", empty, "An issued invoice", _issue, status=OK,
                  is_empty_allowed=True, tags=tags),
            Write("/invoices/{id}/void", "invoice:write", reason, "A void invoice", _void, status=OK,
                  is_empty_allowed=True, tags=tags),
            Write("/invoices/{id}/write-off", "invoice:write-off", write_off, "What is open, given up", _write_off,
                  is_empty_allowed=True, tags=tags),
            Write("/write-offs/{id}/reverse", "invoice:write-off", reason, "A write-off taken back", _reverse_write_off,
                  is_empty_allowed=True, tags=tags),
            Write("/write-offs/{id}/relief", "invoice:write-off", day, "Tax of a write-off claimed back", _claim_relief,
                  is_empty_allowed=True, tags=tags),
            Write("/invoices/{id}/recoveries", "payment:write", recovery, "Money for what was given up", _recover,
                  tags=tags),
        ):  # fmt: skip
            add_write(app, self.tools, write)
        routes = router(PREFIX, list(tags))
        routes.add_api_route("/invoices", self.list, summary="Invoices, oldest first")
        routes.add_api_route("/invoices/{id}", self.get, summary="One invoice with its lines, taxes and allocations")
        routes.add_api_route("/invoices/{id}", self.remove, methods=["DELETE"], summary="A draft deleted")
        app.include_router(routes)

    async def remove(self, id: UUID, caller: Writes, version: Expected = None) -> Any:  # noqa: A002
        """A draft is gone. With a version only where it is still the draft's."""
        async with transaction(self.tools.writer) as connection:
            done = await draft_changes.remove_draft(connection, caller.own_organization(), id, version)
        return wish_response(outcome_of(done))

    async def _make(self, wish: Wish, asked: Asked) -> Outcome:
        return await self.queue.ask(wish, invoice_wish(asked.organization, asked.body))

    async def get(self, id: UUID, caller: Reads) -> dict[str, Any]:  # noqa: A002
        organization = caller.own_organization()
        async with as_reader(self.tools.reader, organization) as connection:
            row = await receivable_reads.read_invoice(connection, organization, id)
            taxes = await receivable_reads.read_taxes(connection, organization, id)
            lines = await receivable_reads.read_lines(connection, organization, id)
            placed = await receivable_reads.list_allocations(connection, organization, invoice=id)
            terms = await receivable_reads.read_terms(connection, organization, id)
            settlements = await receivable_reads.list_settlements(connection, organization, id)
            parties = await party_store.read_parties(connection, (organization, id))
        if row is None:
            raise Problem(404, "unknown-invoice", "There is no such invoice.", facts={"invoice": str(id)})
        told = invoice_words(row, taxes, lines)
        hashed = parties["document_hash"] if parties is not None else None
        return {
            **told,
            "dunning_level": row["dunning_level"],
            "allocations": [allocation_words(each, row["currency"], each["paid_currency"]) for each in placed],
            "settlements": [settlement_words(each, row["currency"]) for each in settlements],
            "early_payment": None if terms is None else invoice_terms_words(terms, row["currency"]),
            "document_hash": hashed.hex() if hashed is not None else None,
        }

    async def list(
        self, caller: Reads, customer: UUID | None = None, status: Status | None = None, ledger: str | None = None,
        number: str | None = None, posting: Posting | None = None, cursor: str | None = None,
        limit: Limit = LIMIT_DEFAULT,
    ) -> dict[str, Any]:  # fmt: skip
        """Without their lines and taxes."""
        organization = caller.own_organization()
        filters: dict[str, Any] = {
            "customer": customer, "status": status, "ledger": ledger, "number": number, "posting": posting,
        }  # fmt: skip
        name, after = f"invoices/{organization}", None
        if cursor is not None:
            begun = decode_cursor(cursor, name, filters)
            filters, after = {**dict.fromkeys(filters), **begun.filters}, UUID(begun.position[0])
        async with as_reader(self.tools.reader, organization) as connection:
            rows = await receivable_reads.list_invoices(connection, organization, filters, after, limit + 1)
        following = encode_cursor(name, filters, [str(rows[limit - 1]["id"])]) if len(rows) > limit else None
        told = [{**invoice_words(row), "dunning_level": row["dunning_level"]} for row in rows[:limit]]
        return page(told, following)


def invoice_wish(organization: str, body: InvoiceBody | DraftBody) -> InvoiceWish:
    """What the body wants. Raises Problem 422 where a tax is stated in two ways or none."""
    is_short = not body.lines and body.total is not None
    issue = body.issue if isinstance(body, InvoiceBody) else False
    return InvoiceWish(
        organization=organization,
        ledger=body.ledger,
        customer=body.customer,
        make_customer=is_short,
        currency=body.currency,
        issued_on=body.issued_on,
        tax_point_on=body.tax_point_on,
        due_on=body.due_on,
        lines=tuple(_line(line, f"/lines/{place}") for place, line in enumerate(body.lines)),
        total=body.total,
        prices_include_tax=body.prices_include_tax,
        discount=body.discount,
        withholding_percent=_number(body.withholding_percent),
        early_payment=_early_payment(body),
        issue=is_short if issue is None else issue,
        series=body.series,
        client_ref=body.client_ref,
        description=body.description,
    )


def _early_payment(body: InvoiceBody | DraftBody) -> tuple[Decimal, int] | None:
    early = body.early_payment
    return None if early is None else (Decimal(early.percent), early.within_days)


def _line(line: LineBody, at: str) -> LineWish:
    tax, code = _tax(line.tax, f"{at}/tax")
    further = [_tax(each, f"{at}/further_taxes/{place}")[0] for place, each in enumerate(line.further_taxes)]
    return LineWish(
        description=line.description,
        quantity=Decimal(line.quantity),
        unit_price=_number(line.unit_price),
        base_quantity=Decimal(line.base_quantity),
        discount_percent=_number(line.discount_percent),
        allowance=line.allowance,
        tax=tax,
        tax_code=code,
        further_taxes=_stated(further, at),
        revenue_account=line.revenue_account,
        service_from=line.service_from,
        service_to=line.service_to,
        product=line.product,
        unit=line.unit,
    )


def _stated(taxes: Sequence[TaxTerms | None], at: str) -> tuple[TaxTerms, ...]:
    stated = tuple(terms for terms in taxes if terms is not None)
    if len(stated) < len(taxes):
        raise malformed([Fault(f"{at}/further_taxes", "are stated whole, not by their codes")])
    return stated


def _tax(tax: TaxBody | None, at: str) -> tuple[TaxTerms | None, str | None]:
    """A tax stated whole, or its code. Raises Problem 422 where it is both or neither."""
    if tax is None:
        return None, None
    if tax.code is not None:
        if tax.category is not None or tax.rate is not None:
            raise malformed([Fault(f"{at}/code", "stands in for category and rate; give one or the other")])
        return None, tax.code
    if tax.category is None:
        raise malformed([Fault(f"{at}/category", "is missing")])
    rate = _number(tax.rate) or Decimal(0)
    reason = tax.exemption_reason or None
    return TaxTerms(tax.category, rate, tax.exemption_code, reason, tax.name, tax.compound), None  # type: ignore[arg-type] # the rules refuse what is none


def _number(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


async def _change_draft(connection: Connection, asked: Asked) -> Done | Rejection:
    body: DraftBody = asked.body
    return await draft_changes.change_draft(
        connection, asked.tools.sealer, asked.ids["id"], invoice_wish(asked.organization, body), body.version, asked.now
    )  # fmt: skip


async def _issue(connection: Connection, asked: Asked) -> Done | Rejection:
    (answer,) = await invoices.issue_drafts(
        connection, asked.tools.sealer, asked.organization, [asked.ids["id"]], asked.now
    )  # fmt: skip
    return answer


async def _void(connection: Connection, asked: Asked) -> Done | Rejection:
    return await voiding.void_invoice(
        connection, asked.organization, asked.ids["id"], asked.body.reason, asked.now
    )  # fmt: skip


async def _write_off(connection: Connection, asked: Asked) -> Done | Rejection:
    return await write_offs.write_off(
        connection, asked.organization, asked.ids["id"], asked.body.amount, asked.body.on or asked.now.date(), asked.now
    )  # fmt: skip


async def _claim_relief(connection: Connection, asked: Asked) -> Done | Rejection:
    return await recoveries.claim_relief(
        connection, asked.organization, asked.ids["id"], asked.body.on or asked.now.date(), asked.now
    )  # fmt: skip


async def _recover(connection: Connection, asked: Asked) -> Done | Rejection:
    body: RecoveryBody = asked.body
    on = body.on or asked.now.date()
    return await recoveries.record_recovery(
        connection, asked.organization, asked.ids["id"], body.amount, body.account, on, asked.now
    )  # fmt: skip


async def _reverse_write_off(connection: Connection, asked: Asked) -> Done | Rejection:
    return await write_offs.reverse_write_off(
        connection, asked.organization, asked.ids["id"], asked.now.date(), asked.now
    )  # fmt: skip
