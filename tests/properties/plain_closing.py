"""What is closed of a plain ledger: three days, and the rules of docs and design written down once more.

Its fiscal year begins on 1 January, so a month is a calendar month.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from libs.common.journal import EntryRequest
from libs.common.periods import ADJUST, BACKDATE, DayClose, PeriodStep, YearStep

Carried = Sequence[tuple[str, int]]
"""The lines of a year's end: account, and debits less credits."""


def first_of(month: int) -> date:
    """The first day of a month, by its number since year 0."""
    return date(month // 12, month % 12 + 1, 1)


def last_of(month: int) -> date:
    """Its last day."""
    return first_of(month + 1) - timedelta(days=1)


def month_of(day: date) -> int:
    """The number of a day's month."""
    return day.year * 12 + day.month - 1


@dataclass
class PlainClosing:
    """Through which day everything is closed: by days, softly by months, by months."""

    days: date | None = None
    softly: date | None = None
    months: date | None = None
    years: Mapping[int, Carried] = field(default_factory=dict)

    def place(self, request: EntryRequest, today: date, permits: frozenset[str]) -> tuple[date, set[str]]:
        """The day an entry is dated, and what stands against it."""
        day, faults = request.effective_on or today, set()
        if request.kind == "closing" and ADJUST not in permits:
            faults.add("closing-kind-not-permitted")
        shut = self._shut(day, permits)
        if shut is not None and request.if_closed == "reject":
            faults.add(shut)
        elif shut is not None:
            day = max(on for on in (self.days, self.softly, self.months) if on is not None) + timedelta(days=1)
        if day.year < 1900 or day.year > today.year + 10:
            faults.add("effective-date-out-of-range")
        return day, faults

    def _shut(self, day: date, permits: frozenset[str]) -> str | None:
        if self.months is not None and day <= self.months:
            return "period-closed"
        if self.softly is not None and day <= self.softly:
            return None if ADJUST in permits else "period-closed"
        if self.days is not None and day <= self.days and BACKDATE not in permits:
            return "day-closed"
        return None

    def take(self, step: DayClose | PeriodStep, today: date, first_on: date | None) -> tuple[set[str], int]:
        """What stands against a step, and how many records it becomes (none where the books stand so)."""
        if isinstance(step, DayClose):
            if self.days is not None and step.day <= self.days:
                return set(), 0
            if step.day >= today:
                return {"period-not-ended"}, 0
            self.days = step.day
            return set(), 1
        month = int(step.period[:4]) * 12 + int(step.period[5:]) - 1
        if step.step == "reopen":
            return self._reopen(month, first_on)
        return self._close(month, step.step == "close", today, first_on)

    def _close(self, month: int, for_good: bool, today: date, first_on: date | None) -> tuple[set[str], int]:
        reached = self.months if for_good else self.softly
        if reached is not None and last_of(month) <= reached:
            return set(), 0
        faults = {"period-not-ended"} if last_of(month) >= today else set()
        if reached is not None:
            following: int | None = month_of(reached) + 1
        else:
            following = month_of(first_on) if first_on is not None else None
        if month != following:
            faults.add("period-out-of-order")
        if faults:
            return faults, 0
        ends = last_of(month)
        self.softly = max(self.softly or ends, ends)
        if for_good:
            self.months, self.days = ends, max(self.days or ends, ends)
        return set(), 1

    def _reopen(self, month: int, first_on: date | None) -> tuple[set[str], int]:
        is_year_end = month % 12 == 11 and month // 12 in self.years
        if self.softly is None or month != month_of(self.softly) or is_year_end:
            return {"period-out-of-order"}, 0
        earlier = first_on is not None and month_of(first_on) < month
        if self.months == self.softly:
            self.months = last_of(month - 1) if earlier else None
        self.softly = last_of(month - 1) if earlier else None
        return set(), 1

    def close_year(
        self, step: YearStep, today: date, first_on: date | None, nominal: Mapping[str, int]
    ) -> tuple[set[str], list[Carried]]:
        """What stands against it; else its records, each with the lines it posts: the year's end, and that it is."""
        if step.year in self.years:
            return set(), []
        december = step.year * 12 + 11
        if last_of(december) <= (self.months or date.min):
            return {"period-out-of-order"}, []
        faults, _ = self._close(december, True, today, first_on)
        faults |= {"retained-earnings-missing"} if step.retained_earnings is None and nominal else set()
        if faults:
            return faults, []
        carried = [(code, -balance) for code, balance in nominal.items()]
        if sum(nominal.values()):
            carried.append((step.retained_earnings or "", sum(nominal.values())))
        self.years = {**self.years, step.year: carried}
        return set(), [carried, []] if carried else [[]]

    def reopen_year(self, year: int, first_on: date | None) -> tuple[set[str], list[Carried]]:
        """The same of a year that is opened again: that it is, and its end taken back."""
        if year not in self.years:
            return {"period-out-of-order"}, []
        carried, kept = self.years[year], self.years
        self.years = {other: lines for other, lines in kept.items() if other != year}
        faults, _ = self._reopen(year * 12 + 11, first_on)
        if faults:
            self.years = kept
            return faults, []
        return set(), [[], [(code, -amount) for code, amount in carried]] if carried else [[]]
