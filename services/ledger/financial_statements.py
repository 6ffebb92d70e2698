"""Financial statements, from the question to the answer: reads in short transactions, then pure building.

    wanted -> sequence (the head unless asked for) -> sums by account, or by account and day where translated
           -> rates as known at one instant -> services.ledger.reports builds the answer

Everything read is bounded by the sequence and by `rates_known_at`, and what is before both never changes, so several
transactions see one state and the same question with both stated gives the same bytes. The instant is the last one a
rate became known at, unless asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, Literal

from libs.common.db import Pool
from libs.common.errors import Problem
from libs.common.money import ISO_4217, Currency
from services.ledger import reads
from services.ledger.account_sum import AccountSum
from services.ledger.financial_reads import (
    cash_blocks,
    list_providers,
    read_cash_lines,
    read_known_at,
    read_rates,
)
from services.ledger.records import instant
from services.ledger.reports import balance_sheet, cash_flow, profit_and_loss
from services.ledger.reports.rates import (
    PIVOTS,
    RATE_AGE_DAYS_MAX,
    AverageOver,
    RateBook,
    RateMissing,
    averaged_period,
)
from services.ledger.reports.sections import (
    CurrencyAnswer,
    Layout,
    Period,
    StatementAnswer,
    Translated,
    all_hold,
    column_answer,
    day_before,
    fiscal_year_start,
)
from services.ledger.reports.translation import (
    ROUNDING,
    Days,
    Translator,
    days_of,
)
from services.ledger.state import Ledger
from services.ledger.sums import read_daily_sums, read_head, read_sums

Report = Literal["profit-and-loss", "balance-sheet", "cash-flow"]

CLOSING: Final = ("closing",)
TO_FUNCTIONAL: Final = (
    "monetary assets and liabilities at the closing rate; other assets and liabilities, and equity, at each entry's "
    "date; income, expense and flows at each day's rate; both ends of cash at the closing rate of their day"
)
TO_PRESENTATION: Final = (
    "assets and liabilities at the closing rate; equity at each entry's date; income, expense and flows at each day's "
    "rate; both ends of cash at the closing rate of their day"
)

TO_PRESENTATION_AT_AVERAGES: Final = (
    "assets and liabilities at the closing rate; equity at each entry's date; income and expense at the average rate "
    "of the {over} of each day"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A statement someone asks for. `currency` leaves out all others; `translate_to` puts everything into one.

    Translated with the rates of `rates_provider` alone where one is named, and with income and expense at the average
    of each month, quarter or fiscal year where `average_rates` names that.
    """

    report: Report
    periods: Sequence[Period]
    year_begins: str
    sequence: int | None
    currency: str | None
    translate_to: str | None
    rates_known_at: datetime | None
    level: int | None
    zero: bool
    rates_provider: str | None = None
    average_rates: AverageOver | None = None


@dataclass(frozen=True, slots=True)
class Statements:
    """Reads one organization's books with the reader's role."""

    reader: Pool
    organization: str
    ledger: Ledger

    async def answer(self, wanted: Wanted) -> StatementAnswer:
        """The statement. Raises Problem 422: sequence-not-reached, unknown-currency, unknown-provider, rate-missing."""
        async with reads.as_reader(self.reader, self.organization, self.ledger) as connection:
            at = await read_head(connection, self.ledger, wanted.sequence)
            _, accounts = await read_sums(connection, self.ledger, since=None, through=None, sequence=at)
        layout = Layout({account.no: account for account in accounts}, wanted.level, wanted.zero)
        translation: Translated | None = None
        if wanted.currency is not None:
            await self._currency(wanted.currency)
        if wanted.translate_to is None:
            currencies = await self._untranslated(wanted, layout, at)
        else:
            target = await self._currency(wanted.translate_to)
            known_at = await self._known_at(wanted)
            await self._require_provider(wanted.rates_provider, known_at)
            translation = _translated(target, self.ledger.functional_currency, known_at, wanted)
            currencies = [await self._in_one(wanted, layout, at, target, known_at)]
        return {
            "report": wanted.report,
            "ledger": self.ledger.code,
            "sequence": at,
            "columns": [column_answer(period) for period in wanted.periods],
            "fiscal_year_start": wanted.year_begins,
            "level": wanted.level,
            "zero": wanted.zero,
            "translation": translation,
            "notes": [_NOTES[wanted.report]],
            "currencies": currencies,
            "holds": all_hold(currencies),
        }

    async def _untranslated(self, wanted: Wanted, layout: Layout, at: int) -> list[CurrencyAnswer]:
        if wanted.report == "profit-and-loss":
            ranges = [
                profit_and_loss.Range(period, await self._sums(period.since, period.through, at, CLOSING))
                for period in wanted.periods
            ]
            return profit_and_loss.untranslated(layout, ranges, wanted.currency)
        if wanted.report == "balance-sheet":
            columns = []
            for period in wanted.periods:
                last = day_before(fiscal_year_start(period.through, wanted.year_begins))
                sums = await self._sums(None, period.through, at)
                columns.append(balance_sheet.AsOf(period, sums, await self._sums(None, last, at)))
            return balance_sheet.untranslated(layout, columns, wanted.currency)
        cash = [await self._cash_column(period, layout, at) for period in wanted.periods]
        return cash_flow.untranslated(layout, cash, wanted.currency)

    async def _in_one(
        self, wanted: Wanted, layout: Layout, at: int, target: Currency, known_at: datetime | None
    ) -> CurrencyAnswer:
        last = max(period.through for period in wanted.periods)
        cash: list[cash_flow.CashColumn] = []
        days = Days(layout.accounts, {}, {})
        if wanted.report == "cash-flow":
            cash = [await self._cash_column(period, layout, at) for period in wanted.periods]
            first = min((day_before(period.since) for period in wanted.periods if period.since), default=last)
        else:
            days = await self._days(layout, last, at)
            first = min((nets[0][0] for nets in (*days.nets.values(), *days.closings.values()) if nets), default=last)
        translator = await self._translator(wanted, layout, target, known_at, min(first, last), last)
        try:
            if wanted.report == "cash-flow":
                return cash_flow.translated(layout, cash, translator)
            if wanted.report == "balance-sheet":
                return balance_sheet.translated(layout, wanted.periods, days, translator)
            return profit_and_loss.translated(layout, wanted.periods, days, translator)
        except RateMissing as missing:
            raise _rate_missing(missing, known_at, wanted.rates_provider) from missing

    async def _translator(
        self, wanted: Wanted, layout: Layout, target: Currency, known_at: datetime | None, first: date, last: date
    ) -> Translator:
        functional = self.ledger.functional_currency
        pivots = tuple(dict.fromkeys((functional.code, *PIVOTS)))
        used = {account.currency for account in layout.accounts.values() if account.currency is not None}
        codes = sorted({*used, target.code, *pivots})
        over, provider = wanted.average_rates, wanted.rates_provider
        if over is not None:
            first = averaged_period(over, first, wanted.year_begins).first
            last = averaged_period(over, last, wanted.year_begins).last
        async with reads.as_reader(self.reader, self.organization, self.ledger) as connection:
            rates = [] if known_at is None else await read_rates(connection, codes, first, last, known_at, provider)
        return Translator(target, functional, wanted.year_begins, RateBook(rates, pivots), over)

    async def _sums(
        self, since: date | None, through: date, at: int, without_kinds: tuple[str, ...] = ()
    ) -> list[AccountSum]:
        async with reads.as_reader(self.reader, self.organization, self.ledger) as connection:
            _, sums = await read_sums(
                connection, self.ledger, since=since, through=through, sequence=at, without_kinds=without_kinds
            )
        return sums

    async def _days(self, layout: Layout, through: date, at: int) -> Days:
        async with reads.as_reader(self.reader, self.organization, self.ledger) as connection:
            _, daily = await read_daily_sums(connection, self.ledger, since=None, through=through, sequence=at)
            _, without = await read_daily_sums(
                connection, self.ledger, since=None, through=through, sequence=at, without_kinds=CLOSING
            )
        return days_of(layout.accounts.values(), daily, without)

    async def _cash_column(self, period: Period, layout: Layout, at: int) -> cash_flow.CashColumn:
        assert period.since is not None, "a cash flow has a beginning"
        cash = [account.no for account in layout.accounts.values() if account.cash and account.currency is not None]
        async with reads.as_reader(self.reader, self.organization, self.ledger) as connection:
            blocks = await cash_blocks(connection, self.ledger, cash, period.since, period.through, at)
        flows: list[cash_flow.Flow] = []
        for block in blocks:
            async with reads.as_reader(self.reader, self.organization, self.ledger) as connection:
                lines = await read_cash_lines(connection, self.ledger, cash, period.since, period.through, block, at)
            flows = cash_flow.added(flows, cash_flow.flows_of(lines, layout.accounts))
        opening = await self._sums(None, day_before(period.since), at) if period.since > date.min else []
        return cash_flow.CashColumn(period, flows, opening, await self._sums(None, period.through, at))

    async def _currency(self, code: str) -> Currency:
        if code in ISO_4217:
            return ISO_4217[code]
        async with reads.as_reader(self.reader, self.organization) as connection:
            own = {each["code"]: each["decimals"] for each in await reads.list_currencies(connection)}
        if code not in own:
            raise Problem(
                422, "unknown-currency", f"{code!r} is neither in ISO 4217 nor one of the organization's own."
            )
        return Currency(code, own[code])

    async def _require_provider(self, provider: str | None, known_at: datetime | None) -> None:
        if provider is None:
            return
        async with reads.as_reader(self.reader, self.organization, self.ledger) as connection:
            known = await list_providers(connection, known_at)
        if provider not in known:
            raise Problem(
                422,
                "unknown-provider",
                f"No rate of a provider {provider!r} is known; there are rates of {', '.join(known) or 'nobody'}.",
                facts={"rates_provider": provider, "providers": known, "rates_known_at": _told_instant(known_at)},
            )

    async def _known_at(self, wanted: Wanted) -> datetime | None:
        if wanted.rates_known_at is not None:
            return wanted.rates_known_at
        async with reads.as_reader(self.reader, self.organization, self.ledger) as connection:
            return await read_known_at(connection)


_NOTES: Final[dict[Report, str]] = {
    "profit-and-loss": profit_and_loss.NOTE,
    "balance-sheet": balance_sheet.NOTE,
    "cash-flow": cash_flow.NOTE,
}


def _told_instant(at: datetime | None) -> str | None:
    return instant(at) if at is not None else None


def _rules(target: Currency, functional: Currency, over: AverageOver | None) -> str:
    if target.code == functional.code:
        return TO_FUNCTIONAL
    return TO_PRESENTATION if over is None else TO_PRESENTATION_AT_AVERAGES.format(over=over)


def _translated(target: Currency, functional: Currency, known_at: datetime | None, wanted: Wanted) -> Translated:
    return {
        "to": target.code,
        "functional_currency": functional.code,
        "rules": _rules(target, functional, wanted.average_rates),
        "rounding": ROUNDING.value,
        "rate_age_days_max": RATE_AGE_DAYS_MAX,
        "rates_known_at": _told_instant(known_at),
        "rates_provider": wanted.rates_provider,
        "average_rates": wanted.average_rates,
    }


def _rate_missing(missing: RateMissing, known_at: datetime | None, provider: str | None) -> Problem:
    whose = f" of {provider}" if provider is not None else ""
    when = f"as of {missing.on}, nor of the {RATE_AGE_DAYS_MAX} days before"
    if missing.period is not None:
        when = f"for any day of {missing.period}, so it has no average"
    return Problem(
        422,
        "rate-missing",
        f"There is no rate{whose} between {missing.base} and {missing.counter} {when}.",
        facts={
            "base": missing.base,
            "counter": missing.counter,
            "on": missing.on.isoformat(),
            "period": missing.period,
            "rates_provider": provider,
            "rates_known_at": _told_instant(known_at),
        },
    )
