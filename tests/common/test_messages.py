"""CloudEvents in Kafka headers: what is written is read back, and each broken header is named."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from libs.common.errors import Poison
from libs.common.messages import CloudEvent, Headers, cloud_event_headers, parse_headers

TIME = datetime(2026, 11, 21, 4, 5, 6, 789, tzinfo=UTC)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def whole() -> Headers:
    return cloud_event_headers(
        "ledger.entry-posted.v1", "ledger", "e-1", TIME, subject="acme/main", traceparent=TRACE, extra={"epoch": "3"}
    )


def test_headers_are_read_as_they_were_written() -> None:
    assert parse_headers(whole()) == CloudEvent(
        "ledger.entry-posted.v1", "ledger", "e-1", TIME, "acme/main", TRACE, {"epoch": "3"}
    )


def test_the_wire_form() -> None:
    assert dict(whole()) == {
        "ce_specversion": b"1.0",
        "content-type": b"application/json",
        "ce_type": b"ledger.entry-posted.v1",
        "ce_source": b"ledger",
        "ce_id": b"e-1",
        "ce_time": b"2026-11-21T04:05:06.000789Z",
        "ce_subject": b"acme/main",
        "traceparent": TRACE.encode(),
        "ce_epoch": b"3",
    }


def test_an_instant_of_another_zone_is_written_in_utc() -> None:
    local = TIME.astimezone(timezone(timedelta(hours=5)))
    assert dict(cloud_event_headers("a", "b", "c", local))["ce_time"] == b"2026-11-21T04:05:06.000789Z"


def test_optional_headers_may_be_absent_and_strangers_are_passed_over() -> None:
    least = [("ce_specversion", b"1.0"), ("ce_type", b"t"), ("ce_source", b"s"), ("ce_id", b"i"), ("x-other", b"\xff")]
    assert parse_headers(least) == CloudEvent("t", "s", "i", None, None, None, {})


def without(name: str) -> Headers:
    return [header for header in whole() if header[0] != name]


BROKEN = [
    (without("ce_id"), "header-missing", "ce_id"),
    (without("ce_type"), "header-missing", "ce_type"),
    (without("ce_source"), "header-missing", "ce_source"),
    (without("ce_specversion"), "header-missing", "ce_specversion"),
    ([*without("ce_id"), ("ce_id", b"")], "header-missing", "ce_id"),
    ([*whole(), ("ce_id", b"e-2")], "header-repeated", "ce_id"),
    ([*without("ce_specversion"), ("ce_specversion", b"0.3")], "header-wrong", "ce_specversion"),
    ([*without("ce_type"), ("ce_type", b"\xff\xfe")], "header-wrong", "ce_type"),
    ([*without("ce_subject"), ("ce_subject", b"x" * 1025)], "header-wrong", "ce_subject"),
    ([*without("ce_time"), ("ce_time", b"yesterday")], "header-wrong", "ce_time"),
    ([*without("ce_time"), ("ce_time", b"2026-11-21T04:05:06")], "header-wrong", "ce_time"),
    ([*without("content-type"), ("content-type", b"text/plain")], "header-wrong", "content-type"),
    ([], "header-missing", "ce_specversion"),
]


@pytest.mark.parametrize(("headers", "code", "name"), BROKEN, ids=[f"{row[1]}:{row[2]}" for row in BROKEN])
def test_a_broken_header_is_poison_and_named(headers: Headers, code: str, name: str) -> None:
    with pytest.raises(Poison) as poison:
        parse_headers(headers)
    assert (poison.value.code, poison.value.pointer) == (code, name)
    assert name in poison.value.detail
