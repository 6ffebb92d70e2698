"""Profit and loss: income less expense of a range, closing entries left out.

Untranslated, one part for each currency. Translated to the functional currency, the change over the range of what
is not posted yet as an exchange difference is a line of the result; translated to another currency, that change is
equity's (the translation reserve) and no part of it.

Tie-outs, each computed from other accounts than the result is: the result is the change of assets less the change of
liabilities less the change of equity other than results, over the same range.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from libs.common.money import Currency
from services.ledger.account_sum import AccountSum
from services.ledger.reports.sections import (
    Column,
    CurrencyAnswer,
    Layout,
    Line,
    Period,
    day_before,
    line,
    net_by_currency,
    of_types,
    section,
    tie_outs,
    total,
)
from services.ledger.reports.translation import (
    UNPOSTED,
    Days,
    Rest,
    Translator,
    rest_holds,
    rest_line,
    results,
    value,
)

NOTE: Final = "Entries of kind closing are left out."
OTHERS: Final = ("asset", "liability", "equity")


class Range(NamedTuple):
    """A column and its sums without closing entries."""

    period: Period
    sums: Sequence[AccountSum]


def untranslated(layout: Layout, ranges: Sequence[Range], only: str | None) -> list[CurrencyAnswer]:
    """One part for each currency that some account has, in the order of their codes; `only` names one."""
    by_currency = [net_by_currency(each.sums) for each in ranges]
    periods = [each.period for each in ranges]
    parts = []
    for unit in sorted({unit for found in by_currency for unit in found if only in (None, unit.code)}):
        columns = [found.get(unit, {}) for found in by_currency]
        moved = [total(of_types(column, layout.accounts, *OTHERS)) for column in columns]
        parts.append(_part(layout, unit, periods, columns, moved, None))
    return parts


def translated(layout: Layout, periods: Sequence[Period], days: Days, translator: Translator) -> CurrencyAnswer:
    """The one part, in the target currency. Raises RateMissing."""
    columns: list[Column] = []
    moved: list[int] = []
    changes: list[Rest] = []
    for period in periods:
        assert period.since is not None, "a range has a beginning"
        before = value(translator, days, day_before(period.since), closings=False)
        after = value(translator, days, period.through, closings=False)
        columns.append(results(translator, days, period.since, period.through))
        changes.append(after.rest.less(before.rest))
        others = [of_types(each.worths, layout.accounts, *OTHERS) for each in (before, after)]
        moved.append(total(others[1]) - total(others[0]))
    if not translator.is_functional:
        moved = [change - rest.left for change, rest in zip(moved, changes, strict=True)]
    part = _part(layout, translator.target, periods, columns, moved, changes if translator.is_functional else None)
    part["tie_outs"] += rest_holds(changes, periods, translator.target)
    return part


def _part(
    layout: Layout, unit: Currency, periods: Sequence[Period], columns: Sequence[Column], moved: Sequence[int],
    unposted: Sequence[Rest] | None,
) -> CurrencyAnswer:  # fmt: skip
    income = section(layout, "income", -1, unit, [of_types(each, layout.accounts, "income") for each in columns])
    expense = section(layout, "expense", 1, unit, [of_types(each, layout.accounts, "expense") for each in columns])
    result = [one - other for one, other in zip(income.totals, expense.totals, strict=True)]
    lines = []
    if unposted is not None:
        lines = [Line("posted-result", result), rest_line(UNPOSTED, unposted)]
        result = [posted + rest.left for posted, rest in zip(result, unposted, strict=True)]
    lines.append(Line("result", result))
    return {
        "currency": unit.code,
        "sections": [income.answer, expense.answer],
        "lines": [line(layout, each, unit) for each in lines],
        "tie_outs": tie_outs("result = change of assets - liabilities - other equity", result, moved, periods, unit),
    }
