"""CSV cells: quoted where they must be, harmless where they are text, untouched where they are amounts."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.csv_text import Amount, cell, table


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("rent", "rent"),
        ("", ""),
        (None, ""),
        (True, "true"),
        (7, "7"),
        (-7, "-7"),
        (Amount("-5.00"), "-5.00"),
        ("-5.00", "'-5.00"),
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", '"\'\r=1"'),
        ('say "hi"', '"say ""hi"""'),
        ("a,b", '"a,b"'),
        ("a\nb", '"a\nb"'),
        (" padded", '" padded"'),
        ("2026-01-05", "2026-01-05"),
    ],
)
def test_a_cell(value: object, shown: str) -> None:
    assert cell(value) == shown


@given(st.lists(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=2), max_size=5))
def test_what_is_written_is_read_again_and_begins_no_formula(rows: list[list[str]]) -> None:
    read = list(csv.reader(io.StringIO(table(rows).decode(), newline="")))
    assert len(read) == len(rows)
    for written, found in zip(rows, read, strict=True):
        assert [value.removeprefix("'") for value in found] == [value.removeprefix("'") for value in written]
        assert not any(value.startswith(("=", "+", "-", "@", "\t", "\r")) for value in found)
