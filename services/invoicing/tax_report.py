"""A tax report as callers are told: sums by category and rate, the documents behind them, and whether the books agree.

    reported - not booked + at other rates - not posted = what the accounts of tax that is due have of these documents

`not_booked` is of documents whose entry was never made or was withdrawn; `at_other_rates` is the documents' tax at the
rates that their entries were made at, less what it is at the tax point's (what the entries have is not asked for it:
tax_entries.py); `not_posted` was asked for and is not in the books at the sequence. So the difference is what no
document explains. Beside it, what moved on the accounts in the days of the report: that is the same but for entries of
other tax points, of these documents in other days, and of other hands (who pay the tax office, mostly). Pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from libs.common.csv_text import Amount, table
from services.invoicing.tax_books import AccountMovement, Booked
from services.invoicing.tax_lines import TaxLine, summed
from services.invoicing.words import amount_text, plain

LISTED_MAX: Final = 10_000
"""Documents that an answer in JSON lists; CSV lists all."""

CSV_COLUMNS: Final = (
    "ledger", "kind", "number", "document", "tax_point_on", "category", "rate", "currency", "base", "tax",
    "base_reported", "tax_reported", "correction",
)  # fmt: skip


@dataclass(slots=True)
class Tie:
    """One currency of the books; minor units, what is owed positive."""

    currency: str
    reported: int = 0
    not_booked: int = 0
    at_other_rates: int = 0
    not_posted: int = 0
    books: int = 0

    @property
    def difference(self) -> int:
        return self.reported - self.not_booked + self.at_other_rates - self.not_posted - self.books


def compare(
    lines: Iterable[TaxLine], booked: Iterable[Booked], movements: Iterable[AccountMovement], currency: str
) -> list[Tie]:
    """What is reported against what the books have of it, by the books' currency."""
    ties: dict[str, Tie] = {}

    def of(code: str) -> Tie:
        return ties.setdefault(code, Tie(code))

    for line in lines:
        if line.in_books is None:
            code, told = (line.currency, line.own) if line.reported is None else (currency, line.reported)
            if told.tax:
                of(code).reported += told.tax
                of(code).not_booked += told.tax
        else:
            code, tax = line.in_books
            amount = _told(line, code, currency)
            if amount or tax:
                of(code).reported += amount
                of(code).at_other_rates += tax - amount
    for each in booked:
        if each.amount:
            of(each.currency).not_posted += 0 if each.is_posted else each.amount
    for movement in movements:
        of(movement.currency).books = movement.reported
    return [ties[code] for code in sorted(ties)]


def _told(line: TaxLine, code: str, currency: str) -> int:
    """What a line reports in the books' currency; nothing where that is neither the return's nor the document's."""
    if code == currency:
        return 0 if line.reported is None else line.reported.tax
    return line.own.tax if code == line.currency else 0


def tie_words(ties: Sequence[Tie], movements: Iterable[AccountMovement]) -> list[dict[str, Any]]:
    """The comparison as callers are told."""
    of_account = {each.currency: each for each in movements}
    told = []
    for tie in ties:
        here = of_account.get(tie.currency, AccountMovement(tie.currency, 0, 0, 0, 0, 0))
        amounts = {
            "reported": tie.reported,
            "not_booked": tie.not_booked,
            "at_other_rates": tie.at_other_rates,
            "not_posted": tie.not_posted,
            "books": tie.books,
            "difference": tie.difference,
            "moved_in_period": here.in_period,
            "of_other_tax_points": here.of_other_tax_points,
            "posted_in_other_periods": here.in_other_periods,
            "by_others": here.of_others,
        }
        words = {name: amount_text(amount, tie.currency) for name, amount in amounts.items()}
        told.append({"currency": tie.currency, **words, "ties": tie.difference == 0})
    return told


def sum_words(lines: Iterable[TaxLine], currency: str) -> list[dict[str, Any]]:
    """Base and tax by category and rate."""
    return [
        {
            "category": row.category,
            "rate": plain(row.rate),
            "currency": currency,
            "base": amount_text(row.base, currency),
            "tax": amount_text(row.tax, currency),
            "by_currency": [
                {"currency": code, "base": amount_text(own.base, code), "tax": amount_text(own.tax, code)}
                for code, own in sorted(row.own.items())
            ],
        }
        for row in summed(lines)
    ]


def total_words(lines: Sequence[TaxLine], currency: str) -> dict[str, Any]:
    """The report's base and tax in all, in the return's currency."""
    converted = [line.reported for line in lines if line.reported is not None]
    return {
        "currency": currency,
        "base": amount_text(sum(each.base for each in converted), currency),
        "tax": amount_text(sum(each.tax for each in converted), currency),
        "without_rate": len(lines) - len(converted),
    }


def line_words(line: TaxLine, currency: str, *, is_correction: bool = False) -> dict[str, Any]:
    """One line."""
    reported = line.reported
    return {
        "ledger": line.ledger,
        "kind": line.kind,
        "number": line.number,
        "document": str(line.document),
        "tax_point_on": line.tax_point_on,
        "category": line.category,
        "rate": plain(line.rate),
        "exemption_code": line.exemption_code,
        "exemption_reason": line.exemption_reason,
        "currency": line.currency,
        "base": amount_text(line.own.base, line.currency),
        "tax": amount_text(line.own.tax, line.currency),
        "base_reported": None if reported is None else amount_text(reported.base, currency),
        "tax_reported": None if reported is None else amount_text(reported.tax, currency),
        "correction": is_correction,
    }


def lines_csv(words: Iterable[Mapping[str, Any]]) -> bytes:
    """Lines as a table."""
    amounts = {"base", "tax", "base_reported", "tax_reported"}

    def cells(row: Mapping[str, Any]) -> list[Any]:
        return [
            Amount(row[name]) if name in amounts and row[name] is not None else row[name] for name in CSV_COLUMNS
        ]  # fmt: skip

    return table([CSV_COLUMNS, *map(cells, words)])
