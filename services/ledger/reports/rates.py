"""Which rate a day has between two currencies, and which average a period has. Pure.

The rate of a day is the last one of that day or of the `RATE_AGE_DAYS_MAX` days before; there is none after that, and a
missing one is an error, never 1. It is direct, else inverse, else crossed through a pivot currency; ratios are exact
fractions, an inverse or crossed one is never rounded.

The average of a period is the arithmetic mean of the rates published for its days, one a day, weekends and days without
one left out: of the direct rates, else of the inverses of the others, else of the crossings on days that have both
halves. The mean is rounded once, half-even to `AVERAGE_DIGITS` significant digits, and from there on it is the rate, so
that what an answer says is what was reckoned with. A period is the whole of it, also where a statement ends within.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from typing import Final, Literal, NamedTuple

from libs.common.errors import Failure
from libs.common.periods import FiscalCalendar
from services.ledger.reports.sections import RateStep

RATE_AGE_DAYS_MAX: Final = 5
"""A weekend and the longest row of bank holidays; an older rate is not the day's."""

AVERAGE_DIGITS: Final = 12
PIVOTS: Final = ("EUR", "USD")

AverageOver = Literal["month", "quarter", "year"]


class AveragedPeriod(NamedTuple):
    """A month, a quarter or a fiscal year of the ledger: "2026-03", "2026-Q1", "2026"."""

    name: str
    first: date
    last: date


def averaged_period(over: AverageOver, on: date, year_begins: str) -> AveragedPeriod:
    """The period a day is in. Quarters and years are the fiscal year's; `year_begins` is its first day, MM-DD.

    >>> averaged_period("quarter", date(2026, 3, 31), "04-01")
    AveragedPeriod(name='2025-Q4', first=datetime.date(2026, 1, 1), last=datetime.date(2026, 3, 31))
    """
    calendar = FiscalCalendar(year_begins)
    month = calendar.month_of(on)
    year = calendar.year_of(month)
    begins = calendar.last_month(year) - 11
    if over == "month":
        return AveragedPeriod(calendar.name(month), calendar.begins(month), calendar.ends(month))
    if over == "quarter":
        number = (month - begins) // 3
        first = begins + 3 * number
        return AveragedPeriod(f"{year:04}-Q{number + 1}", calendar.begins(first), calendar.ends(first + 2))
    return AveragedPeriod(f"{year:04}", calendar.begins(begins), calendar.ends(begins + 11))


class RateMissing(Failure):
    """There is no rate for a pair as of a day, or in a period: `base`, `counter`, and `on` or `period` say which."""

    def __init__(self, base: str, counter: str, on: date, period: str | None = None) -> None:
        super().__init__(f"no rate {base}/{counter} {f'in {period}' if period else f'as of {on}'}")
        self.base, self.counter, self.on, self.period = base, counter, on, period


class PublishedRate(NamedTuple):
    """`rate` of `counter` for one `base`, as published for `on`. `own`: of the organization, not everybody's."""

    provider: str
    base: str
    counter: str
    on: date
    rate: Decimal
    own: bool


class Conversion(NamedTuple):
    """How a currency becomes another: the exact ratio and the rates it is made of."""

    ratio: Fraction
    steps: tuple[RateStep, ...]


class _OfDay(NamedTuple):
    """A day's ratio and whose rates it is made of."""

    ratio: Fraction
    providers: frozenset[str]


SAME: Final = Conversion(Fraction(1), ())


class RateBook:
    """The rates known at one time. Where a day has several for a pair, the one that comes first counts.

    The caller gives them in the order of preference; here an organization's own go before everybody's.
    """

    def __init__(self, rates: Iterable[PublishedRate], pivots: Sequence[str] = PIVOTS) -> None:
        by_pair: dict[tuple[str, str], dict[date, PublishedRate]] = {}
        for rate in sorted(rates, key=lambda each: not each.own):
            by_pair.setdefault((rate.base, rate.counter), {}).setdefault(rate.on, rate)
        self._by_pair = {pair: (sorted(days), [days[day] for day in sorted(days)]) for pair, days in by_pair.items()}
        self._pivots = pivots
        self._found: dict[tuple[str, str, date], Conversion] = {}
        self._averages: dict[tuple[str, str, AveragedPeriod], Conversion] = {}

    def find(self, base: str, counter: str, on: date) -> Conversion:
        """Direct, else inverse, else across a pivot currency. Raises RateMissing."""
        if base == counter:
            return SAME
        key = (base, counter, on)
        if key not in self._found:
            found = self._between(base, counter, on) or self._crossed(base, counter, on)
            if found is None:
                raise RateMissing(base, counter, on)
            self._found[key] = found
        return self._found[key]

    def average(self, base: str, counter: str, period: AveragedPeriod) -> Conversion:
        """The mean of a period's rates. Raises RateMissing where not one of its days has any."""
        if base == counter:
            return SAME
        key = (base, counter, period)
        if key not in self._averages:
            days = self._days(base, counter, period) or self._crossed_days(base, counter, period)
            if not days:
                raise RateMissing(base, counter, period.last, period.name)
            self._averages[key] = _mean(base, counter, period, days)
        return self._averages[key]

    def _crossed(self, base: str, counter: str, on: date) -> Conversion | None:
        for pivot in self._pivots:
            first = self._between(base, pivot, on)
            second = self._between(pivot, counter, on)
            if first is not None and second is not None:
                return Conversion(first.ratio * second.ratio, (*first.steps, *second.steps))
        return None

    def _between(self, base: str, counter: str, on: date) -> Conversion | None:
        direct = self._latest(base, counter, on)
        if direct is not None:
            return Conversion(Fraction(direct.rate), (_step(direct, inverse=False),))
        inverse = self._latest(counter, base, on)
        if inverse is not None:
            return Conversion(1 / Fraction(inverse.rate), (_step(inverse, inverse=True),))
        return None

    def _latest(self, base: str, counter: str, on: date) -> PublishedRate | None:
        days, rates = self._by_pair.get((base, counter), ([], []))
        place = bisect_right(days, on) - 1
        if place < 0 or on - days[place] > timedelta(days=RATE_AGE_DAYS_MAX):
            return None
        return rates[place]

    def _days(self, base: str, counter: str, period: AveragedPeriod) -> dict[date, _OfDay]:
        """The ratio of each day of a period for which one was published."""
        direct = self._published(base, counter, period)
        if direct:
            return {rate.on: _OfDay(Fraction(rate.rate), frozenset({rate.provider})) for rate in direct}
        inverse = self._published(counter, base, period)
        return {rate.on: _OfDay(1 / Fraction(rate.rate), frozenset({rate.provider})) for rate in inverse}

    def _published(self, base: str, counter: str, period: AveragedPeriod) -> Sequence[PublishedRate]:
        days, rates = self._by_pair.get((base, counter), ([], []))
        return rates[bisect_left(days, period.first) : bisect_right(days, period.last)]

    def _crossed_days(self, base: str, counter: str, period: AveragedPeriod) -> dict[date, _OfDay]:
        for pivot in self._pivots:
            first, second = self._days(base, pivot, period), self._days(pivot, counter, period)
            both = {
                day: _OfDay(first[day].ratio * second[day].ratio, first[day].providers | second[day].providers)
                for day in sorted(first.keys() & second.keys())
            }
            if both:
                return both
        return {}


def _mean(base: str, counter: str, period: AveragedPeriod, days: dict[date, _OfDay]) -> Conversion:
    exact = sum((each.ratio for each in days.values()), Fraction(0)) / len(days)
    rate = Context(prec=AVERAGE_DIGITS, rounding=ROUND_HALF_EVEN).divide(
        Decimal(exact.numerator), Decimal(exact.denominator)
    )
    step: RateStep = {
        "base": base,
        "counter": counter,
        "rate": f"{rate:f}",
        "on": max(days).isoformat(),
        "provider": ", ".join(sorted(frozenset().union(*(each.providers for each in days.values())))),
        "inverse": False,
        "average": {"period": period.name, "since": min(days).isoformat(), "days": len(days)},
    }
    return Conversion(Fraction(rate), (step,))


def _step(rate: PublishedRate, *, inverse: bool) -> RateStep:
    return {
        "base": rate.base,
        "counter": rate.counter,
        "rate": f"{rate.rate:f}",
        "on": rate.on.isoformat(),
        "provider": rate.provider,
        "inverse": inverse,
    }
