"""When a recurring invoice is due: days by a cron expression or a plain interval, each an instant in a time zone. Pure.

    schedule -> days on the wall calendar, one after another -> the instant at which each is due
    cron      five fields; minute and hour are one number each, so there is at most one invoice a day
    interval  every n days, weeks, months or years from the first day on; day 31 is the last of a shorter month

A day is due at the cron's hour, or at its beginning. What the wall clock skips when summer time begins is due at the
first minute after the gap; what it shows twice when summer time ends is due the first time. Days end with the year
2999, as those of documents do.
"""

import calendar
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from libs.common.errors import Fault, Rejection
from services.invoicing.rejections import reject

Unit = Literal["day", "week", "month", "year"]
ServicePeriod = Literal["advance", "arrears"]

LAST_DAY: Final = date(2999, 12, 31)
_MONTHS: Final = {"month": 1, "year": 12}
_DAYS: Final = {"day": 1, "week": 7}
_CRON_FIELDS: Final = 5
_A_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Either `cron`, or every so many `unit`s; `day` is the day of the month, the first day's where it is None."""

    starts_on: date
    time_zone: str = "UTC"
    cron: str | None = None
    every: int = 1
    unit: Unit | None = None
    day: int | None = None


class Due(NamedTuple):
    """An occurrence: its day, and the instant from which on it is made."""

    on: date
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """When it is over: after a day, or after so many occurrences; never where both are absent."""

    ends_on: date | None = None
    count: int | None = None


def check(schedule: Schedule) -> Rejection | None:
    """Why a schedule is none, with the place."""
    try:
        ZoneInfo(schedule.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return _invalid("time_zone", f"is {schedule.time_zone[:60]}, which is no IANA time zone")
    if (schedule.cron is None) == (schedule.unit is None):
        said = "has a cron expression and an interval" if schedule.cron else "has neither a cron expression nor a unit"
        return _invalid("", said)
    if schedule.day is not None and schedule.unit not in _MONTHS:
        return _invalid("day", "goes with months and years alone")
    if schedule.cron is None:
        return None
    if schedule.every != 1:
        return _invalid("every", "goes with a unit, not with a cron expression")
    if len(schedule.cron.split()) != _CRON_FIELDS:
        return _invalid("cron", "has not the five fields minute, hour, day of month, month, day of week")
    try:
        cron = CronSim(schedule.cron, datetime.combine(schedule.starts_on, time()))
    except CronSimError as error:
        return _invalid("cron", f"is {schedule.cron[:60]}: {error}")
    if len(cron.minutes) != 1 or len(cron.hours) != 1:
        return _invalid("cron", "is due more than once a day; minute and hour are one number each")
    return None


def occurrences(schedule: Schedule, after: date | None = None) -> Iterator[Due]:
    """What is due from the first day on, or from behind the day `after`."""
    zone = ZoneInfo(schedule.time_zone)
    behind = schedule.starts_on - _A_DAY if after is None else max(after, schedule.starts_on - _A_DAY)
    for local in _local(schedule, behind):
        yield Due(local.date(), instant_of(local, zone))


def next_due(
    schedule: Schedule, ending: Ending, after: date | None, made: int, not_before: datetime | None = None
) -> Due | None:
    """The next occurrence behind the day `after`, `made` being there already; none where it is over.

    Those due before the instant `not_before` are left out.
    """
    if ending.count is not None and made >= ending.count:
        return None
    for due in occurrences(schedule, after):
        if ending.ends_on is not None and due.on > ending.ends_on:
            return None
        if not_before is None or due.at >= not_before:
            return due
    return None


def upcoming(schedule: Schedule, ending: Ending, first: Due, made: int, limit: int) -> list[Due]:
    """The next occurrences, `first` being the one that is due next."""
    left = limit if ending.count is None else min(limit, ending.count - made)
    found = [first, *islice(occurrences(schedule, first.on), max(left - 1, 0))]
    return [due for due in found[:left] if ending.ends_on is None or due.on <= ending.ends_on]


def service_period(schedule: Schedule, on: date, kind: ServicePeriod | None) -> tuple[date, date] | None:
    """What an occurrence is for: up to the day before the next, or from the one before up to the day before it.

    >>> monthly = Schedule(starts_on=date(2026, 1, 31), unit="month")
    >>> [str(day) for day in service_period(monthly, date(2026, 2, 28), "advance")]
    ['2026-02-28', '2026-03-30']
    >>> [str(day) for day in service_period(monthly, date(2026, 1, 31), "arrears")]
    ['2025-12-31', '2026-01-30']
    """
    if kind is None:
        return None
    if kind == "advance":
        following = next(_local(schedule, on), None)
        return (on, on) if following is None else (on, following.date() - _A_DAY)
    before = _before(schedule, on)
    return None if before is None else (before, on - _A_DAY)


def instant_of(local: datetime, zone: ZoneInfo) -> datetime:
    """When a wall clock shows `local`: the first time where it does so twice, the end of the gap where it never does.

    >>> instant_of(datetime(2026, 3, 29, 2, 30), ZoneInfo("Europe/Berlin")).isoformat()
    '2026-03-29T01:00:00+00:00'
    >>> instant_of(datetime(2026, 10, 25, 2, 30), ZoneInfo("Europe/Berlin")).isoformat()
    '2026-10-25T00:30:00+00:00'
    """
    while True:
        at = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
        if at.astimezone(zone).replace(tzinfo=None) == local:
            return at
        local += timedelta(minutes=1)


def _local(schedule: Schedule, behind: date) -> Iterator[datetime]:
    """Wall-clock times of the days behind a day, the first day of all left aside."""
    days = _by_cron(schedule.cron, behind) if schedule.cron is not None else _by_interval(schedule, behind)
    for local in days:
        if local.date() > LAST_DAY:
            return
        yield local


def _by_cron(cron: str, behind: date) -> Iterator[datetime]:
    yield from CronSim(cron, datetime.combine(behind, time(23, 59, 59)))


def _by_interval(schedule: Schedule, behind: date) -> Iterator[datetime]:
    place = _place_near(schedule, behind)
    while (on := _day(schedule, place)) is not None:
        if on > behind:
            yield datetime.combine(on, time())
        place += 1


def _before(schedule: Schedule, on: date) -> date | None:
    """The day before `on` on which it would have been due, were it without a beginning."""
    if schedule.cron is not None:
        found = next(CronSim(schedule.cron, datetime.combine(on, time()), reverse=True), None)
        return None if found is None else found.date()
    place = _place_near(schedule, on) + 1
    while (day := _day(schedule, place)) is None or day >= on:
        place -= 1
    return day


def _place_near(schedule: Schedule, day: date) -> int:
    """A place in the row of an interval's days that is not behind `day`."""
    if schedule.unit in _DAYS:
        step = _DAYS[schedule.unit] * schedule.every
        return (day - schedule.starts_on).days // step
    assert schedule.unit is not None
    step = _MONTHS[schedule.unit] * schedule.every
    return (_month(day) - _month(schedule.starts_on)) // step - 1


def _day(schedule: Schedule, place: int) -> date | None:
    """The day at a place in the row of an interval's days, 0 that of the first day; none past the last of all."""
    if schedule.unit in _DAYS:
        ordinal = schedule.starts_on.toordinal() + place * _DAYS[schedule.unit] * schedule.every
        return date.fromordinal(ordinal) if ordinal <= LAST_DAY.toordinal() else None
    assert schedule.unit is not None
    year, month = divmod(_month(schedule.starts_on) + place * _MONTHS[schedule.unit] * schedule.every, 12)
    if year > LAST_DAY.year:
        return None
    last = calendar.monthrange(year, month + 1)[1]
    return date(year, month + 1, min(schedule.day or schedule.starts_on.day, last))


def _month(day: date) -> int:
    return day.year * 12 + day.month - 1


def _invalid(member: str, said: str) -> Rejection:
    pointer = f"/schedule/{member}" if member else "/schedule"
    return reject("schedule-invalid", errors=[Fault(pointer, said)])
