"""Balance sheet as of a day: assets, liabilities, equity, and the results that no closing entry has moved yet.

Closing entries count. Current earnings are income less expense of the day's fiscal year that is not closed; what is not
closed of earlier fiscal years stands on a line of its own. Untranslated there is one part for each currency, which
balances by itself, position pairs among its equity. Translated, the position pairs are no rows: what they and other
rates leave is the line *exchange difference not yet posted* (functional currency) or *translation reserve*.
"""

from collections.abc import Iterable, Sequence
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
    fiscal_year_start,
    line,
    net_by_currency,
    of_types,
    section,
    tie_outs,
    total,
)
from services.ledger.reports.translation import (
    RESERVE,
    RESULTS,
    UNPOSTED,
    Days,
    Rest,
    Translator,
    closed,
    rest_holds,
    rest_line,
    results,
    value,
)

NOTE: Final = "Closing entries are included; results that none has moved yet stand on lines of their own."


class AsOf(NamedTuple):
    """A column: the day, all sums through it, and those through the end of the fiscal year before."""

    period: Period
    sums: Sequence[AccountSum]
    sums_before_year: Sequence[AccountSum]


class _Earnings(NamedTuple):
    """Results that are not closed, a profit positive."""

    current: int
    earlier: int


def untranslated(layout: Layout, columns: Sequence[AsOf], only: str | None) -> list[CurrencyAnswer]:
    """One part for each currency that some account has, in the order of their codes; `only` names one."""
    whole = [net_by_currency(each.sums) for each in columns]
    before = [net_by_currency(each.sums_before_year, RESULTS) for each in columns]
    periods = [each.period for each in columns]
    parts = []
    for unit in sorted({unit for found in whole for unit in found if only in (None, unit.code)}):
        worths = [found.get(unit, {}) for found in whole]
        earlier = [-total(found.get(unit, {})) for found in before]
        open_results = [-total(of_types(column, layout.accounts, *RESULTS)) for column in worths]
        earnings = [_Earnings(one - other, other) for one, other in zip(open_results, earlier, strict=True)]
        parts.append(_part(layout, unit, periods, worths, earnings, None))
    return parts


def translated(layout: Layout, periods: Sequence[Period], days: Days, translator: Translator) -> CurrencyAnswer:
    """The one part, in the target currency. Raises RateMissing."""
    columns: list[Column] = []
    rests: list[Rest] = []
    earnings: list[_Earnings] = []
    for period in periods:
        valued = value(translator, days, period.through, closings=True)
        year = fiscal_year_start(period.through, translator.year_begins)
        last = day_before(year)
        open_results = -total(of_types(valued.worths, layout.accounts, *RESULTS))
        moved = of_types(closed(translator, days, last), layout.accounts, *RESULTS)
        earlier = -total(results(translator, days, None, last)) - total(moved)
        columns.append(valued.worths)
        rests.append(valued.rest)
        earnings.append(_Earnings(open_results - earlier, earlier))
    name = UNPOSTED if translator.is_functional else RESERVE
    part = _part(layout, translator.target, periods, columns, earnings, rest_line(name, rests))
    part["tie_outs"] += rest_holds(rests, periods, translator.target)
    return part


def _part(
    layout: Layout, unit: Currency, periods: Sequence[Period], columns: Sequence[Column],
    earnings: Iterable[_Earnings], rest: Line | None,
) -> CurrencyAnswer:  # fmt: skip
    assets, liabilities, equity = (
        section(layout, name, sign, unit, [of_types(column, layout.accounts, type_) for column in columns])
        for name, sign, type_ in (("assets", 1, "asset"), ("liabilities", -1, "liability"), ("equity", -1, "equity"))
    )
    earned = list(earnings)
    lines = [
        Line("current-earnings", [each.current for each in earned]),
        Line("earlier-earnings-not-closed", [each.earlier for each in earned]),
    ]
    if rest is not None:
        lines.append(rest)
    sums = zip(equity.totals, *(each.amounts for each in lines), strict=True)
    own = [sum(amounts) for amounts in sums]
    both = [one + other for one, other in zip(liabilities.totals, own, strict=True)]
    lines += [
        Line("total-equity", own),
        Line("total-liabilities-and-equity", both),
        Line("total-assets", assets.totals),
    ]
    return {
        "currency": unit.code,
        "sections": [assets.answer, liabilities.answer, equity.answer],
        "lines": [line(layout, each, unit) for each in lines],
        "tie_outs": tie_outs("assets = liabilities + equity", assets.totals, both, periods, unit),
    }
