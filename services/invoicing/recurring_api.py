"""Recurring invoices over REST: set up, changed, paused, resumed, cancelled; what is due next and what was made."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import orjson
from fastapi import Query
from pydantic import TypeAdapter, ValidationError

from libs.common.auth import Caller
from libs.common.cursors import LIMIT_DEFAULT, Limit, decode_cursor, encode_cursor, page
from libs.common.db import Connection
from libs.common.errors import Fault, Problem, Rejection
from libs.common.http import App, requires, router
from libs.common.problems import malformed
from services.invoicing import recurring, recurring_store
from services.invoicing.asking import OK, Done
from services.invoicing.bodies import EmptyBody, InvoiceBody
from services.invoicing.invoice_api import invoice_wish
from services.invoicing.invoice_plans import InvoiceWish
from services.invoicing.receivable_reads import as_reader
from services.invoicing.recurring import Change, RecurrenceWish
from services.invoicing.recurring_bodies import (
    RecurringInvoiceBody,
    RecurringInvoicePatchBody,
    ResumeBody,
    ScheduleBody,
)
from services.invoicing.recurring_words import occurrence_words, recurrence_words, schedule_of, upcoming_words
from services.invoicing.rejections import reject
from services.invoicing.rows import Row
from services.invoicing.schedules import Schedule
from services.invoicing.writing import PREFIX, Asked, Tools, Write, add_write

Reads = Annotated[Caller, requires("invoice:read")]
Status = Literal["active", "paused", "ended", "cancelled"]
State = Literal["made", "needs-attention"]
Dates = Annotated[int, Query(ge=1, le=120, description="How many of the next occurrences.")]

_INVOICE: Final = TypeAdapter(InvoiceBody)
_BESIDE: Final = ("issued_on", "tax_point_on", "due_on", "issue")
"""Members of an invoice that the recurrence says itself."""


@dataclass(frozen=True, slots=True)
class RecurringApi:
    """The routes of recurring invoices."""

    tools: Tools

    def add_to(self, app: App) -> None:
        """Puts every route into the application."""
        tags, at = ("recurring invoices",), "/recurring-invoices/{id}"
        body, patch = TypeAdapter(RecurringInvoiceBody), TypeAdapter(RecurringInvoicePatchBody)
        empty, resume = TypeAdapter(EmptyBody), TypeAdapter(ResumeBody)
        for write in (
            Write("/recurring-invoices", "invoice:write", body, "A new recurring invoice", _create, tags=tags),
            Write(at, "invoice:write", patch, "A changed recurring invoice", _change, method="PATCH", status=OK,
                  tags=tags),
            Write(f"{at}/pause", "invoice:write", empty, "A paused recurring invoice", _pause, status=OK,
                  is_empty_allowed=True, tags=tags),
            Write(f"{at}/resume", "invoice:write", resume, "A recurring invoice that goes on", _resume, status=OK,
                  is_empty_allowed=True, tags=tags),
            Write(f"{at}/cancel", "invoice:write", empty, "A cancelled recurring invoice", _cancel, status=OK,
                  is_empty_allowed=True, tags=tags),
            Write(f"{at}/occurrences/{{occurrence}}/retry", "invoice:write", empty, "An occurrence tried again", _retry,
                  status=OK, is_empty_allowed=True, tags=tags),
        ):  # fmt: skip
            add_write(app, self.tools, write)
        routes = router(PREFIX, list(tags))
        routes.add_api_route("/recurring-invoices", self.list, summary="Recurring invoices, oldest first")
        routes.add_api_route(at, self.get, summary="One recurring invoice")
        routes.add_api_route(f"{at}/preview", self.preview, summary="The next days of a recurring invoice")
        routes.add_api_route(f"{at}/occurrences", self.occurrences, summary="What became of a recurring invoice's days")
        app.include_router(routes)

    async def get(self, id: UUID, caller: Reads) -> dict[str, Any]:  # noqa: A002
        row = await self._row(caller, id)
        return recurrence_words(row, row["needs_attention"])

    async def preview(self, id: UUID, caller: Reads, count: Dates = 12) -> dict[str, Any]:  # noqa: A002
        """As they come if nothing is changed; none of one that is cancelled or has ended."""
        row = await self._row(caller, id)
        return {"recurring_invoice": id, "time_zone": schedule_of(row).time_zone, "items": upcoming_words(row, count)}

    async def list(
        self, caller: Reads, customer: UUID | None = None, status: Status | None = None, ledger: str | None = None,
        needs_attention: bool | None = None, cursor: str | None = None, limit: Limit = LIMIT_DEFAULT,
    ) -> dict[str, Any]:  # fmt: skip
        organization = caller.own_organization()
        filters: dict[str, Any] = {
            "customer": customer, "status": status, "ledger": ledger, "needs_attention": needs_attention,
        }  # fmt: skip
        name, after = f"recurring-invoices/{organization}", None
        if cursor is not None:
            begun = decode_cursor(cursor, name, filters)
            filters, after = {**dict.fromkeys(filters), **begun.filters}, UUID(begun.position[0])
        async with as_reader(self.tools.reader, organization) as connection:
            rows = await recurring_store.list_recurrences(connection, organization, filters, after, limit + 1)
        following = encode_cursor(name, filters, [str(rows[limit - 1]["id"])]) if len(rows) > limit else None
        return page([recurrence_words(row, row["needs_attention"]) for row in rows[:limit]], following)

    async def occurrences(
        self, id: UUID, caller: Reads, state: State | None = None, cursor: str | None = None,  # noqa: A002
        limit: Limit = LIMIT_DEFAULT,
    ) -> dict[str, Any]:  # fmt: skip
        """By their days: each with its invoice, or with the reason why there is none yet."""
        await self._row(caller, id)
        organization = caller.own_organization()
        filters: dict[str, Any] = {"state": state}
        name, after = f"occurrences/{organization}/{id}", None
        if cursor is not None:
            begun = decode_cursor(cursor, name, filters)
            filters, after = {"state": begun.filters.get("state")}, date.fromisoformat(begun.position[0])
        async with as_reader(self.tools.reader, organization) as connection:
            rows = await recurring_store.list_occurrences(
                connection, organization, id, filters["state"], after, limit + 1
            )  # fmt: skip
        following = encode_cursor(name, filters, [str(rows[limit - 1]["on_date"])]) if len(rows) > limit else None
        told = [
            {**occurrence_words(row), "number": row["number"], "status": row["invoice_status"]} for row in rows[:limit]
        ]
        return page(told, following)

    async def _row(self, caller: Caller, recurrence: UUID) -> Row:
        organization = caller.own_organization()
        async with as_reader(self.tools.reader, organization) as connection:
            row = await recurring_store.read_recurrence(connection, organization, recurrence)
        if row is None:
            facts = {"recurring_invoice": str(recurrence)}
            raise Problem(404, "unknown-recurring-invoice", "There is no such recurring invoice.", facts=facts)
        return row


def read_template(organization: str, text: str) -> InvoiceWish | Rejection:
    """A kept invoice body as the wish that it is."""
    try:
        return invoice_wish(organization, _INVOICE.validate_json(text))
    except (ValidationError, Problem):
        return reject("template-unreadable")


def _wish(organization: str, body: InvoiceBody) -> InvoiceWish:
    """The invoice that recurs. Raises Problem 422 with its place."""
    try:
        return invoice_wish(organization, body)
    except Problem as problem:
        raise malformed([Fault(f"/invoice{fault.pointer}", fault.detail) for fault in problem.errors]) from problem


def _said_beside(body: InvoiceBody | None) -> Rejection | None:
    """Why an invoice is none that recurs: it says what the recurrence says."""
    faults = [] if body is None else list(_beside(body))
    return reject("said-beside", errors=faults) if faults else None


def _beside(body: InvoiceBody) -> Iterator[Fault]:
    for name in _BESIDE:
        if getattr(body, name) is not None:
            said = "stands beside the invoice" if name == "issue" else "is said by the schedule and the terms"
            yield Fault(f"/invoice/{name}", said)
    for place, line in enumerate(body.lines):
        if line.service_from is not None or line.service_to is not None:
            yield Fault(f"/invoice/lines/{place}", "has a service period; say `service_period` beside the invoice")


def _template(body: InvoiceBody) -> str:
    """The body as it is kept: what was said of it."""
    return orjson.dumps(_said(asdict(body))).decode()


def _said(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _said(each) for name, each in value.items() if each is not None and each != []}
    return [_said(each) for each in value] if isinstance(value, list) else value


def _schedule(starts_on: date, body: ScheduleBody) -> Schedule:
    return Schedule(starts_on=starts_on, **asdict(body))


async def _create(connection: Connection, asked: Asked) -> Done | Rejection:
    body: RecurringInvoiceBody = asked.body
    if (refused := _said_beside(body.invoice)) is not None:
        return refused
    wish = RecurrenceWish(
        invoice=_wish(asked.organization, body.invoice),
        template=_template(body.invoice),
        schedule=_schedule(body.starts_on, body.schedule),
        ends_on=body.ends_on,
        count=body.count,
        issue=body.issue,
        payment_terms_days=body.payment_terms_days,
        service_period=body.service_period,
    )
    return await recurring.create_recurrence(connection, asked.tools.sealer, wish, asked.now)


async def _change(connection: Connection, asked: Asked) -> Done | Rejection:
    body: RecurringInvoicePatchBody = asked.body
    if (refused := _said_beside(body.invoice)) is not None:
        return refused
    change = Change(
        invoice=None if body.invoice is None else _wish(asked.organization, body.invoice),
        template=None if body.invoice is None else _template(body.invoice),
        schedule=None if body.schedule is None else asdict(body.schedule),
        ends_on=body.ends_on,
        count=body.count,
        issue=body.issue,
        payment_terms_days=body.payment_terms_days,
        service_period=body.service_period,
        expected_version=body.expected_version,
    )
    return await recurring.change_recurrence(
        connection, asked.tools.sealer, asked.organization, asked.ids["id"], change, asked.now
    )


async def _pause(connection: Connection, asked: Asked) -> Done | Rejection:
    return await recurring.pause_recurrence(connection, asked.organization, asked.ids["id"])


async def _resume(connection: Connection, asked: Asked) -> Done | Rejection:
    return await recurring.resume_recurrence(
        connection, asked.organization, asked.ids["id"], catch_up=asked.body.catch_up
    )  # fmt: skip


async def _cancel(connection: Connection, asked: Asked) -> Done | Rejection:
    return await recurring.cancel_recurrence(connection, asked.organization, asked.ids["id"])


async def _retry(connection: Connection, asked: Asked) -> Done | Rejection:
    key = asked.organization, asked.ids["id"], asked.ids["occurrence"]
    return await recurring.retry_occurrence(connection, asked.tools.sealer, read_template, key, asked.now)
