"""A rate that fx publishes is in the next translated statement, through Kafka, the ledger and the gateway."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from libs.common.bus import KafkaSettings, Message, Publisher, cloud_event_headers
from libs.common.clock import new_id, now
from libs.common.events_fx import FX, FX_SOURCE, RATE_PUBLISHED, rate_key
from tests.flows.shop import ENTRIES, LEDGER, Shop, sale

pytestmark = pytest.mark.stack

ARRIVES_WITHIN_S = 30.0
SHEET = f"{LEDGER}/reports/balance-sheet?to=2026-01-15&translate_to=EUR"


async def publish(shop: Shop, rate: str) -> None:
    """EUR/USD of the shop's own, as fx would say it."""
    value = orjson.dumps(
        {
            "provider": "manual", "base": "EUR", "counter": "USD", "rate": rate, "on": "2026-01-15",
            "published_at": datetime(2026, 1, 15, 15, tzinfo=UTC), "organization": shop.organization,
        }
    )  # fmt: skip
    publisher = Publisher(KafkaSettings(shop.stack.bootstrap), name="fx-of-a-test")
    await publisher.start()
    try:
        headers = cloud_event_headers(RATE_PUBLISHED.name, FX_SOURCE, str(new_id()), now())
        await publisher.publish([Message(FX, rate_key(shop.organization, "EUR", "USD"), value, headers)])
    finally:
        await publisher.stop()


async def sheet(shop: Shop, known_since: str | None) -> Any:
    """The translated balance sheet, as soon as a rate after `known_since` is known."""
    async with asyncio.timeout(ARRIVES_WITHIN_S):
        while True:
            answer = await shop.send("GET", SHEET)
            if answer.status == 200 and answer.body["translation"]["rates_known_at"] != known_since:
                return answer.body
            assert answer.status == 200 or answer.body["code"] == "rate-missing", answer.body
            await asyncio.sleep(0.05)


async def test_a_published_rate_is_in_the_next_statement(shop: Shop) -> None:
    assert (await shop.send("POST", ENTRIES, sale("110.00"))).status == 201
    missing = await shop.send("GET", SHEET)
    assert (missing.status, missing.body["code"]) == (422, "rate-missing")
    await publish(shop, "1.10")
    first = await sheet(shop, None)
    assert first["currencies"][0]["sections"][0]["totals"] == ["100.00"]
    await publish(shop, "1.00")
    corrected = await sheet(shop, first["translation"]["rates_known_at"])
    assert corrected["currencies"][0]["sections"][0]["totals"] == ["110.00"]
    assert first["holds"]
    assert corrected["holds"]
    as_it_was = f"{SHEET}&rates_known_at={first['translation']['rates_known_at']}&sequence={first['sequence']}"
    assert (await shop.send("GET", as_it_was)).body == first
    csv = await shop.send("GET", SHEET, headers={"Accept": "text/csv"})
    assert csv.headers["Content-Type"].startswith("text/csv")
