"""When money is likely to come: the rule as a table, and the route."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from libs.common.clock import now
from libs.common.db import Pool
from services.invoicing.cash_forecast import Due, Habit, bucket_of, forecast, habits
from tests.invoicing.conftest import InvoicingDatabase
from tests.invoicing.serving import Service, invoicing_service
from tests.invoicing.trading import payment

TODAY = date(2026, 3, 11)  # a Wednesday
NOBODY = Habit(0, 0, "nobody")


@pytest.fixture
async def service(writer: Pool, receivables: InvoicingDatabase, tmp_path: Path) -> AsyncIterator[Service]:
    """Invoicing's application on a real server."""
    async with invoicing_service(writer, receivables, tmp_path) as running:
        yield running


@pytest.mark.parametrize(
    ("days_late", "customer", "others"),
    [
        ({}, NOBODY, NOBODY),
        ({"a": [5, 5]}, Habit(5, 2, "organization"), Habit(5, 2, "organization")),
        ({"a": [4, 8, 6]}, Habit(6, 3, "customer"), Habit(6, 3, "organization")),
        ({"a": [4, 8, 6, 10]}, Habit(8, 4, "customer"), Habit(8, 4, "organization")),
        ({"a": [900, 900, 900]}, Habit(180, 3, "customer"), Habit(180, 3, "organization")),
        ({"a": [-90, -90, -90]}, Habit(-30, 3, "customer"), Habit(-30, 3, "organization")),
        ({"a": [1] * 20 + [99] * 30}, Habit(1, 20, "customer"), Habit(1, 20, "organization")),
        ({"a": [0, 0, 0], "b": [9, 9, 9, 9]}, Habit(0, 3, "customer"), Habit(9, 7, "organization")),
    ],
)
def test_how_late_somebody_pays(days_late: dict[str, list[int]], customer: Habit, others: Habit) -> None:
    own, everybody = habits(days_late)
    assert (own.get("a", everybody), everybody) == (customer, others)


@pytest.mark.parametrize(
    ("day", "week", "month"),
    [
        ("2026-03-11", ("2026-03-09", "2026-03-15"), ("2026-03-01", "2026-03-31")),
        ("2026-03-09", ("2026-03-09", "2026-03-15"), ("2026-03-01", "2026-03-31")),
        ("2026-02-28", ("2026-02-23", "2026-03-01"), ("2026-02-01", "2026-02-28")),
        ("2026-12-31", ("2026-12-28", "2027-01-03"), ("2026-12-01", "2026-12-31")),
    ],
)
def test_a_day_is_in_its_bucket(day: str, week: tuple[str, str], month: tuple[str, str]) -> None:
    found = [tuple(each.isoformat() for each in bucket_of(date.fromisoformat(day), by)) for by in ("week", "month")]
    assert found == [week, month]


FORECASTS = [
    # due in days, days late, expected (bucket's first day) or where else
    (0, 0, "2026-03-11"),
    (4, 0, "2026-03-11"),
    (5, 0, "2026-03-16"),
    (5, 8, "2026-03-23"),
    (5, -30, "2026-03-11"),
    (-1, 0, "overdue"),
    (-1, 90, "overdue"),
    (19, 0, "2026-03-30"),
    (20, 0, "later"),
    (19, 1, "later"),
]


@pytest.mark.parametrize(("due", "late", "place"), FORECASTS)
def test_an_open_invoice_is_expected(due: int, late: int, place: str) -> None:
    dues = [Due("a", "USD", TODAY + timedelta(days=due), 100)]
    own = {"a": Habit(late, 3, "customer")}
    found = forecast(dues, own, NOBODY, TODAY, date(2026, 3, 30), "week")
    expected = {bucket.since.isoformat(): bucket.amount for bucket in found.buckets if bucket.amount}
    places = expected | ({"overdue": 100} if found.overdue else {}) | ({"later": 100} if found.later else {})
    assert places == {place: 100}


def test_nothing_is_lost_and_currencies_stay_apart() -> None:
    dues = [Due("a", code, TODAY + timedelta(days=day), day + 50) for code in ("EUR", "USD") for day in range(-9, 90)]
    found = forecast(dues, {}, Habit(3, 9, "organization"), TODAY, date(2026, 4, 20), "month")
    for code in ("EUR", "USD"):
        told = sum(bucket.amount for bucket in found.buckets if bucket.currency == code)
        assert told + found.overdue[code] + found.later[code] == sum(due.open for due in dues if due.currency == code)
    assert {bucket.since for bucket in found.buckets} == {TODAY, date(2026, 4, 1)}
    assert {bucket.until for bucket in found.buckets} == {date(2026, 3, 31), date(2026, 4, 20)}


async def test_the_forecast_with_its_method(service: Service) -> None:
    today = now().date()
    for number in range(3):
        issued = await service.acme.issued("120.00", issued_on=today, due_on=today)
        received = payment(
            "120.00", f"p-{number}", received_on=today + timedelta(days=5 + number),
            on_invoices=((UUID(str(issued["id"])), 120_00),),
        )  # fmt: skip
        await service.acme.record(received)
    await service.acme.issued("60.00", issued_on=today, due_on=today)
    until = today + timedelta(days=40)
    status, told, _ = await service.send("GET", f"/cash-forecast?until={until}&by=month")
    assert status == 200, told
    assert sum(Decimal(bucket["expected"]) for bucket in told["buckets"]) == Decimal("60.00")
    assert told["method"]["customers"] == [{"customer": str(service.acme.customer), "days_late": 6, "payments": 3}]
    assert told["method"]["organization"] == {"days_late": 6, "payments": 3}
    seconds = int(datetime.combine(today, time(), UTC).timestamp())
    for query in (f"until={today - timedelta(days=1)}", "until=2999-01-01", f"until={seconds}"):
        status, told, _ = await service.send("GET", f"/cash-forecast?{query}")
        assert (status, told["code"], told["errors"][0]["pointer"]) == (422, "malformed", "/until")
