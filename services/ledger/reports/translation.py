"""Translation of balances into one currency with published rates, each figure with the rate it was made of.

    to the functional currency      monetary assets and liabilities at the closing rate; the others and equity at each
                                    entry's date; income and expense at each day's rate
    to any other currency           assets and liabilities at the closing rate; equity at each entry's date; income and
                                    expense at each day's rate, or at the average of the period the day is in

An asset or liability counts as monetary where its account is `monetary` and is translated at `closing`. The position
pairs are no rows of a translated statement: what they are worth at the closing rate is a difference that is not posted
yet. All amounts of one currency add up to zero, so at one rate nothing would be left; what is left is what accounts
come to at other rates than the closing one, the open positions, and the cents of rounding. That rest is the line
*exchange difference not yet posted* (functional currency) or *translation reserve* (any other), and is computed both
ways.

Rounding: half-even, once for each account at the closing rate, once for each account and day at days' rates, so that
the figures of two periods add up to those of both. Which rate a day or a period has is in rates.py.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Final, Literal, NamedTuple

from libs.common.money import Currency, Rounding, round_ratio
from services.ledger.account_sum import AccountSum
from services.ledger.accounts import pair_currency
from services.ledger.reports.rates import AverageOver, Conversion, RateBook, averaged_period
from services.ledger.reports.sections import (
    Line,
    Part,
    Period,
    TieOut,
    Worth,
    fiscal_year_start,
    tie_outs,
)

ROUNDING: Final = Rounding.HALF_EVEN
UNPOSTED: Final = "exchange-difference-not-yet-posted"
RESERVE: Final = "translation-reserve"
RESULTS: Final = frozenset({"income", "expense"})


@dataclass(frozen=True, slots=True)
class Translator:
    """Everything a translation needs: the target, the ledger's functional currency, its fiscal year, the rates.

    `average_over`: income and expense go at the average of the month, quarter or fiscal year that their day is in.
    """

    target: Currency
    functional: Currency
    year_begins: str
    book: RateBook
    average_over: AverageOver | None = None

    @property
    def is_functional(self) -> bool:
        """Whether the target is the ledger's own currency."""
        return self.target.code == self.functional.code

    def rate(self, unit: Currency, on: date, type_: str | None = None) -> Conversion:
        """The rate of a day; for accounts of results, where an average is wanted, that of the period it is in."""
        if self.average_over is None or type_ not in RESULTS:
            return self.book.find(unit.code, self.target.code, on)
        period = averaged_period(self.average_over, on, self.year_begins)
        return self.book.average(unit.code, self.target.code, period)

    def exact(self, amount: int, unit: Currency, on: date, type_: str | None = None) -> Fraction:
        """Minor units of the target, not rounded."""
        if amount == 0:
            return Fraction(0)
        ratio = self.rate(unit, on, type_).ratio
        return amount * ratio * Fraction(10) ** (self.target.exponent - unit.exponent)

    def part(self, no: int | None, unit: Currency, amount: int, on: date, type_: str | None = None) -> Part:
        """An amount of an account translated at a day's rate."""
        steps = self.rate(unit, on, type_).steps
        return Part(no, unit, amount, on, steps, rounded(self.exact(amount, unit, on, type_)))


def rounded(exact: Fraction) -> int:
    """Half-even."""
    return round_ratio(exact.numerator, exact.denominator, ROUNDING)


def rule_of(account: AccountSum, *, to_functional: bool) -> Literal["closing", "day"]:
    """Whether an account goes at the closing rate, or at the rate of each day it was posted to."""
    if account.type not in ("asset", "liability"):
        return "day"
    if not to_functional or (account.monetary and account.translation == "closing"):
        return "closing"
    return "day"


def is_pair(account: AccountSum) -> bool:
    """Whether it is one of the ledger's own position accounts."""
    return account.type == "equity" and pair_currency(account.code) is not None


class Days(NamedTuple):
    """Sums by account and day: of everything but closing entries, and of closing entries alone."""

    accounts: Mapping[int, AccountSum]
    nets: Mapping[int, Sequence[tuple[date, int]]]
    closings: Mapping[int, Sequence[tuple[date, int]]]


def days_of(
    accounts: Iterable[AccountSum],
    daily: Iterable[tuple[date, AccountSum]],
    daily_without_closings: Iterable[tuple[date, AccountSum]],
) -> Days:
    """Debits less credits by account and day."""
    whole = {(each.no, day): each.debits - each.credits for day, each in daily}
    nets: dict[int, list[tuple[date, int]]] = {}
    for day, each in daily_without_closings:
        net = each.debits - each.credits
        nets.setdefault(each.no, []).append((day, net))
        whole[each.no, day] = whole.get((each.no, day), 0) - net
    closings: dict[int, list[tuple[date, int]]] = {}
    for (no, day), net in sorted(whole.items()):
        if net:
            closings.setdefault(no, []).append((day, net))
    return Days({account.no: account for account in accounts}, nets, closings)


class Rest(NamedTuple):
    """What accounts at their own rates leave open, a gain positive; also its change over a range.

    `left` is the sum of their worths. `positions` and `other_rates` come from balances and rates alone; what both do
    not explain is rounding, of so many `pieces`.
    """

    left: int
    positions: int
    other_rates: int
    pieces: int

    @property
    def rounding(self) -> int:
        """The cents."""
        return self.left - self.positions - self.other_rates

    def less(self, before: "Rest") -> "Rest":
        """The change since `before`."""
        return Rest(
            self.left - before.left,
            self.positions - before.positions,
            self.other_rates - before.other_rates,
            self.pieces + before.pieces,
        )


class Valuation(NamedTuple):
    """What every account but the pairs comes to as of a day, and what is left."""

    worths: dict[int, Worth]
    rest: Rest


def rest_line(name: str, rests: Sequence[Rest]) -> Line:
    """The line of what is left, and what it is made of."""
    return Line(
        name,
        [rest.left for rest in rests],
        [
            Line("open-positions", [rest.positions for rest in rests]),
            Line("items-at-other-rates", [rest.other_rates for rest in rests]),
            Line("rounding", [rest.rounding for rest in rests]),
        ],
    )


def rest_holds(rests: Sequence[Rest], periods: Sequence[Period], unit: Currency) -> list[TieOut]:
    """Whether what is left is explained but for rounding: half a minor unit a piece at most."""
    return [
        tie_out
        for rest, period in zip(rests, periods, strict=True)
        for tie_out in tie_outs(
            "what is left = open positions + items at other rates, to rounding",
            [rest.left],
            [rest.positions + rest.other_rates],
            [period],
            unit,
            within=(rest.pieces + 1) // 2,
        )
    ]


def value(translator: Translator, days: Days, on: date, *, closings: bool) -> Valuation:
    """Every account as of a day. With `closings`, closing entries have moved the results they closed."""
    worths: dict[int, Worth] = {}
    open_positions = other_rates = Fraction(0)
    for no, account in days.accounts.items():
        if account.currency is None:
            continue
        unit = Currency(account.currency, account.exponent)
        nets = [(day, net) for day, net in days.nets.get(no, ()) if day <= on]
        at_closing = translator.exact(sum(net for _, net in nets), unit, on)
        if is_pair(account):
            open_positions -= at_closing
        elif rule_of(account, to_functional=translator.is_functional) == "closing":
            worths[no] = _at_one_rate(translator, no, unit, sum(net for _, net in nets), on)
        else:
            worths[no] = at_days(translator, account, unit, nets)
            exact = (translator.exact(net, unit, day, account.type) for day, net in nets)
            other_rates += sum(exact, Fraction(0)) - at_closing
    if closings:
        for no, moved in closed(translator, days, on).items():
            before = worths.get(no, Worth(0))
            worths[no] = Worth(before.amount + moved.amount, before.parts + moved.parts)
    left = sum(worth.amount for worth in worths.values())
    pieces = 2 + sum(len(worth.parts) for worth in worths.values())
    return Valuation(worths, Rest(left, rounded(open_positions), rounded(other_rates), pieces))


def _at_one_rate(translator: Translator, no: int, unit: Currency, amount: int, on: date) -> Worth:
    if unit.code == translator.target.code or amount == 0:
        return Worth(amount)
    part = translator.part(no, unit, amount, on)
    return Worth(part.worth, (part,))


def at_days(translator: Translator, account: AccountSum, unit: Currency, nets: Iterable[tuple[date, int]]) -> Worth:
    """An account's sums of days, each at its own day's rate or, of results, at its period's."""
    if unit.code == translator.target.code:
        return Worth(sum(net for _, net in nets))
    parts = tuple(translator.part(account.no, unit, net, day, account.type) for day, net in nets if net)
    return Worth(sum(part.worth for part in parts), parts)


class _Closing(NamedTuple):
    """What closing entries of a fiscal year did to an account, in its own currency and in the target's."""

    no: int
    unit: Currency
    amount: int
    day: date
    worth: int
    exact: bool


def closed(translator: Translator, days: Days, on: date) -> dict[int, Worth]:
    """What closing entries through `on` move, at the worth it was earned at.

    An income or expense account that they bring to zero gives up exactly what it is worth; what they move otherwise
    goes at the rate of the entry's day. The accounts on the other side (retained earnings) take the same worth: the
    largest of them in each currency and fiscal year takes what is left.
    """
    groups: dict[tuple[date, Currency], list[_Closing]] = {}
    for no in sorted(days.closings):
        for year, closing in _closings_of(translator, days, no, on):
            groups.setdefault((year, closing.unit), []).append(closing)
    found: dict[int, Worth] = {}
    for group in groups.values():
        left = sum(closing.worth for closing in group)
        movable = [place for place, closing in enumerate(group) if not closing.exact] or list(range(len(group)))
        largest = max(movable, key=lambda place: (abs(group[place].amount), -place))
        for place, closing in enumerate(group):
            worth = closing.worth - left if place == largest else closing.worth
            before = found.get(closing.no, Worth(0))
            part = Part(closing.no, closing.unit, closing.amount, closing.day, (), worth)
            parts = () if closing.unit.code == translator.target.code else (part,)
            found[closing.no] = Worth(before.amount + worth, before.parts + parts)
    return found


def _closings_of(translator: Translator, days: Days, no: int, on: date) -> Iterator[tuple[date, _Closing]]:
    """The closings of an account by fiscal year, oldest first."""
    account = days.accounts[no]
    assert account.currency is not None, "an account with lines has a currency"
    unit = Currency(account.currency, account.exponent)
    years: dict[date, list[tuple[date, int]]] = {}
    for day, net in days.closings[no]:
        if day <= on:
            years.setdefault(fiscal_year_start(day, translator.year_begins), []).append((day, net))
    amount_before = worth_before = 0
    for year, moved in years.items():
        amount, last = sum(net for _, net in moved), moved[-1][0]
        nets = [(day, net) for day, net in days.nets.get(no, ()) if day <= last]
        exact = account.type in RESULTS and sum(net for _, net in nets) + amount_before + amount == 0
        if exact:
            worth = -at_days(translator, account, unit, nets).amount - worth_before
        else:
            worth = at_days(translator, account, unit, moved).amount
        yield year, _Closing(no, unit, amount, last, worth, exact)
        amount_before, worth_before = amount_before + amount, worth_before + worth


def results(translator: Translator, days: Days, since: date | None, through: date) -> dict[int, Worth]:
    """Income and expense of a range at each day's rate, closing entries left out."""
    found: dict[int, Worth] = {}
    for no, account in days.accounts.items():
        if account.type in RESULTS and account.currency is not None:
            unit = Currency(account.currency, account.exponent)
            found[no] = at_days(
                translator,
                account,
                unit,
                [(day, net) for day, net in days.nets.get(no, ()) if (since or date.min) <= day <= through],
            )
    return found
