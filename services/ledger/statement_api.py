"""The financial statements over REST: profit and loss, balance sheet, cash flow; JSON, or CSV on `Accept: text/csv`.

`to` is the ledger's accounting day unless given, `from` the first day of its fiscal year. `compare` adds columns: a
range "2024-01-01..2024-12-31", or a day, which means its fiscal year up to it. The same question with `sequence` and
`rates_known_at` stated has the same bytes for an answer.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, Final

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from libs.common.auth import Caller
from libs.common.csv_text import MEDIA_TYPE
from libs.common.days import WrittenDay, WrittenInstant
from libs.common.db import Pool
from libs.common.errors import Fault, Problem
from libs.common.http import App, json_response, requires, router
from libs.common.journal import Pattern
from libs.common.traces import start_span
from services.ledger import reads
from services.ledger.commands import Books
from services.ledger.financial_statements import Report, Statements, Wanted
from services.ledger.reports.rates import AverageOver
from services.ledger.reports.sections import Period, StatementAnswer, fiscal_year_start
from services.ledger.reports.statement_csv import as_csv
from services.ledger.state import Ledger

PREFIX: Final = "/api/v1"
COMPARED_MAX: Final = 11

_DAY: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_COMPARED: Final = re.compile(rf"({_DAY}\.\.)?{_DAY}")

Reads = Annotated[Caller, requires("ledger:read")]
Day = WrittenDay | None
From = Annotated[Day, Query(alias="from", description="first day; the fiscal year's unless given")]
To = Annotated[Day, Query(description="last day; the ledger's accounting day unless given")]
Compare = Annotated[
    list[Annotated[str, Pattern(f"^{_COMPARED.pattern}$")]] | None,
    Query(max_length=COMPARED_MAX, description="further columns, each a day or a range such as 2024-01-01..2024-12-31"),
]
Sequence_ = Annotated[int | None, Query(ge=0, le=2**62, description="what was known then; now unless given")]
CurrencyCode = Annotated[str | None, Query(max_length=24, description="this currency alone")]
TranslateTo = Annotated[str | None, Query(max_length=24, description="everything in this currency")]
KnownAt = Annotated[WrittenInstant | None, Query(description="use rates known at this instant; all unless given")]
RatesProvider = Annotated[str | None, Query(min_length=1, max_length=200, description="rates of this provider alone")]
AverageRates = Annotated[
    AverageOver | None,
    Query(description="income and expense at the average rate of each of these, to a presentation currency"),
]
Level = Annotated[int | None, Query(ge=1, le=100, description="depth of the tree of accounts; all unless given")]
Zero = Annotated[bool, Query(description="rows of zeros too")]


@dataclass(frozen=True, slots=True)
class _Options:
    """What all three statements can be told."""

    compare: Sequence[str]
    sequence: int | None
    currency: str | None
    translate_to: str | None
    rates_known_at: datetime | None
    level: int | None
    zero: bool
    rates_provider: str | None
    average_rates: AverageOver | None


@dataclass(frozen=True, slots=True)
class StatementApi:
    """Reads with the reader's pool, under row-level security."""

    books: Books
    reader: Pool

    def add_to(self, app: App) -> None:
        """Puts every route into the application."""
        routes = router(PREFIX)
        responses: dict[int | str, dict[str, Any]] = {
            200: {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "The statement"}
        }
        for name, respond, summary in (
            ("profit-and-loss", self.profit_and_loss, "Income less expense of a range"),
            ("balance-sheet", self.balance_sheet, "Assets, liabilities and equity as of a day"),
            ("cash-flow", self.cash_flow, "Where cash came from and went to in a range"),
        ):
            routes.add_api_route(
                f"/ledgers/{{ledger}}/reports/{name}",
                respond,
                summary=summary,
                response_model=StatementAnswer,
                responses=responses,
            )
        app.include_router(routes)

    async def profit_and_loss(
        self, request: Request, ledger: str, caller: Reads, from_: From = None, to: To = None,
        compare: Compare = None, sequence: Sequence_ = None, currency: CurrencyCode = None,
        translate_to: TranslateTo = None, rates_known_at: KnownAt = None, level: Level = None, zero: Zero = False,
        rates_provider: RatesProvider = None, average_rates: AverageRates = None,
    ) -> Response:  # fmt: skip
        options = _Options(
            compare or (), sequence, currency, translate_to, rates_known_at, level, zero, rates_provider, average_rates
        )
        return await self._respond(request, caller, ledger, "profit-and-loss", (from_, to), options)

    async def balance_sheet(
        self, request: Request, ledger: str, caller: Reads, to: To = None, compare: Compare = None,
        sequence: Sequence_ = None, currency: CurrencyCode = None, translate_to: TranslateTo = None,
        rates_known_at: KnownAt = None, level: Level = None, zero: Zero = False,
        rates_provider: RatesProvider = None, average_rates: AverageRates = None,
    ) -> Response:  # fmt: skip
        options = _Options(
            compare or (), sequence, currency, translate_to, rates_known_at, level, zero, rates_provider, average_rates
        )
        return await self._respond(request, caller, ledger, "balance-sheet", (None, to), options)

    async def cash_flow(
        self, request: Request, ledger: str, caller: Reads, from_: From = None, to: To = None,
        compare: Compare = None, sequence: Sequence_ = None, currency: CurrencyCode = None,
        translate_to: TranslateTo = None, rates_known_at: KnownAt = None, level: Level = None, zero: Zero = False,
        rates_provider: RatesProvider = None,
    ) -> Response:  # fmt: skip
        options = _Options(
            compare or (), sequence, currency, translate_to, rates_known_at, level, zero, rates_provider, None
        )
        return await self._respond(request, caller, ledger, "cash-flow", (from_, to), options)

    async def _respond(
        self, request: Request, caller: Caller, code: str, report: Report, ends: tuple[Day, Day], options: _Options
    ) -> Response:
        organization = caller.own_organization()
        ledger = await self.books.get(organization, code)
        async with reads.as_reader(self.reader, organization) as connection:
            facts = await reads.read_ledger(connection, code)
        assert facts is not None, "a ledger that is there is never removed"
        _check(options, ledger)
        today = ledger.accounting_day(self.books.clock())
        wanted = Wanted(
            report=report,
            periods=periods_of(report, ends, options.compare, today, facts["fiscal_year_start"]),
            year_begins=facts["fiscal_year_start"],
            sequence=options.sequence,
            currency=options.currency,
            translate_to=options.translate_to,
            rates_known_at=options.rates_known_at,
            level=options.level,
            zero=options.zero,
            rates_provider=options.rates_provider,
            average_rates=options.average_rates,
        )
        return await _told(request, Statements(self.reader, organization, ledger), wanted, ledger)


async def _told(request: Request, statements: Statements, wanted: Wanted, ledger: Ledger) -> Response:
    with start_span(f"report {wanted.report}"):
        answer = await statements.answer(wanted)
    if "text/csv" not in request.headers.get("accept", ""):
        return json_response(answer)
    name = f"{ledger.code}-{wanted.report}-{wanted.periods[0].through}.csv"
    disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(as_csv(answer), media_type=MEDIA_TYPE, headers=disposition)


def _check(options: _Options, ledger: Ledger) -> None:
    if options.translate_to is None and options.rates_provider is not None:
        raise _malformed("rates_provider", "says whose rates translate, and translate_to is not given")
    if options.average_rates is not None and options.translate_to in (None, ledger.functional_currency.code):
        raise _malformed(
            "average_rates", f"is for a presentation currency in translate_to, not {ledger.functional_currency.code}"
        )
    if options.currency is not None and options.translate_to is not None:
        raise _malformed("currency", "chooses among currencies, and translate_to leaves but one")
    if options.rates_known_at is not None and options.rates_known_at.tzinfo is None:
        raise _malformed("rates_known_at", "has no zone")


def periods_of(
    report: Report, ends: tuple[Day, Day], compare: Sequence[str], today: date, year_begins: str
) -> list[Period]:
    """The columns asked for. Raises Problem 422 where a range ends before it begins or cannot be read."""
    is_range = report != "balance-sheet"
    since, through = ends[0], ends[1] or today
    periods = [_period("current", "to", since, through, is_range, year_begins)]
    for number, text in enumerate(compare, 1):
        if not _COMPARED.fullmatch(text):
            raise _malformed("compare", "is neither a day nor a range such as 2024-01-01..2024-12-31")
        try:
            days = [date.fromisoformat(day) for day in text.split("..")]
        except ValueError:
            raise _malformed("compare", "names a day that is none") from None
        if len(days) > 1 and not is_range:
            raise _malformed("compare", "is a range; a balance sheet is as of a day")
        first = days[0] if len(days) > 1 else None
        periods.append(_period(f"compare-{number}", "compare", first, days[-1], is_range, year_begins))
    return periods


def _period(name: str, where: str, since: Day, through: date, is_range: bool, year_begins: str) -> Period:
    if through.year <= 1:
        raise _malformed(where, "is before all books")
    if not is_range:
        return Period(name, None, through)
    first = since or fiscal_year_start(through, year_begins)
    if first > through:
        raise _malformed(where, f"is before the first day, {first}")
    return Period(name, first, through)


def _malformed(parameter: str, detail: str) -> Problem:
    return Problem(
        422, "malformed", f"/{parameter} {detail}.", errors=[Fault(f"/{parameter}", detail)],
    )  # fmt: skip
