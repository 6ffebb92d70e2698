"""Columns of many rows as array texts, for statements that unnest them: `unnest($1::text::uuid[], $2::text::text[])`.

asyncpg asks every element of an array whether it is a container itself, a third of a microsecond each: with a hundred
values in a row that is most of what storing it costs. JSON writes numbers, ids, dates, instants, truths, nothing and
most texts as PostgreSQL reads them in an array, and orjson writes a column in one go.
"""

import re
from collections.abc import Collection, Sequence
from typing import Any, Final

import orjson

_ALIKE: Final = re.compile(rb'\\["\\]')
"""What JSON escapes as PostgreSQL does: quotes and backslashes."""


def array_text(column: Sequence[Any]) -> str:
    """A one-dimensional array as PostgreSQL reads it. Bytes are not among what it writes.

    >>> array_text(["a", None, 'b"']), array_text([1, 10**20])
    ('{"a",null,"b\\\\""}', '{1,100000000000000000000}')
    """
    try:
        written = orjson.dumps(column)
    except TypeError:
        return f"{{{','.join(map(_element, column))}}}"  # an integer of more than 64 bits, a decimal
    if b"\\" in written and b"\\" in _ALIKE.sub(b"", written):
        return f"{{{','.join(map(_element, column))}}}"
    return f"{{{written[1:-1].decode()}}}"


def array_columns(rows: Sequence[tuple[Any, ...]], count: int = 0, *, bytes_at: Collection[int] = ()) -> list[Any]:
    """The columns of rows as arguments of a statement: array texts, and lists of bytes at the places of those.

    Where there may be no row, `count` says how many columns there are.
    """
    columns = zip(*rows, strict=True) if rows else [()] * count
    return [list(column) if place in bytes_at else array_text(column) for place, column in enumerate(columns)]


def _element(value: Any) -> str:
    """One element. What JSON escapes and PostgreSQL does not know is quoted by hand."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
