"""Entries as rows of a table, one a line, for spreadsheets; debits and credits stand in columns of their own."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

ENTRY_COLUMNS: Final = (
    "sequence", "line", "entry", "effective_on", "value_on", "kind", "description", "external_id", "reverses",
    "account", "party", "currency", "debit", "credit", "balance_after", "line_description",
)  # fmt: skip


def entry_rows(sequence: int, entry: Mapping[str, Any]) -> Iterator[list[str]]:
    """The rows of an entry of the log, in the order of `ENTRY_COLUMNS`."""
    for number, line in enumerate(entry["lines"], 1):
        is_debit = line["side"] == "debit"
        yield [
            str(sequence),
            str(number),
            entry["id"],
            entry["effective_on"],
            entry["value_on"],
            entry["kind"],
            entry["description"],
            entry.get("external_id") or "",
            entry.get("reverses") or "",
            line["account"],
            line.get("party") or "",
            line["currency"],
            line["amount"] if is_debit else "",
            "" if is_debit else line["amount"],
            line["balance_after"],
            line.get("description") or "",
        ]
