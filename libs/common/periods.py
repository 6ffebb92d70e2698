"""The vocabulary of closing: days, months and fiscal years, as they are asked for.

An accounting period (a month) is named 2026-11 and a fiscal year by the calendar year it begins in. In a ledger whose
fiscal year begins on another day than the first, its months begin on that day: from 04-06 on, 2026-04 is 6 April to
5 May. Whoever closes something that is closed already is told how it stands, and nothing is recorded.
"""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo

from libs.common.journal import Pattern

PeriodText = Annotated[str, Pattern(r"^(19|20|21)[0-9]{2}-(0[1-9]|1[0-2])$")]
YearText = Annotated[str, Pattern(r"^(19|20|21)[0-9]{2}$")]

ADJUST: Final = "period:adjust"
"""The scope to post into a softly closed month, and to post entries of kind closing by hand."""
BACKDATE: Final = "period:backdate"
"""The scope to post into a closed day of a month that is open."""
CLOSE: Final = "period:close"
REOPEN: Final = "period:reopen"

PERMITS: Final = frozenset({ADJUST, BACKDATE})
"""The scopes that a posting may need beside the one to post."""


@dataclass(slots=True, kw_only=True)
class DayClose:
    """A day someone wants closed, and all before it."""

    day: date


@dataclass(slots=True, kw_only=True)
class PeriodStep:
    """A month someone wants softly closed, closed or reopened; a reopening has a reason."""

    period: PeriodText
    step: Literal["soft-close", "close", "reopen"]
    reason: str | None = None


@dataclass(slots=True, kw_only=True)
class YearStep:
    """A fiscal year someone wants closed or reopened. `retained_earnings` stands in for the ledger's own account."""

    year: int
    step: Literal["close", "reopen"]
    reason: str | None = None
    retained_earnings: str | None = None


def accounting_day(at: datetime, time_zone: str, cut_off: time) -> date:
    """The day an instant belongs to in a zone: a cut-off before noon ends the day before, a later one begins the next.

    >>> from datetime import UTC
    >>> at = datetime(2026, 1, 31, 23, 30, tzinfo=UTC)
    >>> [str(accounting_day(at, "UTC", cut)) for cut in (time(0), time(2), time(23))]
    ['2026-01-31', '2026-01-31', '2026-02-01']
    """
    local = at.astimezone(ZoneInfo(time_zone)).replace(tzinfo=None)
    shift = timedelta(hours=cut_off.hour, minutes=cut_off.minute)
    return (local - shift if shift < timedelta(hours=12) else local + timedelta(days=1) - shift).date()


@dataclass(frozen=True, slots=True)
class FiscalCalendar:
    """A ledger's months, as numbers that follow one another, and its years. `start` is the year's first day, MM-DD."""

    start: str

    @property
    def _month(self) -> int:
        return int(self.start[:2]) - 1

    @property
    def _day(self) -> int:
        return int(self.start[3:])

    def month_of(self, on: date) -> int:
        """The month a day is in."""
        return on.year * 12 + on.month - 1 - (on.day < self._day)

    def month_named(self, period: str) -> int:
        """The month of a name such as 2026-11."""
        return int(period[:4]) * 12 + int(period[5:]) - 1

    def name(self, month: int) -> str:
        """The month's name."""
        return f"{month // 12:04}-{month % 12 + 1:02}"

    def begins(self, month: int) -> date:
        """Its first day."""
        return date(month // 12, month % 12 + 1, self._day)

    def ends(self, month: int) -> date:
        """Its last day."""
        return self.begins(month + 1) - timedelta(days=1)

    def year_of(self, month: int) -> int:
        """The fiscal year a month is in."""
        return (month - self._month) // 12

    def last_month(self, year: int) -> int:
        """The last month of a fiscal year."""
        return year * 12 + self._month + 11
