"""Days and instants in an address: written out, never counted in seconds."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from libs.common.days import WrittenDay, WrittenInstant, ZonedInstant

DAY: TypeAdapter[Any] = TypeAdapter(WrittenDay)
INSTANT: TypeAdapter[Any] = TypeAdapter(WrittenInstant)


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("2026-01-31", True), ("0001-01-01", True), ("9999-12-31", True),
        ("2026-02-30", False), ("20260131", False), ("2026-1-31", False), ("2026-01-31T00:00:00", False),
        ("0", False), ("86400", False), ("1767225600", False), ("1e-280", False), ("-1.9e-56", False), ("", False),
        ("\u0662\u0660\u0662\u0666-\u0660\u0661-\u0663\u0661", False),
    ],
)  # fmt: skip
def test_a_day_is_written_as_a_day(text: str, taken: bool) -> None:
    if taken:
        assert DAY.validate_python(text).isoformat() == text
        return
    with pytest.raises(ValidationError) as refused:
        DAY.validate_python(text)
    assert refused.value.errors()[0]["type"].startswith("date_")


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("2026-01-31T12:00:00Z", True), ("2026-01-31 12:00:00+01:00", True), ("2026-01-31T12:00:00.5Z", True),
        ("2026-01-31", False), ("1767225600", False), ("0", False), ("1e9", False), ("2026-02-30T00:00:00Z", False),
        ("", False),
    ],
)  # fmt: skip
def test_an_instant_is_written_as_an_instant(text: str, taken: bool) -> None:
    if taken:
        assert INSTANT.validate_python(text).tzinfo is not None
        return
    with pytest.raises(ValidationError) as refused:
        INSTANT.validate_python(text)
    assert refused.value.errors()[0]["type"].startswith("datetime_")


@pytest.mark.parametrize(
    ("text", "fault"),
    [("0.5", "datetime_parsing"), ("2026-01-31T00:00:00", "timezone_aware"), ("2026-01-31T00:00:00Z", None)],
)
def test_an_instant_with_a_zone_says_it(text: str, fault: str | None) -> None:
    zoned: TypeAdapter[Any] = TypeAdapter(ZonedInstant)
    if fault is None:
        assert zoned.validate_python(text).isoformat() == "2026-01-31T00:00:00+00:00"
        return
    with pytest.raises(ValidationError) as refused:
        zoned.validate_python(text)
    assert refused.value.errors()[0]["type"] == fault
