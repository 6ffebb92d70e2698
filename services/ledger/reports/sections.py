"""What every financial statement is made of: columns, rows in a tree of accounts, headings, lines, tie-outs.

    statement -> one part for each currency (one alone where it is translated)
      part    -> sections (income, assets, operating, ...)
        section -> groups by heading, in the headings' number order; accounts without one come last
          group   -> rows, depth first; a row's amounts are its account's own and those of every account below it
      part    -> lines that are no account's (current earnings, exchange difference, ...) and tie-outs

Each amount stands once for each column (`Period`), in the columns' order. Inside, amounts are debits less credits in
minor units; a section turns them to its natural sign once, at the end. Rows of zeros are left out unless wanted: zero
means zero in every column, for the account and all below it. `level` cuts the tree: what is deeper is in its ancestor's
amounts, and so are the parts that say how it was translated.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import NamedTuple, NotRequired

from typing_extensions import TypedDict

from libs.common.money import Currency, to_text
from services.ledger.account_sum import AccountSum

HEADING_LAST = 2**63


class Period(NamedTuple):
    """A column: what is effective from `since` to `through`, both included. `since` is None for a balance sheet."""

    name: str
    since: date | None
    through: date


class AverageAnswer(TypedDict):
    """What a mean is of: the period, its first day that has a rate, and how many have one."""

    period: str
    since: str
    days: int


class RateStep(TypedDict):
    """A published rate as it was used; `inverse` says that it was divided by.

    With `average` it is the mean of a period's rates: `on` is the last of their days, `provider` names all of theirs.
    """

    base: str
    counter: str
    rate: str
    on: str
    provider: str
    inverse: bool
    average: NotRequired[AverageAnswer]


class PartAnswer(TypedDict):
    """How a piece of a translated amount came about; debits less credits, `translated` in the statement's currency.

    Without rates it is a result that closing entries moved at the worth it was earned at.
    """

    account: str | None
    currency: str
    amount: str
    day: str
    rates: list[RateStep]
    translated: str


class Part(NamedTuple):
    """A `PartAnswer` before it is told, amounts in minor units. The account is its number."""

    account: int | None
    currency: Currency
    amount: int
    day: date
    rates: tuple[RateStep, ...]
    worth: int


class Worth(NamedTuple):
    """What an account comes to in a column: debits less credits in minor units of the statement's currency."""

    amount: int
    parts: tuple[Part, ...] = ()


Column = Mapping[int, Worth]
"""Worths by account number."""


class HeadingAnswer(TypedDict):
    """The heading of a group."""

    number: int
    name: str


class RowAnswer(TypedDict):
    """An account, or what is below it too; one amount and one list of parts a column."""

    account: str
    name: str
    level: int
    summary: bool
    amounts: list[str]
    parts: list[list[PartAnswer]]
    classed_by: str | None


class GroupAnswer(TypedDict):
    """The rows of a heading."""

    heading: HeadingAnswer | None
    rows: list[RowAnswer]
    totals: list[str]


class SectionAnswer(TypedDict):
    """A section in its natural sign: assets and expense debits, all others credits; cash flows money in."""

    name: str
    groups: list[GroupAnswer]
    totals: list[str]


class LineAnswer(TypedDict):
    """A figure that is no account's. `made_of` adds up to `amounts` where it is there."""

    name: str
    amounts: list[str]
    made_of: list["LineAnswer"]
    parts: list[list[PartAnswer]]


class TieOut(TypedDict):
    """Two ways to the same figure, computed each time."""

    name: str
    column: str
    left: str
    right: str
    difference: str
    holds: bool


class CurrencyAnswer(TypedDict):
    """All of a statement that is in one currency."""

    currency: str
    sections: list[SectionAnswer]
    lines: list[LineAnswer]
    tie_outs: list[TieOut]


class ColumnAnswer(TypedDict):
    """What an amount's place in a list means."""

    name: str
    since: str | None
    through: str


class Translated(TypedDict):
    """How a statement was translated; `rates_provider` and `average_rates` as asked for."""

    to: str
    functional_currency: str
    rules: str
    rounding: str
    rate_age_days_max: int
    rates_known_at: str | None
    rates_provider: str | None
    average_rates: str | None


class StatementAnswer(TypedDict):
    """A financial statement."""

    report: str
    ledger: str
    sequence: int
    columns: list[ColumnAnswer]
    fiscal_year_start: str
    level: int | None
    zero: bool
    translation: Translated | None
    notes: list[str]
    currencies: list[CurrencyAnswer]
    holds: bool


class Line(NamedTuple):
    """A `LineAnswer` before it is told."""

    name: str
    amounts: Sequence[int]
    made_of: Sequence["Line"] = ()
    parts: Sequence[Sequence[Part]] = ()


@dataclass(frozen=True, slots=True)
class Layout:
    """Which rows are shown: down to `level` (1 is the top, None all), those of zeros where `zero`."""

    accounts: Mapping[int, AccountSum]
    level: int | None = None
    zero: bool = False
    below: dict[int, list[int]] = field(init=False)

    def __post_init__(self) -> None:
        below: dict[int, list[int]] = {}
        for account in sorted(self.accounts.values(), key=lambda each: each.code):
            if account.parent_no is not None and account.parent_no in self.accounts:
                below.setdefault(account.parent_no, []).append(account.no)
        object.__setattr__(self, "below", below)

    def root(self, no: int) -> int:
        """The account at the top of an account's branch."""
        parent = self.accounts[no].parent_no
        while parent is not None and parent in self.accounts:
            no, parent = parent, self.accounts[parent].parent_no
        return no


class _Branch(NamedTuple):
    """An account with all below it: its amounts by column, rows to show, and parts that no row of them shows."""

    amounts: list[int]
    rows: list[RowAnswer]
    parts: list[list[Part]]
    has_lines: bool


class Section(NamedTuple):
    """A section with its totals by column in minor units, in its natural sign."""

    answer: SectionAnswer
    totals: list[int]


def section(
    layout: Layout,
    name: str,
    sign: int,
    unit: Currency,
    columns: Sequence[Column],
    classed_by: Mapping[int, str] | None = None,
) -> Section:
    """The accounts of `columns` under their headings. `sign` is 1 where debits count up, -1 where credits do."""
    present = {no for column in columns for no in column}
    roots = {layout.root(no) for no in present}
    groups: dict[tuple[int, str], list[int]] = {}
    for no in sorted(roots, key=lambda root: layout.accounts[root].code):
        heading = layout.accounts[no].heading
        groups.setdefault(heading or (HEADING_LAST, ""), []).append(no)
    told: list[GroupAnswer] = []
    totals = [0] * len(columns)
    for heading_key in sorted(groups):
        branches = [_branch(layout, no, 1, sign, unit, columns, classed_by or {}) for no in groups[heading_key]]
        sums = [sum(branch.amounts[place] for branch in branches) for place in range(len(columns))]
        totals = [total + added for total, added in zip(totals, sums, strict=True)]
        rows = [row for branch in branches for row in branch.rows]
        if rows:
            told.append({"heading": _heading(heading_key), "rows": rows, "totals": texts(sums, unit)})
    return Section({"name": name, "groups": told, "totals": texts(totals, unit)}, totals)


def _heading(key: tuple[int, str]) -> HeadingAnswer | None:
    return None if key == (HEADING_LAST, "") else {"number": key[0], "name": key[1]}


def _branch(
    layout: Layout, no: int, level: int, sign: int, unit: Currency, columns: Sequence[Column],
    classed_by: Mapping[int, str],
) -> _Branch:  # fmt: skip
    branches = [
        _branch(layout, child, level + 1, sign, unit, columns, classed_by) for child in layout.below.get(no, [])
    ]
    own = [column.get(no, Worth(0)) for column in columns]
    parts = [list(worth.parts) for worth in own]
    amounts = [sign * worth.amount for worth in own]
    for branch in branches:
        amounts = [amount + added for amount, added in zip(amounts, branch.amounts, strict=True)]
        parts = [[*mine, *hidden] for mine, hidden in zip(parts, branch.parts, strict=True)]
    rows = [row for branch in branches for row in branch.rows]
    has_lines = any(worth.amount or worth.parts for worth in own) or any(branch.has_lines for branch in branches)
    wanted = any(no in column for column in columns) or bool(rows)
    if layout.level is not None and level > layout.level:
        return _Branch(amounts, [], parts, has_lines)
    if not (has_lines or (layout.zero and wanted)):
        return _Branch(amounts, [], [[] for _ in columns], has_lines)
    account = layout.accounts[no]
    row: RowAnswer = {
        "account": account.code,
        "name": account.name,
        "level": level,
        "summary": account.summary,
        "amounts": texts(amounts, unit),
        "parts": [[_part(layout, part, unit) for part in column] for column in parts],
        "classed_by": classed_by.get(no),
    }
    return _Branch(amounts, [row, *rows], [[] for _ in columns], has_lines)


def _part(layout: Layout, part: Part, unit: Currency) -> PartAnswer:
    return {
        "account": layout.accounts[part.account].code if part.account is not None else None,
        "currency": part.currency.code,
        "amount": to_text(part.amount, part.currency.exponent),
        "day": part.day.isoformat(),
        "rates": list(part.rates),
        "translated": to_text(part.worth, unit.exponent),
    }


def texts(amounts: Iterable[int], unit: Currency) -> list[str]:
    """Amounts in major units."""
    return [to_text(amount, unit.exponent) for amount in amounts]


def line(layout: Layout, figure: Line, unit: Currency) -> LineAnswer:
    """A line as it is told."""
    return {
        "name": figure.name,
        "amounts": texts(figure.amounts, unit),
        "made_of": [line(layout, piece, unit) for piece in figure.made_of],
        "parts": [[_part(layout, part, unit) for part in column] for column in figure.parts],
    }


def tie_outs(
    name: str, left: Sequence[int], right: Sequence[int], periods: Sequence[Period], unit: Currency, within: int = 0
) -> list[TieOut]:
    """Whether two figures agree in each column, to `within` minor units."""
    return [
        {
            "name": name,
            "column": period.name,
            "left": to_text(one, unit.exponent),
            "right": to_text(other, unit.exponent),
            "difference": to_text(one - other, unit.exponent),
            "holds": abs(one - other) <= within,
        }
        for period, one, other in zip(periods, left, right, strict=True)
    ]


def column_answer(period: Period) -> ColumnAnswer:
    """A column as it is told."""
    return {
        "name": period.name,
        "since": period.since.isoformat() if period.since else None,
        "through": period.through.isoformat(),
    }


def fiscal_year_start(day: date, begins: str) -> date:
    """The first day of the fiscal year of `day`; `begins` is MM-DD.

    >>> fiscal_year_start(date(2025, 3, 31), "04-01")
    datetime.date(2024, 4, 1)
    """
    month, first = int(begins[:2]), int(begins[3:])
    start = date(day.year, month, first)
    return start if start <= day else date(day.year - 1, month, first)


def day_before(day: date) -> date:
    """The day before; the calendar's first day has none and stays."""
    return day - timedelta(days=1) if day > date.min else day


def net_by_currency(
    sums: Iterable[AccountSum], types: frozenset[str] | None = None
) -> dict[Currency, dict[int, Worth]]:
    """Every account's own balance by currency, untranslated; summary accounts have none."""
    found: dict[Currency, dict[int, Worth]] = {}
    for account in sums:
        if account.currency is not None and (types is None or account.type in types):
            unit = Currency(account.currency, account.exponent)
            found.setdefault(unit, {})[account.no] = Worth(account.debits - account.credits)
    return found


def of_types(column: Column, accounts: Mapping[int, AccountSum], *types: str) -> dict[int, Worth]:
    """The part of a column that is of some account types."""
    return {no: worth for no, worth in column.items() if accounts[no].type in types}


def total(column: Column) -> int:
    """All of a column: debits less credits."""
    return sum(worth.amount for worth in column.values())


def all_hold(currencies: Sequence[CurrencyAnswer]) -> bool:
    """Whether every tie-out of a statement holds."""
    return all(tie_out["holds"] for part in currencies for tie_out in part["tie_outs"])
