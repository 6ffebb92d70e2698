"""Charts of accounts as CSV and JSON files: one row an account, in any order, written and read back without loss.

CSV has a header that names its columns; `code`, `name` and `type` are needed, an unknown column is refused, an empty
cell is the API's default. Comma or semicolon, LF or CRLF, with or without a byte order mark. A cell that a spreadsheet
would take for a formula is written with an apostrophe in front, which reading takes away again.

JSON is `{"accounts": [...]}` (`description` and `ledger` may stand beside it) or the bare list, in the words of
`POST /accounts`. A chart is read whole: at most `CHART_BYTES_MAX`.
"""

import csv
import re
from collections.abc import Callable, Iterator, Mapping
from io import StringIO
from typing import Any, Final

import orjson

from libs.common.errors import Problem
from libs.common.json_text import parse_json
from services.ledger.exchange.found import Found, FoundAccount, Unreadable

CHART_BYTES_MAX: Final = 16 * 1024 * 1024

COLUMNS: Final = (
    "code", "name", "type", "currency", "normal_side", "heading_number", "heading_name", "parent", "summary",
    "control_owner", "reconcilable", "cash", "cash_flow_class", "monetary", "translation", "overdraft_policy",
    "overdraft_limit", "external_id", "metadata",
)  # fmt: skip

_FLAGS: Final = frozenset({"summary", "reconcilable", "cash", "monetary"})
_TRUTHS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_FORMULA: Final = re.compile(r"'*[=+\-@\t\r]")
_QUOTED_FORMULA: Final = re.compile(r"'+[=+\-@\t\r]")


def cell(text: str) -> str:
    """The text as a cell that no spreadsheet takes for a formula.

    >>> cell("=1+1"), cell("Cash"), plain("'=1+1")
    ("'=1+1", 'Cash', '=1+1')
    """
    return f"'{text}" if _FORMULA.match(text) else text


def plain(text: str) -> str:
    """What `cell` was given."""
    return text[1:] if _QUOTED_FORMULA.match(text) else text


def csv_text(rows: list[list[str]]) -> str:
    """Rows as CSV of RFC 4180, each ended by CRLF."""
    out = StringIO()
    csv.writer(out).writerows([[cell(text) for text in row] for row in rows])
    return out.getvalue()


def account_row(account: Mapping[str, Any]) -> list[str]:
    """An account as the API answers it, in the order of `COLUMNS`."""
    heading, overdraft = account["heading"] or {}, account["overdraft"]
    values = {
        **account,
        "heading_number": heading.get("number"),
        "heading_name": heading.get("name"),
        "overdraft_policy": overdraft["policy"],
        "overdraft_limit": overdraft["limit"],
        "metadata": orjson.dumps(account["metadata"]).decode() if account["metadata"] else None,
    }
    return [_cell_text(values[column]) for column in COLUMNS]


def _cell_text(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


class ChartReader:
    """Keeps a chart's lines until its end and reads them whole; `found.Reader` says how it is used."""

    def __init__(self, read: Callable[[str], Iterator[Found]]) -> None:
        self._read = read
        self._lines: list[str] = []

    def take(self, _: int, text: str) -> Iterator[Found]:
        self._lines.append(text)
        return iter(())

    def end(self) -> Iterator[Found]:
        text, self._lines = "\n".join(self._lines), []
        yield from self._read(text)


def csv_accounts(text: str) -> Iterator[Found]:
    """The accounts of a chart's CSV file."""
    first = text.partition("\n")[0]
    delimiter = ";" if ";" in first and "," not in first else ","
    rows = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(rows, [])]
        if fault := _header_fault(header):
            yield Unreadable(1, "malformed", fault, final=True)
            return
        number = rows.line_num + 1
        for row in rows:
            if any(text.strip() for text in row):
                yield _account(number, header, row)
            number = rows.line_num + 1
    except csv.Error as broken:
        yield Unreadable(rows.line_num, "malformed", f"The CSV cannot be read: {broken}.", final=True)


def json_accounts(text: str) -> Iterator[Found]:
    """The accounts of a chart's JSON file; a fault's line is the account's place in the list, from 1."""
    try:
        value = parse_json(text.encode())
    except Problem as problem:
        yield Unreadable(problem.facts.get("line", 1), problem.code, problem.detail, final=True)
        return
    if isinstance(value, dict):
        if unknown := value.keys() - {"accounts", "description", "ledger"}:
            yield Unreadable(1, "malformed", f"{min(unknown)[:40]!r} is not known in a chart.", final=True)
            return
        value = value.get("accounts")
    if not isinstance(value, list):
        yield Unreadable(1, "malformed", "A chart is a list of accounts, or an object with one.", final=True)
        return
    for place, body in enumerate(value, 1):
        if isinstance(body, dict):
            yield FoundAccount(place, str(body.get("code", "")), body, None)
        else:
            yield Unreadable(place, "malformed", "An account is a JSON object.")


def _header_fault(header: list[str]) -> str | None:
    unknown = [name for name in header if name not in COLUMNS]
    if unknown:
        return f"The column {unknown[0][:40]!r} is not known; known are {', '.join(COLUMNS)}."
    if missing := [name for name in COLUMNS[:3] if name not in header]:
        return f"The header, the first row, lacks the column {missing[0]}."
    if len(set(header)) < len(header):
        return "The header names a column twice."
    return None


def _account(number: int, header: list[str], row: list[str]) -> Found:
    if len(row) != len(header):
        return Unreadable(number, "malformed", f"The row has {len(row)} cells, the header {len(header)}.")
    cells = {name: plain(text) for name, text in zip(header, row, strict=True) if text.strip()}
    body: dict[str, Any] = {}
    for name, text in cells.items():
        if name in _FLAGS:
            if text.strip().lower() not in _TRUTHS:
                return Unreadable(number, "malformed", f"{name} is true or false, not {text[:40]!r}.")
            body[name] = _TRUTHS[text.strip().lower()]
        elif name == "metadata":
            try:
                body[name] = parse_json(text.encode())
            except Problem as problem:
                return Unreadable(number, problem.code, f"metadata: {problem.detail}")
        elif name == "heading_number":
            if not re.fullmatch(r"-?\d{1,9}", text):
                return Unreadable(number, "malformed", f"heading_number is a whole number, not {text[:40]!r}.")
            body.setdefault("heading", {})["number"] = int(text)
        elif name in ("heading_name", "overdraft_policy", "overdraft_limit"):
            group, _, field = name.partition("_")
            body.setdefault(group, {})[field] = text
        else:
            body[name] = text
    return FoundAccount(number, body.get("code", ""), body, None)
