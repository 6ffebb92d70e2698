"""When the money for open invoices is likely to come: their due dates, moved by how late each customer pays. Pure.

    days late of a customer = the median of its last payments, else of everybody's, else 0; between EARLIEST and LATEST
    expected on             = due date + days late, and not before today

What is due before today is overdue and told by itself: nobody knows when it comes. Amounts are minor units.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, Literal

By = Literal["week", "month"]

PAYMENTS_MAX: Final = 20
"""How many of a customer's last payments are looked at."""
PAYMENTS_MIN: Final = 3
"""Fewer say nothing about a customer."""
EARLIEST: Final = -30
LATEST: Final = 180


@dataclass(frozen=True, slots=True)
class Due:
    """What is open of a customer's with one due date."""

    customer: str
    currency: str
    due_on: date
    open: int


@dataclass(frozen=True, slots=True)
class Habit:
    """How late somebody pays: days, of how many payments, and whose they are."""

    days: int
    payments: int
    of: Literal["customer", "organization", "nobody"]


@dataclass(slots=True)
class Bucket:
    """What is expected in one currency in the days from one to another."""

    since: date
    until: date
    currency: str
    amount: int = 0
    due: int = 0


@dataclass(slots=True)
class Forecast:
    """All buckets; what is overdue, and what comes later, by currency."""

    buckets: list[Bucket]
    overdue: dict[str, int]
    later: dict[str, int]


def median(days: Sequence[int]) -> int:
    """The middle one; of two the later, for caution.

    >>> median([3]), median([1, 9]), median([0, 2, 40])
    (3, 9, 2)
    """
    return sorted(days)[len(days) // 2]


def habits(days_late: Mapping[str, Sequence[int]]) -> tuple[dict[str, Habit], Habit]:
    """The habit of each customer that paid often enough, and of everybody else; days of each customer newest first."""

    def bounded(days: Sequence[int]) -> int:
        return min(max(median(days), EARLIEST), LATEST)

    recent = {customer: days[:PAYMENTS_MAX] for customer, days in days_late.items()}
    everybody = [day for days in recent.values() for day in days]
    others = Habit(bounded(everybody), len(everybody), "organization") if everybody else Habit(0, 0, "nobody")
    own = {
        customer: Habit(bounded(days), len(days), "customer")
        for customer, days in recent.items()
        if len(days) >= PAYMENTS_MIN
    }
    return own, others


def bucket_of(day: date, by: By) -> tuple[date, date]:
    """The first and last day of the week (from Monday) or month that a day is in."""
    if by == "week":
        first = day - timedelta(days=day.weekday())
        return first, first + timedelta(days=6)
    first = day.replace(day=1)
    following = (first + timedelta(days=32)).replace(day=1)
    return first, following - timedelta(days=1)


def forecast(
    dues: Iterable[Due], own: Mapping[str, Habit], others: Habit, today: date, until: date, by: By
) -> Forecast:
    """What is expected from today until a day, bucket by bucket, and what is overdue or comes later."""
    buckets: dict[tuple[date, str], Bucket] = {}
    found = Forecast([], {}, {})

    def bucket(day: date, currency: str) -> Bucket:
        first, last = bucket_of(day, by)
        key = max(first, today), currency
        return buckets.setdefault(key, Bucket(key[0], min(last, until), currency))

    for each in dues:
        if each.due_on < today:
            found.overdue[each.currency] = found.overdue.get(each.currency, 0) + each.open
            continue
        expected_on = max(each.due_on + timedelta(days=own.get(each.customer, others).days), today)
        if expected_on > until:
            found.later[each.currency] = found.later.get(each.currency, 0) + each.open
        else:
            bucket(expected_on, each.currency).amount += each.open
        if each.due_on <= until:
            bucket(each.due_on, each.currency).due += each.open
    found.buckets = [buckets[key] for key in sorted(buckets)]
    return found
