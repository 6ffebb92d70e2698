"""JSON text: what orjson takes and we take too, and what we refuse beyond it."""

from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.errors import Problem
from libs.common.json_text import DEPTH_MAX, parse_json, pointer_token
from libs.common.problems import faults_of

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=12)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=20,
)


@given(VALUES)
def test_every_json_value_comes_through(value: Any) -> None:
    assert parse_json(orjson.dumps(value)) == value
    assert parse_json(orjson.dumps(value, option=orjson.OPT_INDENT_2)) == value


@given(st.binary(max_size=40))
def test_noise_is_a_value_or_a_problem(noise: bytes) -> None:
    with suppress(Problem):
        parse_json(noise)


@pytest.mark.parametrize(
    "text", [b'{"a" : 1, "a"\n: 2}', b'[{"b": {"a": 1, "a": 1}}]', b'{"a": "\\":", "b": 1, "b": 2}', b'{"":1,"":2}']
)
def test_a_name_used_twice_is_refused(text: bytes) -> None:
    with pytest.raises(Problem) as refused:
        parse_json(text)
    assert refused.value.code == "json-invalid"


@given(st.dictionaries(TEXTS, VALUES, min_size=1, max_size=4), VALUES)
def test_a_name_used_twice_is_refused_in_compact_text_too(members: dict[str, Any], value: Any) -> None:
    again = orjson.dumps({next(iter(members)): value})
    with pytest.raises(Problem) as refused:
        parse_json(orjson.dumps(members)[:-1] + b"," + again[1:])
    assert refused.value.code == "json-invalid"


def test_what_only_looks_like_a_repeated_name_is_taken() -> None:
    assert parse_json(b'{"a": "\\"x\\":\\"x\\":", "b": {"a": 1}}') == {"a": '"x":"x":', "b": {"a": 1}}


def test_an_escaped_backslash_before_u0000_is_no_nul() -> None:
    assert parse_json(b'{"a": "\\\\u0000"}') == {"a": "\\u0000"}


@pytest.mark.parametrize("text", [b'"\\u0000"', b'{"\\u0000": 1}', b'[["\\u0000"]]'])
def test_nul_is_refused_wherever_it_is(text: bytes) -> None:
    with pytest.raises(Problem) as refused:
        parse_json(text)
    assert refused.value.status == 422


def test_depth_has_an_edge() -> None:
    parse_json(b"[" * DEPTH_MAX + b"]" * DEPTH_MAX)
    for depth in (DEPTH_MAX + 1, 1_000, 100_000):
        with pytest.raises(Problem) as refused:
            parse_json(b"[" * depth + b"]" * depth)
        assert "nested deeper" in refused.value.detail


def test_a_break_is_told_by_line_and_column() -> None:
    with pytest.raises(Problem) as refused:
        parse_json(b'{\n  "a": 1,\n  "b" 2\n}')
    assert refused.value.facts == {"line": 3, "column": 7, "offset": 18}


def test_bytes_that_are_no_utf_8_are_told_by_offset() -> None:
    with pytest.raises(Problem) as refused:
        parse_json(b'{"a": "\xff"}')
    assert refused.value.facts == {"offset": 7}


def test_pointers_escape() -> None:
    assert pointer_token("a/b~c") == "a~1b~0c"


def test_names_of_union_members_are_not_in_pointers() -> None:
    errors = [{"loc": ("lines", 0, "function-after[x()]", "amount"), "type": "missing", "msg": "", "input": {}}]
    assert faults_of(errors, {"lines": [{}]})[0].pointer == "/lines/0/amount"
