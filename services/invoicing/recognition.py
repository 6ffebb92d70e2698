"""Deferred revenue, earned day by day: by the end of a day, what is earned of the whole less what is recognised.

By itself it is recognised when an accounting period ends: `passed_end` of the ledger's months is the last one that has,
`end_behind` the next one after what is done.

    earned through d = round(amount x days of the service period up to d / all its days), half-even

Both ends of the period count. So however often it is asked, and whenever, the parts add up to the amount; what a credit
note took out of what was deferred is recognised no more: the amount that is left is what is earned by days.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

from libs.common.money import Currency, Rounding, round_ratio
from libs.common.periods import FiscalCalendar


@dataclass(frozen=True, slots=True)
class Deferral:
    """What the issue entry deferred of one invoice line: `amount` in minor units as booked, negative for a return.

    `account` is the line's own revenue account, None for the role's.
    """

    line: int
    amount: int
    currency: Currency
    account: str | None
    service_from: date
    service_to: date


def earned(deferral: Deferral, through: date, credited: int = 0) -> int:
    """What of it is earned by the end of the day `through`, credit notes having taken `credited` of what was deferred.

    >>> from libs.common.money import ISO_4217
    >>> year = Deferral(0, 36500, ISO_4217["USD"], None, date(2026, 1, 1), date(2026, 12, 31))
    >>> earned(year, date(2026, 1, 31)), earned(year, date(2025, 12, 31)), earned(year, date(2027, 6, 1))
    (3100, 0, 36500)
    """
    assert deferral.service_from <= deferral.service_to
    days = (deferral.service_to - deferral.service_from).days + 1
    gone = min(max((through - deferral.service_from).days + 1, 0), days)
    return round_ratio((deferral.amount - credited) * gone, days, Rounding.HALF_EVEN)


def left(deferral: Deferral, credited: int, recognised: int) -> int:
    """What of it is still deferred: `CreditNote.deferred_left` of its line."""
    return deferral.amount - credited - recognised


def to_recognise(rows: Iterable[tuple[Deferral, int, int]], through: date) -> list[tuple[Deferral, int]]:
    """What `posting_rules.recognition` is asked for, of (deferral, credited, recognised): what moves, and how much.

    Revenue that is recognised stays so: where a credit note left less to come than the days say, recognition pauses.
    """
    found = []
    for deferral, credited, recognised in rows:
        amount = earned(deferral, through, credited) - recognised
        if amount and (amount > 0) == (deferral.amount > 0):
            found.append((deferral, amount))
    return found


def to_take_back(rows: Iterable[tuple[Deferral, int]]) -> list[tuple[Deferral, int]]:
    """What `posting_rules.recognition` is asked for before a void, of (deferral, recognised): all of it, turned."""
    return [(deferral, -recognised) for deferral, recognised in rows if recognised]


def end_behind(calendar: FiscalCalendar, through: date) -> date:
    """The first period end after the day `through`.

    >>> months = FiscalCalendar("01-01")
    >>> [str(end_behind(months, day)) for day in (date(2026, 1, 30), date(2026, 1, 31), date(2026, 2, 1))]
    ['2026-01-31', '2026-02-28', '2026-02-28']
    """
    return calendar.ends(calendar.month_of(through + timedelta(days=1)))


def passed_end(calendar: FiscalCalendar, today: date) -> date:
    """The last period end that has passed on the accounting day `today`.

    >>> [str(passed_end(FiscalCalendar("04-06"), day)) for day in (date(2026, 5, 5), date(2026, 5, 6))]
    ['2026-04-05', '2026-05-05']
    """
    return calendar.ends(calendar.month_of(today) - 1)
