"""Recurring invoices: set up, changed, paused, resumed, cancelled; and what is due of them made, each day once.

    set up   the invoice planned as of its first day, so that what is wrong is said now -> the recurrence, next_at kept
    due      recurrences whose next_at is over, held -> moved on to the next -> invoices made -> occurrences
             all in one transaction: a day that was due has its occurrence, and its invoice or the reason for none

What was missed while nobody looked is made day by day, each dated on its own day. Made or not, the recurrence moves on,
so one that cannot be made holds up neither its next nor anybody else's. An occurrence's id is derived from its
recurrence and day, and is its invoice's id.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any, Final
from uuid import UUID

import orjson

from libs.common.clock import derived_id, new_id
from libs.common.db import Connection
from libs.common.errors import Fault, Rejection
from libs.common.sealing import Sealer
from services.invoicing import recurring_store, schedules
from services.invoicing.asking import CREATED, OK, Done
from services.invoicing.invoice_planning import plan_invoices
from services.invoicing.invoice_plans import InvoiceWish
from services.invoicing.invoices import make_invoices
from services.invoicing.recurring_store import AdvanceRow, OccurrenceRow
from services.invoicing.recurring_words import (
    due_of,
    ending_of,
    kept_schedule,
    occurrence_words,
    recurrence_words,
    schedule_of,
)
from services.invoicing.rejections import reject
from services.invoicing.rows import Row
from services.invoicing.schedules import Due, Ending, Schedule, ServicePeriod, next_due, service_period

ReadTemplate = Callable[[str, str], InvoiceWish | Rejection]
"""An organization's kept invoice body, as JSON text, as the wish that it is."""

CHANGEABLE: Final = ("ends_on", "count", "issue", "payment_terms_days", "service_period")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecurrenceWish:
    """A recurring invoice as it is wanted; `template` is the body of `invoice` as JSON text."""

    invoice: InvoiceWish
    template: str
    schedule: Schedule
    ends_on: date | None = None
    count: int | None = None
    issue: bool = True
    payment_terms_days: int | None = None
    service_period: ServicePeriod | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What of a recurring invoice is another from now on; what is None stays. `schedule` goes without its first day."""

    invoice: InvoiceWish | None = None
    template: str | None = None
    schedule: Mapping[str, Any] | None = None
    ends_on: date | None = None
    count: int | None = None
    issue: bool | None = None
    payment_terms_days: int | None = None
    service_period: ServicePeriod | None = None
    expected_version: int | None = None


# --- set up and changed -----------------------------------------------------------------------------------------------


async def create_recurrence(
    connection: Connection, sealer: Sealer, wish: RecurrenceWish, now: datetime
) -> Done | Rejection:
    """Stores a recurring invoice; its first is due from the first day of its schedule on."""
    if (refused := schedules.check(wish.schedule)) is not None:
        return refused
    due = next_due(wish.schedule, Ending(ends_on=wish.ends_on, count=wish.count), None, 0)
    if due is None:
        return _never(wish.schedule, wish.ends_on)
    customer = await _checked(connection, sealer, wish.invoice, wish.schedule, due, wish.service_period, now)
    if isinstance(customer, Rejection):
        return customer
    row = {
        "organization": wish.invoice.organization,
        "id": new_id(),
        "ledger": wish.invoice.ledger,
        "customer": customer,
        "template": wish.template,
        "schedule": kept_schedule(wish.schedule),
        "starts_on": wish.schedule.starts_on,
        **{name: getattr(wish, name) for name in CHANGEABLE},
        "next_on": due.on,
        "next_at": due.at,
        "created_at": now,
    }
    return Done(recurrence_words(await recurring_store.insert_recurrence(connection, row)), CREATED)


async def change_recurrence(
    connection: Connection, sealer: Sealer, organization: str, recurrence: UUID, change: Change, now: datetime
) -> Done | Rejection:
    """Changes what is named, for what comes from now on. A changed schedule holds from now on too."""
    row = await _held(connection, organization, recurrence)
    if isinstance(row, Rejection):
        return row
    if change.expected_version is not None and change.expected_version != row["version"]:
        return reject("version-conflict", version=row["version"], expected_version=change.expected_version)
    if row["status"] == "active" and row["next_at"] <= row["clock"]:
        return reject("recurrence-behind", due_on=str(row["next_on"]))
    schedule = schedule_of(row)
    if change.schedule is not None:
        schedule = Schedule(starts_on=row["starts_on"], **change.schedule)
    if change.schedule is not None and (refused := schedules.check(schedule)) is not None:
        return refused
    given = {name: getattr(change, name) for name in CHANGEABLE if getattr(change, name) is not None}
    merged = {**{name: row[name] for name in CHANGEABLE}, **given}
    ending = Ending(ends_on=merged["ends_on"], count=merged["count"])
    if change.schedule is not None or row["next_on"] is None:
        due = next_due(schedule, ending, row["last_on"], row["due_count"], row["clock"])
    else:
        due = _still(row, ending)
    if change.count is not None and change.count < row["due_count"]:
        fault = Fault("/count", f"is {change.count}, and {row['due_count']} are there")
        return reject("schedule-never-due", errors=[fault])
    if change.invoice is not None or change.service_period is not None:
        on = due or Due(row["last_on"] or row["starts_on"], row["clock"])
        refused = await _fits(connection, sealer, row, change, schedule, on, merged["service_period"], now)
        if refused is not None:
            return refused
    changed = {
        **merged,
        "template": change.template or row["template"],
        "schedule": kept_schedule(schedule),
        "status": "ended" if due is None else "active" if row["status"] == "ended" else row["status"],
        **_at(due),
    }
    stored = await recurring_store.update_recurrence(connection, organization, recurrence, changed)
    return Done(recurrence_words(stored), OK)


async def pause_recurrence(connection: Connection, organization: str, recurrence: UUID) -> Done | Rejection:
    """Nothing is made of it until it is resumed. Twice is once."""
    row = await _held(connection, organization, recurrence)
    if isinstance(row, Rejection):
        return row
    if row["status"] == "ended":
        return reject("recurrence-over", status="ended")
    return await _moved(connection, row, "paused", due_of(row))


async def resume_recurrence(
    connection: Connection, organization: str, recurrence: UUID, *, catch_up: bool
) -> Done | Rejection:
    """It goes on with the next that is due from now on, or with `catch_up` with the first that was left out."""
    row = await _held(connection, organization, recurrence)
    if isinstance(row, Rejection):
        return row
    if row["status"] == "ended":
        return reject("recurrence-over", status="ended")
    due: Due | None = due_of(row)
    if row["status"] == "paused" and not catch_up and row["next_at"] < row["clock"]:
        due = next_due(schedule_of(row), ending_of(row), row["next_on"], row["due_count"], row["clock"])
    return await _moved(connection, row, "ended" if due is None else "active", due)


async def cancel_recurrence(connection: Connection, organization: str, recurrence: UUID) -> Done | Rejection:
    """Nothing is made of it any more; what was made stays."""
    row = await _held(connection, organization, recurrence)
    if isinstance(row, Rejection):
        return row
    return await _moved(connection, row, "cancelled", None)


async def _held(connection: Connection, organization: str, recurrence: UUID) -> Row | Rejection:
    row = await recurring_store.lock_recurrence(connection, organization, recurrence)
    if row is None:
        return reject("unknown-recurring-invoice", recurring_invoice=str(recurrence))
    if row["status"] == "cancelled":
        return reject("recurrence-over", status="cancelled")
    return row


async def _moved(connection: Connection, row: Row, status: str, due: Due | None) -> Done:
    if status == row["status"] and due == due_of(row):
        return Done(recurrence_words(row), OK)
    changed = {**{name: row[name] for name in (*CHANGEABLE, "template", "schedule")}, "status": status, **_at(due)}
    stored = await recurring_store.update_recurrence(connection, row["organization"], row["id"], changed)
    return Done(recurrence_words(stored), OK)


async def _checked(
    connection: Connection,
    sealer: Sealer,
    invoice: InvoiceWish,
    schedule: Schedule,
    due: Due,
    kind: ServicePeriod | None,
    now: datetime,
) -> UUID | Rejection:
    """Whose the invoice is, planned as of a day; or what is wrong with it, at its place below `/invoice`."""
    if kind is not None and not invoice.lines:
        return reject("service-period-invalid", errors=[Fault("/service_period", "goes with lines, not with a total")])
    dated = replace(invoice, issued_on=due.on, make_customer=False)
    (planned,) = await plan_invoices(connection, sealer, [_for(dated, service_period(schedule, due.on, kind))], now)
    if isinstance(planned, Rejection):
        at = [Fault(f"/invoice{fault.pointer}", fault.detail) for fault in planned.errors]
        return Rejection(planned.code, planned.detail, planned.facts, at)
    return planned.customer


async def _fits(
    connection: Connection,
    sealer: Sealer,
    row: Row,
    change: Change,
    schedule: Schedule,
    due: Due,
    kind: ServicePeriod | None,
    now: datetime,
) -> Rejection | None:
    """Why a changed invoice is none, or another customer's or ledger's."""
    if change.invoice is None:
        if kind is not None and not orjson.loads(row["template"]).get("lines"):
            fault = Fault("/service_period", "goes with lines, not with a total")
            return reject("service-period-invalid", errors=[fault])
        return None
    if change.invoice.ledger != row["ledger"]:
        return reject("ledger-differs", errors=[Fault("/invoice/ledger", f"is {change.invoice.ledger}")])
    customer = await _checked(connection, sealer, change.invoice, schedule, due, kind, now)
    if isinstance(customer, Rejection):
        return customer
    if customer != row["customer"]:
        return reject("customer-differs", errors=[Fault("/invoice/customer", f"is {change.invoice.customer[:60]}")])
    return None


def _never(schedule: Schedule, ends_on: date | None) -> Rejection:
    said = f"has no day from {schedule.starts_on} on" + (f" to {ends_on}" if ends_on is not None else "")
    return reject("schedule-never-due", errors=[Fault("/schedule", said)])


def _still(row: Row, ending: Ending) -> Due | None:
    """What is due next, unless it is over by then."""
    due = due_of(row)
    is_over = (ending.ends_on is not None and due.on > ending.ends_on) or (
        ending.count is not None and row["due_count"] >= ending.count
    )
    return None if is_over else due


# --- made when it is due ----------------------------------------------------------------------------------------------


async def make_due(
    connection: Connection, sealer: Sealer, read: ReadTemplate, limit: int, only: UUID | None = None
) -> list[OccurrenceRow]:
    """Makes the next occurrence of each recurrence that is due, at most `limit`; gives what became of them."""
    rows = await recurring_store.claim_due(connection, limit, only)
    if not rows:
        return []
    now = rows[0]["clock"]
    await _advance(connection, rows)
    found = [_wish(row, read) for row in rows]
    wishes = [wish for wish in found if isinstance(wish, InvoiceWish)]
    answers = iter(await make_invoices(connection, sealer, wishes, now))
    settled = [next(answers) if isinstance(wish, InvoiceWish) else wish for wish in found]
    made = [_occurrence(row, answer, now) for row, answer in zip(rows, settled, strict=True)]
    await recurring_store.insert_occurrences(connection, made)
    return made


async def refuse_due(connection: Connection, recurrence: UUID, why: Rejection) -> list[OccurrenceRow]:
    """The next occurrence of one recurrence needs attention: the database refused to make it."""
    rows = await recurring_store.claim_due(connection, 1, recurrence)
    refused = [_occurrence(row, why, row["clock"]) for row in rows]
    if rows:
        await _advance(connection, rows)
        await recurring_store.insert_occurrences(connection, refused)
    return refused


async def retry_occurrence(
    connection: Connection,
    sealer: Sealer,
    read: ReadTemplate,
    key: tuple[str, UUID, UUID],
    now: datetime,
) -> Done | Rejection:
    """Tries an occurrence again that could not be made, as the recurrence is now; it keeps its own day."""
    organization, recurrence, occurrence = key
    row = await recurring_store.lock_recurrence(connection, organization, recurrence)
    if row is None:
        return reject("unknown-recurring-invoice", recurring_invoice=str(recurrence))
    held = await recurring_store.lock_occurrence(connection, organization, recurrence, occurrence)
    if held is None:
        return reject("unknown-occurrence", occurrence=str(occurrence))
    if held["state"] == "made":
        return reject("occurrence-made", invoice=str(held["invoice"]))
    wish = _wish_on(row, held["on_date"], _period_of(held), held["id"], read)
    if isinstance(wish, Rejection):
        return wish
    (made,) = await make_invoices(connection, sealer, [wish], now)
    if isinstance(made, Rejection):
        return _why(made)
    await recurring_store.settle_occurrence(connection, organization, occurrence, held["id"], now)
    told = {**dict(held), "state": "made", "invoice": held["id"], "rejection": None, "made_at": now}
    return Done({**occurrence_words(told), "number": made.body["number"]}, OK)


async def _advance(connection: Connection, rows: list[Any]) -> None:
    moved = []
    for row in rows:
        due = next_due(schedule_of(row), ending_of(row), row["next_on"], row["due_count"] + 1)
        status = "ended" if due is None else "active"
        moved.append(AdvanceRow(row["organization"], row["id"], row["next_on"], status, *(due or (None, None))))
    await recurring_store.advance(connection, moved)


def _wish(row: Row, read: ReadTemplate) -> InvoiceWish | Rejection:
    period = service_period(schedule_of(row), row["next_on"], row["service_period"])
    return _wish_on(row, row["next_on"], period, _occurrence_id(row), read)


def _wish_on(
    row: Row, on: date, period: tuple[date, date] | None, invoice: UUID, read: ReadTemplate
) -> InvoiceWish | Rejection:
    wish = read(row["organization"], row["template"])
    if isinstance(wish, Rejection):
        return wish
    terms = row["payment_terms_days"]
    dated = replace(
        wish,
        id=invoice,
        customer=str(row["customer"]),
        make_customer=False,
        issued_on=on,
        due_on=None if terms is None else date.fromordinal(on.toordinal() + terms),
        issue=row["issue"],
    )
    return _for(dated, period)


def _for(wish: InvoiceWish, period: tuple[date, date] | None) -> InvoiceWish:
    """The invoice with its lines for a service period."""
    if period is None:
        return wish
    lines = tuple(replace(line, service_from=period[0], service_to=period[1]) for line in wish.lines)
    return replace(wish, lines=lines)


def _occurrence_id(row: Row) -> UUID:
    """Derived from the recurrence and its day; no id begins before 1970."""
    begun = max(row["next_at"], datetime(1970, 1, 1, tzinfo=UTC))
    return derived_id(begun, row["organization"], "invoicing", f"recurrence/{row['id']}", str(row["next_on"]))


def _occurrence(row: Row, answer: Done | Rejection, now: datetime) -> OccurrenceRow:
    period = service_period(schedule_of(row), row["next_on"], row["service_period"])
    made = not isinstance(answer, Rejection)
    return OccurrenceRow(
        organization=row["organization"],
        id=_occurrence_id(row),
        recurrence=row["id"],
        on_date=row["next_on"],
        due_at=row["next_at"],
        service_from=period[0] if period else None,
        service_to=period[1] if period else None,
        state="made" if made else "needs-attention",
        invoice=_occurrence_id(row) if made else None,
        rejection=None if not isinstance(answer, Rejection) else _rejection_text(_why(answer)),
        created_at=now,
        made_at=now if made else None,
    )


def _why(refused: Rejection) -> Rejection:
    """A customer of a recurrence is there for ever; who is not found was erased."""
    return reject("customer-erased") if refused.code == "unknown-customer" else refused


def _rejection_text(refused: Rejection) -> str:
    told = {"code": refused.code, "detail": refused.detail, "facts": refused.facts,
            "errors": [fault._asdict() for fault in refused.errors]}  # fmt: skip
    return orjson.dumps(told, default=str).decode()


def _at(due: Due | None) -> dict[str, Any]:
    return {"next_on": due.on if due else None, "next_at": due.at if due else None}


def _period_of(row: Row) -> tuple[date, date] | None:
    return None if row["service_from"] is None else (row["service_from"], row["service_to"])
