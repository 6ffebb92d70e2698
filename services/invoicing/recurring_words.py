"""How recurring invoices are kept and told: a stored row as the rules see it, and as callers do. Pure."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from typing import Any

import orjson

from services.invoicing import schedules
from services.invoicing.rows import Row
from services.invoicing.schedules import Due, Ending, Schedule, service_period
from services.invoicing.words import instant


def schedule_of(row: Row) -> Schedule:
    """The schedule of a stored recurrence."""
    return Schedule(starts_on=row["starts_on"], **orjson.loads(row["schedule"]))


def ending_of(row: Row) -> Ending:
    """When a stored recurrence is over."""
    return Ending(ends_on=row["ends_on"], count=row["count"])


def kept_schedule(schedule: Schedule) -> str:
    """A schedule as it is kept beside its first day."""
    kept = asdict(schedule)
    del kept["starts_on"]
    return orjson.dumps(kept).decode()


def due_of(row: Row) -> Due:
    """What is due next of a stored recurrence that is not over."""
    return Due(row["next_on"], row["next_at"])


def recurrence_words(row: Row, needs_attention: int = 0) -> dict[str, Any]:
    """A recurring invoice as callers are told."""
    names = ("id", "ledger", "customer", "starts_on", "ends_on", "count", "issue", "payment_terms_days",
             "service_period", "status")  # fmt: skip
    kept: Mapping[str, Any] = orjson.loads(row["schedule"])
    return {
        **{name: row[name] for name in names},
        "schedule": kept,
        "invoice": orjson.loads(row["template"]),
        "occurrences": row["due_count"],
        "needs_attention": needs_attention,
        "last_on": row["last_on"],
        "next_on": row["next_on"],
        "next_at": instant(row["next_at"]),
        "version": row["version"],
        "created_at": instant(row["created_at"]),
    }


def occurrence_words(row: Row) -> dict[str, Any]:
    """A day that was due: its invoice, or why there is none."""
    return {
        "id": row["id"],
        "on": row["on_date"],
        "due_at": instant(row["due_at"]),
        "service_from": row["service_from"],
        "service_to": row["service_to"],
        "state": row["state"],
        "invoice": row["invoice"],
        "rejection": orjson.loads(row["rejection"]) if row["rejection"] is not None else None,
        "made_at": instant(row["made_at"]),
    }


def upcoming_words(row: Row, limit: int) -> list[dict[str, Any]]:
    """The next occurrences of a stored recurrence, as they would be if nothing changed."""
    if row["next_on"] is None:
        return []
    schedule = schedule_of(row)
    found = []
    for due in schedules.upcoming(schedule, ending_of(row), due_of(row), row["due_count"], limit):
        period = service_period(schedule, due.on, row["service_period"])
        terms = row["payment_terms_days"]
        found.append({
            "on": due.on,
            "due_at": instant(due.at),
            "payable_on": None if terms is None else date.fromordinal(due.on.toordinal() + terms),
            "service_from": period[0] if period else None,
            "service_to": period[1] if period else None,
        })  # fmt: skip
    return found
