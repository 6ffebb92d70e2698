"""A rate is read exactly from its event; what is no rate is poison, what is not for us is left."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest
from aiokafka import ConsumerRecord

from libs.common.bus import cloud_event_headers
from libs.common.clock import now
from libs.common.errors import Poison
from libs.common.events_fx import RATE_PUBLISHED
from libs.common.heard_rates import HeardRate, decode

NIGHT = datetime(2026, 11, 20, 15, tzinfo=UTC)
RATE: dict[str, Any] = {
    "provider": "ecb", "base": "EUR", "counter": "USD", "rate": "1.0765", "on": "2026-11-20",
    "published_at": "2026-11-20T15:00:00Z",
}  # fmt: skip


def record(body: Mapping[str, Any] | bytes | None, type_: str = RATE_PUBLISHED.name) -> ConsumerRecord:
    value = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
    headers = tuple(cloud_event_headers(type_, "fx", "fx:1", now()))
    return ConsumerRecord("t", 0, 0, 0, 0, b"k", value, None, 1, len(value or b""), headers)


def test_a_rate_is_read_exactly() -> None:
    heard = decode(record({**RATE, "organization": "demo", "supersedes": "fx:0", "colour": "red"}))
    assert heard.known
    assert heard.rate == HeardRate(
        "demo", "ecb", "EUR", "USD", Decimal("1.0765"), date(2026, 11, 20), NIGHT, "fx:0", "fx", "fx:1"
    )


@pytest.mark.parametrize(
    ("change", "code", "pointer"),
    [
        ({"rate": "0.000"}, "rate-not-positive", "/rate"),
        ({"rate": 1.5}, "schema", "/rate"),
        ({"rate": "-1"}, "schema", "/rate"),
        ({"rate": "NaN"}, "schema", "/rate"),
        ({"counter": "EUR"}, "one-currency", "/counter"),
        ({"on": "2026-02-30"}, "schema", "/on"),
        ({"provider": "a\0b"}, "schema", "/provider"),
        ({"published_at": "2026-11-20T15:00:00"}, "schema", "/published_at"),
        ({"side": "middle"}, "schema", "/side"),
    ],
)
def test_what_is_no_rate_is_poison(change: dict[str, Any], code: str, pointer: str) -> None:
    with pytest.raises(Poison) as poison:
        decode(record({**RATE, **change}))
    assert (poison.value.code, poison.value.pointer) == (code, pointer)


@pytest.mark.parametrize(("value", "code"), [(None, "value-null"), (b"{", "schema"), (b"x" * 70_000, "oversize")])
def test_what_cannot_be_read_is_poison(value: bytes | None, code: str) -> None:
    with pytest.raises(Poison) as poison:
        decode(record(value))
    assert poison.value.code == code


def test_other_types_and_other_price_sides_are_not_kept() -> None:
    other = decode(record(b"anything", type_="fx.rate-suspect.v1"))
    assert (other.rate, other.known) == (None, False)
    bid = decode(record({**RATE, "side": "bid"}))
    assert (bid.rate, bid.known) == (None, True)
