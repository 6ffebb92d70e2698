"""Cursors and limits: opaque, bound to their list and its filters, and not to be made up."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.cursors import decode_cursor, encode_cursor, page, parse_limit
from libs.common.errors import Problem

LIST = "demo/main/entries"
JSON_VALUES = st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text(max_size=20))


@given(
    st.dictionaries(st.text(max_size=8), JSON_VALUES.filter(lambda value: value is not None), max_size=4),
    st.lists(JSON_VALUES, max_size=4),
)
def test_what_goes_in_comes_out(filters: dict[str, Any], position: list[Any]) -> None:
    cursor = decode_cursor(encode_cursor(LIST, filters, position), LIST, filters)
    assert cursor.filters == filters
    assert cursor.position == position


def test_filters_may_be_left_out_when_going_on() -> None:
    text = encode_cursor(LIST, {"account": "1010", "q": None}, [42])
    assert decode_cursor(text, LIST, {"account": None, "q": None}).filters == {"account": "1010"}


@pytest.mark.parametrize(
    ("name", "filters"),
    [("other/main/entries", {}), ("demo/main/accounts", {}), (LIST, {"account": "2000"}), (LIST, {"q": "x"})],
)
def test_a_foreign_cursor_is_refused(name: str, filters: dict[str, Any]) -> None:
    with pytest.raises(Problem) as refused:
        decode_cursor(encode_cursor(LIST, {"account": "1010"}, [42]), name, filters)
    assert (refused.value.status, refused.value.code) == (422, "cursor-invalid")


def test_every_changed_bit_is_seen() -> None:
    raw = urlsafe_b64decode(encode_cursor(LIST, {}, [42]) + "==")
    for position in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises(Problem):
            decode_cursor(urlsafe_b64encode(changed).rstrip(b"=").decode(), LIST, {})


@pytest.mark.parametrize("text", ["", "x", "!!!!", "ü", "A" * 3000, "AAAAAAAAAAAAAAAA"])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(Problem) as refused:
        decode_cursor(text, LIST, {})
    assert refused.value.code == "cursor-invalid"


def test_another_key_makes_another_cursor() -> None:
    with pytest.raises(Problem):
        decode_cursor(encode_cursor(LIST, {}, [1], key=b"one"), LIST, {}, key=b"two")


@pytest.mark.parametrize(("text", "limit"), [(None, 100), ("1", 1), ("500", 500), ("007", 7)])
def test_limits(text: str | None, limit: int) -> None:
    assert parse_limit(text) == limit


@pytest.mark.parametrize("text", ["0", "501", "-1", "x", "", "1.5", "٣", "99999999999999999999"])
def test_wrong_limits(text: str) -> None:
    with pytest.raises(Problem) as refused:
        parse_limit(text)
    assert (refused.value.status, refused.value.code) == (422, "malformed")


def test_a_page() -> None:
    assert page([1], None) == {"items": [1], "next_cursor": None}
