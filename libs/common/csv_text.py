"""CSV that a spreadsheet opens without being told to run something (RFC 4180, lines end with CR LF).

A text that begins with = + - @, a tab or a carriage return would be read as a formula by a spreadsheet, so a quote is
put before it; amounts and numbers are the ledger's own and stay what they are. A report is its table, an empty line,
and then what it states, one name and value a row.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MEDIA_TYPE = "text/csv; charset=utf-8; header=present"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_QUOTED = (",", '"', "\r", "\n")


class Amount(str):
    """A number as text: no formula, whatever it begins with."""

    __slots__ = ()


def cell(value: Any) -> str:
    """One cell: nothing for None; text is made harmless, and quoted where it must be.

    >>> cell("=1+1"), cell(Amount("-5.00")), cell('say "hi", all')
    ("'=1+1", '-5.00', '"say ""hi"", all"')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | Amount):
        return str(value)
    text = str(value)
    if text.startswith(_FORMULA):
        text = "'" + text
    if any(mark in text for mark in _QUOTED) or text != text.strip():
        return '"' + text.replace('"', '""') + '"'
    return text


def table(rows: Iterable[Sequence[Any]]) -> bytes:
    """Rows of cells."""
    return "".join(",".join(map(cell, row)) + "\r\n" for row in rows).encode()


def records(columns: Sequence[str], amounts: frozenset[str], items: Iterable[Mapping[str, Any]]) -> bytes:
    """Rows from mappings, in the order of the columns; `amounts` names the columns that hold numbers as text."""
    return table(
        [Amount(item[name]) if name in amounts and item.get(name) is not None else item.get(name) for name in columns]
        for item in items
    )


def stated(report: Mapping[str, Any]) -> bytes:
    """The empty line and what the report states: everything in it that is no table, and its tie-outs."""
    rows: list[Sequence[Any]] = [()]
    rows += [(name, value) for name, value in report.items() if not isinstance(value, list | dict)]
    for total in report.get("totals", ()):
        rows.append(("total", total["currency"], Amount(total["debits"]), Amount(total["credits"])))
    for tie in report.get("tie_outs", ()):
        rows.append(("tie-out", tie["name"], tie["currency"], Amount(tie["left"]), Amount(tie["right"]), tie["ok"]))
    return table(rows)
