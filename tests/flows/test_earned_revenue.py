"""Revenue on the running stack: deferred at issue, recognised by itself at the end of each month that has passed."""

from datetime import date, timedelta
from typing import Any

import pytest

from libs.common import clock
from tests.flows.shop import Shop
from tests.flows.test_payment_way import becomes, get, post, tied

pytestmark = pytest.mark.timeout(180)


async def test_what_is_earned_of_a_service_is_recognised_month_by_month(studio: Shop) -> None:
    ended = clock.now().date().replace(day=1) - timedelta(days=1)
    before = ended.replace(day=1) - timedelta(days=1)
    line = {
        "description": "Hosting", "unit_price": "400.00", "tax": {"category": "S", "rate": "20"},
        "service_from": str(before), "service_to": str(before + timedelta(days=399)),
    }  # fmt: skip
    customer = await post(studio, "/customers", {"name": "Globex"})
    wanted = {"customer": customer["id"], "currency": "USD", "issued_on": str(before), "issue": True, "lines": [line]}
    invoice = await post(studio, "/invoices", wanted)
    path = f"/postings?document=invoice/{invoice['id']}"

    def recognised(found: dict[str, Any]) -> bool:
        states = {row["purpose"]: row["state"] for row in found["items"]}
        return [states.get(f"recognition/{end}") for end in (before, ended)] == ["posted", "posted"]

    await becomes(lambda: get(studio, path), recognised)
    days = (ended - before).days + 1
    assert await studio.posted("2400-DEFERRED") == f"{400 - days}.00"
    await tied(studio)
    ran = await post(studio, "/deferrals/run", {"ledger": "main", "through": str(date(2999, 12, 31))}, 200)
    assert ran["lines"] == 1
