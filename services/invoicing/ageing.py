"""How old what is owed is: open amounts by party and currency in columns of days, receipts and credit beside them.

The columns are "current" (not past the day), then 1 to the first edge, and so on, then all that is older than the last.
Days count from the due date or, on the other basis, from the issue date. Receipts that are not placed yet and customer
credit have no age and stand in columns of their own, so that nothing nets in silence: open - unapplied - credit = net.

Whoever adds up many invoices gives the database the `thresholds` and gets `AgedAmounts`; `buckets` is for rows at hand.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from typing import Final, Literal

from libs.common.errors import Fault, Rejection
from services.invoicing.rejections import reject

Basis = Literal["due", "issue"]

EDGES: Final = (30, 60, 90)
EDGES_MAX: Final = 12
DAYS_MAX: Final = 3_660


@dataclass(frozen=True, slots=True)
class OpenRow:
    """What is open on one invoice, or on all of a party's with the same two dates; in minor units."""

    party: str
    currency: str
    open: int
    due_on: date
    issued_on: date


@dataclass(frozen=True, slots=True)
class AgedAmounts:
    """What is open of a party's in each column, or a part of it; in minor units."""

    party: str
    currency: str
    columns: Sequence[int]


@dataclass(frozen=True, slots=True)
class OnAccount:
    """A party's money with us that is on no invoice: receipts not placed, and credit that is ours to give back."""

    party: str
    currency: str
    unapplied: int = 0
    credit: int = 0


@dataclass(slots=True)
class Aged:
    """One party's row: `columns` as `labels` names them."""

    party: str
    currency: str
    columns: list[int] = field(default_factory=list)
    unapplied: int = 0
    credit: int = 0

    @property
    def open(self) -> int:
        return sum(self.columns)

    @property
    def net(self) -> int:
        return self.open - self.unapplied - self.credit


def check_edges(edges: Sequence[int]) -> Rejection | None:
    """Edges are whole days, one after another."""
    ascending = all(first < second for first, second in pairwise(edges))
    if 1 <= len(edges) <= EDGES_MAX and ascending and edges[0] > 0 and edges[-1] <= DAYS_MAX:
        return None
    said = ",".join(map(str, edges))
    return reject("ageing-edges-not-ascending", errors=[Fault("/edges", f"are {said}" if said else "are none")])


def labels(edges: Sequence[int] = EDGES) -> list[str]:
    """The names of the columns.

    >>> labels((30, 60, 90))
    ['current', '1-30', '31-60', '61-90', '90+']
    """
    starts = [0, *edges]
    return ["current", *(f"{first + 1}-{last}" for first, last in pairwise(starts)), f"{edges[-1]}+"]


def thresholds(edges: Sequence[int] = EDGES) -> list[int]:
    """The days past at which each column but "current" begins.

    >>> thresholds((30, 60, 90))
    [1, 31, 61, 91]
    """
    return [1, *(edge + 1 for edge in edges)]


def column(days: int, edges: Sequence[int] = EDGES) -> int:
    """The place of the column that something `days` past its day stands in."""
    return bisect_right(thresholds(edges), days)


def buckets(
    as_of: date,
    basis: Basis,
    rows: Iterable[OpenRow],
    edges: Sequence[int] = EDGES,
    on_account: Iterable[OnAccount] = (),
) -> list[Aged]:
    """The ageing as of the end of a day, by party and currency in that order."""

    def amounts_of(row: OpenRow) -> AgedAmounts:
        columns = [0] * (len(edges) + 2)
        columns[column((as_of - (row.due_on if basis == "due" else row.issued_on)).days, edges)] = row.open
        return AgedAmounts(row.party, row.currency, columns)

    return aged(map(amounts_of, rows), edges, on_account)


def aged(
    amounts: Iterable[AgedAmounts], edges: Sequence[int] = EDGES, on_account: Iterable[OnAccount] = ()
) -> list[Aged]:
    """The same of amounts that have their columns; who owes nothing and has nothing with us is left out."""
    found: dict[tuple[str, str], Aged] = {}
    for each in amounts:
        row = found.get((each.party, each.currency))
        if row is None:
            found[each.party, each.currency] = Aged(each.party, each.currency, [*each.columns])
        else:
            row.columns = [before + more for before, more in zip(row.columns, each.columns, strict=True)]
    for money in on_account:
        key = money.party, money.currency
        row = found.setdefault(key, Aged(*key, [0] * (len(edges) + 2)))
        row.unapplied += money.unapplied
        row.credit += money.credit
    return [row for _, row in sorted(found.items()) if any(row.columns) or row.unapplied or row.credit]


def summed(rows: Iterable[Aged]) -> list[Aged]:
    """The column sums by currency, under no party: what the control accounts are compared with."""
    by_currency: dict[str, list[Aged]] = {}
    for row in rows:
        by_currency.setdefault(row.currency, []).append(row)
    return [
        Aged(
            "",
            currency,
            [sum(amounts) for amounts in zip(*(row.columns for row in alike), strict=True)],
            sum(row.unapplied for row in alike),
            sum(row.credit for row in alike),
        )
        for currency, alike in sorted(by_currency.items())
    ]
