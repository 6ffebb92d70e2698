"""Facts of closing: days, months softly and for good, fiscal years, and what was reopened.

Each says through which day the ledger is closed after it (null: it is not), so that a reader needs the last one alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final, Literal
from uuid import UUID

from pydantic import TypeAdapter

from libs.common.event_shapes import FACTS, Fact, Open, RecordedRequest
from libs.common.event_type import EventType


@dataclass(slots=True, kw_only=True)
class Closing(Open):
    """`period`: a day, a month (2026-11), or a fiscal year by the year it begins in. `entries`: a year end's own."""

    period: str
    days_closed_through: date | None
    soft_closed_through: date | None
    closed_through: date | None
    reason: str | None = None
    entries: list[UUID] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class ClosingFact(Fact):
    """What the facts of closing have in common."""

    request: RecordedRequest
    closing: Closing


@dataclass(slots=True, kw_only=True)
class DayClosed(ClosingFact):
    """A day and all before it were closed."""

    type: Literal["day-closed"]


@dataclass(slots=True, kw_only=True)
class PeriodSoftClosed(ClosingFact):
    """A month was closed to all but those who may adjust."""

    type: Literal["period-soft-closed"]


@dataclass(slots=True, kw_only=True)
class PeriodClosed(ClosingFact):
    """A month was closed."""

    type: Literal["period-closed"]


@dataclass(slots=True, kw_only=True)
class PeriodReopened(ClosingFact):
    """A month was opened again."""

    type: Literal["period-reopened"]


@dataclass(slots=True, kw_only=True)
class YearClosed(ClosingFact):
    """A fiscal year was closed with its last month, after the entries that carry its result."""

    type: Literal["year-closed"]


@dataclass(slots=True, kw_only=True)
class YearReopened(ClosingFact):
    """A fiscal year was opened again with its last month; the reversals of its entries follow."""

    type: Literal["year-reopened"]


PERIOD_EVENTS: Final[Sequence[EventType[Any]]] = (
    EventType("ledger.day-closed.v1", FACTS, TypeAdapter(DayClosed), "A day was closed."),
    EventType("ledger.period-soft-closed.v1", FACTS, TypeAdapter(PeriodSoftClosed), "A month was closed softly."),
    EventType("ledger.period-closed.v1", FACTS, TypeAdapter(PeriodClosed), "A month was closed."),
    EventType("ledger.period-reopened.v1", FACTS, TypeAdapter(PeriodReopened), "A month was reopened."),
    EventType("ledger.year-closed.v1", FACTS, TypeAdapter(YearClosed), "A fiscal year was closed."),
    EventType("ledger.year-reopened.v1", FACTS, TypeAdapter(YearReopened), "A fiscal year was reopened."),
)
