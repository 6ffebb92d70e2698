"""Schedules: which days they have, when each is due where clocks are put forward and back, and what none can have."""

from datetime import UTC, date, datetime
from itertools import islice, pairwise
from typing import Any

import pytest

from services.invoicing import schedules
from services.invoicing.schedules import Due, Ending, Schedule, next_due, occurrences, service_period, upcoming

DAYS = [
    # what                                  | first day  | schedule         | the days that follow
    ("the 31st, in shorter months their last", "2026-01-31", {"unit": "month"}, "01-31 02-28 03-31 04-30 05-31"),
    ("the same in a leap year", "2028-01-31", {"unit": "month"}, "01-31 02-29 03-31 04-30 05-31"),
    ("the 30th from a day before it", "2026-01-05", {"unit": "month", "day": 30}, "01-30 02-28 03-30 04-30 05-30"),
    ("the 5th from a day after it", "2026-01-20", {"unit": "month", "day": 5}, "02-05 03-05 04-05 05-05 06-05"),
    ("each quarter", "2026-01-31", {"unit": "month", "every": 3}, "01-31 04-30 07-31 10-31 01-31"),
    ("each year on 29 February", "2028-02-29", {"unit": "year"}, "02-29 02-28 02-28 02-28 02-29"),
    ("every second week", "2026-12-21", {"unit": "week", "every": 2}, "12-21 01-04 01-18 02-01 02-15"),
    ("every ten days", "2026-02-20", {"unit": "day", "every": 10}, "02-20 03-02 03-12 03-22 04-01"),
    ("cron: the 1st", "2026-01-15", {"cron": "0 6 1 * *"}, "02-01 03-01 04-01 05-01 06-01"),
    ("cron: the last day", "2026-01-15", {"cron": "0 6 L * *"}, "01-31 02-28 03-31 04-30 05-31"),
    ("cron: workdays", "2026-03-06", {"cron": "0 6 * * MON-FRI"}, "03-06 03-09 03-10 03-11 03-12"),
    ("cron: the last Friday of a quarter", "2026-01-01", {"cron": "0 6 * */3 5L"}, "01-30 04-24 07-31 10-30 01-29"),
]


@pytest.mark.parametrize(("starts_on", "members", "days"), [row[1:] for row in DAYS], ids=[row[0] for row in DAYS])
def test_days(starts_on: str, members: dict[str, Any], days: str) -> None:
    schedule = Schedule(starts_on=date.fromisoformat(starts_on), **members)
    assert schedules.check(schedule) is None
    found = [due.on for due in islice(occurrences(schedule), 5)]
    assert " ".join(f"{on:%m-%d}" for on in found) == days
    for place, on in enumerate(found[:-1]):
        assert next(occurrences(schedule, on)).on == found[place + 1], "from any of its days on it is the same row"


CLOCKS = [
    # what                                     | zone                 | wall clock     | due at (UTC)
    ("an ordinary day", "Europe/Berlin", "2026-01-15 06:00", "2026-01-15 05:00"),
    ("an ordinary day of summer", "Europe/Berlin", "2026-07-15 06:00", "2026-07-15 04:00"),
    ("before the gap", "Europe/Berlin", "2026-03-29 01:59", "2026-03-29 00:59"),
    ("at the beginning of the gap", "Europe/Berlin", "2026-03-29 02:00", "2026-03-29 01:00"),
    ("in the gap", "Europe/Berlin", "2026-03-29 02:30", "2026-03-29 01:00"),
    ("at the end of the gap", "Europe/Berlin", "2026-03-29 03:00", "2026-03-29 01:00"),
    ("in the overlap: the first time", "Europe/Berlin", "2026-10-25 02:30", "2026-10-25 00:30"),
    ("after the overlap", "Europe/Berlin", "2026-10-25 03:00", "2026-10-25 02:00"),
    ("in New York's gap", "America/New_York", "2026-03-08 02:15", "2026-03-08 07:00"),
    ("in New York's overlap", "America/New_York", "2026-11-01 01:15", "2026-11-01 05:15"),
    ("a midnight that is not there", "Africa/Cairo", "2026-04-24 00:00", "2026-04-23 22:00"),
    ("half an hour of summer time", "Australia/Lord_Howe", "2026-10-04 02:15", "2026-10-03 15:30"),
    ("a day that is not there", "Pacific/Apia", "2011-12-30 09:00", "2011-12-30 10:00"),
    ("no summer time", "Asia/Kolkata", "2026-03-29 02:30", "2026-03-28 21:00"),
]  # fmt: skip


@pytest.mark.parametrize(("zone", "wall", "at"), [row[1:] for row in CLOCKS], ids=[row[0] for row in CLOCKS])
def test_when_a_day_is_due(zone: str, wall: str, at: str) -> None:
    local = datetime.fromisoformat(wall)
    schedule = Schedule(starts_on=local.date(), time_zone=zone, cron=f"{local.minute} {local.hour} * * *")
    assert next(occurrences(schedule)) == Due(local.date(), datetime.fromisoformat(at).replace(tzinfo=UTC))


def test_a_plain_interval_is_due_at_the_beginning_of_its_day() -> None:
    schedule = Schedule(starts_on=date(2026, 4, 24), time_zone="Africa/Cairo", unit="day")
    found = [due.at.isoformat() for due in islice(occurrences(schedule), 2)]
    assert found == ["2026-04-23T22:00:00+00:00", "2026-04-24T21:00:00+00:00"]


def test_every_day_of_a_year_with_both_changes_is_due_once_and_in_order() -> None:
    schedule = Schedule(starts_on=date(2026, 1, 1), time_zone="Europe/Berlin", cron="30 2 * * *")
    found = list(islice(occurrences(schedule), 365))
    assert [due.on.toordinal() for due in found] == list(
        range(date(2026, 1, 1).toordinal(), date(2027, 1, 1).toordinal())
    )
    assert all(first.at < second.at for first, second in pairwise(found))


BAD = [
    ("a zone that is none", {"unit": "month", "time_zone": "Europe/Atlantis"}, "/schedule/time_zone"),
    ("a zone that is a path", {"unit": "month", "time_zone": "../../etc/passwd"}, "/schedule/time_zone"),
    ("neither way", {}, "/schedule"),
    ("both ways", {"unit": "month", "cron": "0 6 1 * *"}, "/schedule"),
    ("a day of the week's", {"unit": "week", "day": 3}, "/schedule/day"),
    ("a day beside cron", {"cron": "0 6 1 * *", "day": 3}, "/schedule/day"),
    ("every so many cron", {"cron": "0 6 1 * *", "every": 2}, "/schedule/every"),
    ("cron with seconds", {"cron": "0 0 6 1 * *"}, "/schedule/cron"),
    ("cron of words", {"cron": "on the first of month"}, "/schedule/cron"),
    ("cron out of range", {"cron": "0 24 1 * *"}, "/schedule/cron"),
    ("cron each hour", {"cron": "0 * 1 * *"}, "/schedule/cron"),
    ("cron twice a day", {"cron": "0 6,18 1 * *"}, "/schedule/cron"),
    ("cron each minute of an hour", {"cron": "* 6 1 * *"}, "/schedule/cron"),
    ("cron on 30 February", {"cron": "0 6 30 2 *"}, "/schedule/cron"),
]


@pytest.mark.parametrize(("members", "pointer"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_schedule_that_is_none_is_refused_with_its_place(members: dict[str, Any], pointer: str) -> None:
    refused = schedules.check(Schedule(starts_on=date(2026, 1, 1), **members))
    assert refused is not None
    assert (refused.code, [fault.pointer for fault in refused.errors]) == ("schedule-invalid", [pointer])


MONTHLY = Schedule(starts_on=date(2026, 1, 31), unit="month")


def test_it_ends_after_a_day_or_a_count() -> None:
    assert next_due(MONTHLY, Ending(ends_on=date(2026, 2, 28)), date(2026, 1, 31), 1) is not None
    assert next_due(MONTHLY, Ending(ends_on=date(2026, 2, 27)), date(2026, 1, 31), 1) is None
    assert next_due(MONTHLY, Ending(count=1), date(2026, 1, 31), 1) is None
    assert next_due(Schedule(starts_on=date(2999, 12, 31), unit="day"), Ending(), date(2999, 12, 31), 1) is None
    first = next(occurrences(MONTHLY))
    assert [str(due.on) for due in upcoming(MONTHLY, Ending(count=3), first, 1, 9)] == ["2026-01-31", "2026-02-28"]
    assert [str(due.on) for due in upcoming(MONTHLY, Ending(ends_on=date(2026, 2, 1)), first, 0, 9)] == ["2026-01-31"]


def test_what_is_before_an_instant_is_left_out() -> None:
    due = next_due(MONTHLY, Ending(), date(2026, 1, 31), 1, datetime(2026, 4, 30, 0, 0, 1, tzinfo=UTC))
    assert due is not None
    assert str(due.on) == "2026-05-31"


PERIODS = [
    ("a month ahead", MONTHLY, "2026-02-28", "advance", "2026-02-28 2026-03-30"),
    ("the month before", MONTHLY, "2026-03-31", "arrears", "2026-02-28 2026-03-30"),
    ("before the first", MONTHLY, "2026-01-31", "arrears", "2025-12-31 2026-01-30"),
    ("by cron ahead", Schedule(starts_on=date(2026, 1, 1), cron="0 6 1 */3 *"), "2026-04-01", "advance",
     "2026-04-01 2026-06-30"),
    ("by cron in arrears", Schedule(starts_on=date(2026, 1, 1), cron="0 6 1 */3 *"), "2026-01-01", "arrears",
     "2025-10-01 2025-12-31"),
    ("weeks in arrears", Schedule(starts_on=date(2026, 1, 5), unit="week"), "2026-01-12", "arrears",
     "2026-01-05 2026-01-11"),
    ("days ahead", Schedule(starts_on=date(2026, 1, 5), unit="day"), "2026-01-12", "advance", "2026-01-12 2026-01-12"),
    ("the last day there is", Schedule(starts_on=date(2999, 12, 31), unit="day"), "2999-12-31", "advance",
     "2999-12-31 2999-12-31"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("schedule", "on", "kind", "period"), [row[1:] for row in PERIODS], ids=[row[0] for row in PERIODS]
)
def test_service_periods_follow_one_another(schedule: Schedule, on: str, kind: Any, period: str) -> None:
    found = service_period(schedule, date.fromisoformat(on), kind)
    assert found is not None
    assert " ".join(map(str, found)) == period
