"""What callers send to have invoices recur: the JSON bodies, checked into plain dataclasses as those of bodies.py."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le, Len

from services.invoicing.bodies import Day, InvoiceBody, Version


class _Body:
    __slots__ = ()
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}


@dataclass(slots=True, kw_only=True)
class ScheduleBody(_Body):
    """When: a cron expression of five fields, or every so many days, weeks, months or years from the first day on.

    `day` is the day of the month; where a month is shorter it is its last.
    """

    cron: Annotated[str, Len(1, 120)] | None = None
    every: Annotated[int, Ge(1), Le(120)] = 1
    unit: Literal["day", "week", "month", "year"] | None = None
    day: Annotated[int, Ge(1), Le(31)] | None = None
    time_zone: Annotated[str, Len(1, 60)] = "UTC"


@dataclass(slots=True, kw_only=True)
class RecurringInvoiceBody(_Body):
    """An invoice that recurs. `invoice` is as for POST /invoices, without dates and `issue`, which stand beside it.

    `service_period` says what each is for: the time up to the next (`advance`) or since the one before (`arrears`).
    """

    invoice: InvoiceBody
    schedule: ScheduleBody
    starts_on: Day
    ends_on: Day | None = None
    count: Annotated[int, Ge(1), Le(100_000)] | None = None
    issue: bool = True
    payment_terms_days: Annotated[int, Ge(0), Le(3650)] | None = None
    service_period: Literal["advance", "arrears"] | None = None


@dataclass(slots=True, kw_only=True)
class RecurringInvoicePatchBody(_Body):
    """What of a recurring invoice is another from now on; what is absent stays."""

    invoice: InvoiceBody | None = None
    schedule: ScheduleBody | None = None
    ends_on: Day | None = None
    count: Annotated[int, Ge(1), Le(100_000)] | None = None
    issue: bool | None = None
    payment_terms_days: Annotated[int, Ge(0), Le(3650)] | None = None
    service_period: Literal["advance", "arrears"] | None = None
    expected_version: Version | None = None


@dataclass(slots=True, kw_only=True)
class ResumeBody(_Body):
    """Whether what was left out while it was paused is made now."""

    catch_up: bool = False
