"""Under which tax number what is reported, from day to day, ledger by ledger. Pure.

A ledger reports under one number at a time: the last one that is valid on the tax point. Where none was registered, the
VAT number that stands on its invoices is it, for ever, in the ledger's functional currency.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple


class Registered(NamedTuple):
    """From a day on a ledger reports under this number, in this currency."""

    ledger: str
    tax_number: str
    currency: str
    valid_from: date


class Window(NamedTuple):
    """Days of one ledger that a tax number is valid in."""

    ledger: str
    since: date
    until: date


def number_of_seller(seller: Mapping[str, Any]) -> str | None:
    """The tax number that stands on a ledger's invoices: the VAT number, else the only one there is."""
    tax_ids: Mapping[str, str] = seller.get("tax_ids") or {}
    if "VAT" in tax_ids:
        return tax_ids["VAT"]
    return next(iter(tax_ids.values())) if len(tax_ids) == 1 else None


def windows(registered: Iterable[Registered], tax_number: str, since: date, until: date) -> list[Window]:
    """The days from `since` to `until` on which ledgers report under the number.

    >>> rows = [Registered("eu", "DE1", "EUR", date(2026, 1, 1)), Registered("eu", "DE2", "EUR", date(2026, 3, 1))]
    >>> [(each.since.isoformat(), each.until.isoformat()) for each in windows(rows, "DE1", *QUARTER)]
    [('2026-01-01', '2026-02-28')]
    """
    by_ledger: dict[str, list[Registered]] = {}
    for row in registered:
        by_ledger.setdefault(row.ledger, []).append(row)
    found: list[Window] = []
    for ledger, rows in sorted(by_ledger.items()):
        rows.sort(key=lambda row: row.valid_from)
        for row, following in zip(rows, [*rows[1:], None], strict=True):
            last = date.max if following is None else following.valid_from - timedelta(days=1)
            first, last = max(since, row.valid_from), min(until, last)
            if row.tax_number == tax_number and first <= last:
                found.append(Window(ledger, first, last))
    return found


QUARTER = (date(2026, 1, 1), date(2026, 3, 31))
"""A quarter, for the example above."""


def currency_of(registered: Sequence[Registered], tax_number: str) -> str | None:
    """The currency a number's returns are in; None for one that nobody has."""
    return next((row.currency for row in registered if row.tax_number == tax_number), None)
