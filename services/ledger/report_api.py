"""The ledger's REST entrance for balances and reports: JSON, or CSV where the caller accepts `text/csv`.

A report is asked for with days (`from`, `to`), a sequence, or both; without a sequence it is made at the head, and says
which that was. Asked again with that sequence it is the same to the byte. What may be long is streamed.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Annotated, Any

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from libs.common import csv_text
from libs.common.auth import Caller
from libs.common.cursors import LIMIT_DEFAULT, Limit, decode_cursor, encode_cursor, page
from libs.common.days import WrittenDay
from libs.common.db import Pool
from libs.common.http import App, exchange_of, json_response, router
from libs.common.money import to_text
from services.ledger import report_streams
from services.ledger.balance_reads import AccountRead, read_turnover
from services.ledger.commands import Books
from services.ledger.reads import as_reader
from services.ledger.report_ranges import (
    CurrencyCode,
    From,
    Reads,
    Sequence,
    To,
    Zero,
    account_of,
    check_range,
    day_of,
    exponents_of,
    state,
    sums_before,
    turnover_before,
    with_currency,
)
from services.ledger.report_streams import LedgerPart
from services.ledger.reports import tree
from services.ledger.reports import trial_balance as trial_balances
from services.ledger.reports.answers import (
    AccountStatement,
    GeneralLedger,
    JournalReport,
    Stated,
    TrialBalance,
)
from services.ledger.reports.running import Place, Running
from services.ledger.reports.trial_balance import Readings, Shown, tie_out
from services.ledger.state import Ledger
from services.ledger.sums import read_earlier, read_head, read_sums

PREFIX = "/api/v1"
ACCOUNT = "/ledgers/{ledger}/accounts/{code}"
REPORTS = "/ledgers/{ledger}/reports"
CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}


@dataclass(frozen=True, slots=True)
class ReportApi:
    """What the routes read from."""

    books: Books
    reader: Pool

    def add_to(self, app: App) -> None:
        """Puts every route into the application."""
        routes = router(PREFIX)
        listed: tuple[tuple[str, Callable[..., Any], Any, str], ...] = (
            (f"{ACCOUNT}/statement", self.statement, AccountStatement, "Lines by effective day, with running balance"),
            (f"{REPORTS}/trial-balance", self.trial_balance, TrialBalance, "Turnover and balance of every account"),
            (f"{REPORTS}/general-ledger", self.general_ledger, GeneralLedger, "Every account with its lines"),
            (f"{REPORTS}/journal", self.journal, JournalReport, "Entries in the order of posting"),
        )
        for path, respond, model, summary in listed:
            routes.add_api_route(path, respond, summary=summary, response_model=model, responses=CSV)
        app.include_router(routes)

    async def trial_balance(
        self, ledger: str, request: Request, caller: Reads, from_: From = None, to: To = None,
        compare: Annotated[WrittenDay | None, Query(description="Also the figures as of this day.")] = None,
        sequence: Sequence = None, currency: CurrencyCode = None, zero: Zero = True,
        level: Annotated[int | None, Query(ge=1, le=100, description="Deepest level of the tree shown.")] = None,
    ) -> Response:  # fmt: skip
        check_range(from_, to)
        books = await self._ledger(caller, ledger)
        async with as_reader(self.reader, caller.own_organization(), books) as connection:
            at, closing = await read_sums(connection, books, since=None, through=to, sequence=sequence)
            readings = Readings(
                closing,
                await sums_before(connection, books, from_, at) if from_ is not None else None,
                (await read_sums(connection, books, since=from_, through=to, sequence=at))[1] if from_ else None,
                (await read_sums(connection, books, since=None, through=compare, sequence=at))[1] if compare else None,
            )
            stated = await state(connection, "trial-balance", books, from_, to, at)
        report = trial_balances.trial_balance(
            stated, compare.isoformat() if compare else None, readings, Shown(currency, zero, level)
        )
        return _trial_balance_csv(report, stated) if _wants_csv(request) else json_response(report)

    async def statement(
        self, ledger: str, code: str, request: Request, caller: Reads, from_: From = None, to: To = None,
        sequence: Sequence = None, cursor: str | None = None, limit: Limit = LIMIT_DEFAULT,
    ) -> Response:  # fmt: skip
        check_range(from_, to)
        books = await self._ledger(caller, ledger)
        name = f"{caller.own_organization()}/{ledger}/accounts/{code}/statement"
        after: Place | None = None
        running_from: list[str] = []
        if cursor:
            begun = decode_cursor(cursor, name, {"from": from_, "to": to, "sequence": sequence})
            from_, to = day_of(begun.filters.get("from")), day_of(begun.filters.get("to"))
            sequence = begun.filters["sequence"]
            day, at, line, *running_from = begun.position
            after = Place(date.fromisoformat(day), at, line)
        async with as_reader(self.reader, caller.own_organization(), books) as connection:
            account = with_currency(await account_of(connection, books, code))
            at = await read_head(connection, books, sequence)
            earlier = (await read_earlier(connection, books, at)).get(account.no)
            account = account if earlier is None else replace(account, name=earlier["name"])
            before = await turnover_before(connection, books, account, from_, at)
            through = await read_turnover(connection, books, account, to, at)
            stated = await state(connection, "account-statement", books, from_, to, at)
        opening, closing = (tree.on_side(account.normal_side, *sums) for sums in (before, through))
        head = _statement_head(stated, account, opening, closing, (through[0] - before[0], through[1] - before[1]))
        reading = report_streams.Books(self.reader, caller.own_organization(), books, from_, to, at)
        run = Running(account.normal_side, account.exponent, opening)
        if _wants_csv(request):
            currency = head["currency"]
            rows = report_streams.statement_csv(reading, account.no, run, closing, head, currency)
            return _stream(request, rows, csv_text.MEDIA_TYPE)
        if running_from:
            run.balance = int(running_from[0])
        filters = {"from": from_, "to": to, "sequence": at}
        return json_response(await _statement_page(reading, account, run, after, limit, head, closing, name, filters))

    async def general_ledger(
        self, ledger: str, request: Request, caller: Reads, from_: From = None, to: To = None,
        sequence: Sequence = None, currency: CurrencyCode = None, zero: Zero = False,
    ) -> Response:  # fmt: skip
        check_range(from_, to)
        books = await self._ledger(caller, ledger)
        async with as_reader(self.reader, caller.own_organization(), books) as connection:
            at = await read_head(connection, books, sequence)
            _, closing = await read_sums(connection, books, since=None, through=to, sequence=at)
            opening = {each.no: each for each in await sums_before(connection, books, from_, at)}
            stated = await state(connection, "general-ledger", books, from_, to, at)
        parts = [
            LedgerPart(opening[each.no], each)
            for each in closing
            if each.currency is not None and currency in (None, each.currency) and (zero or each.debits or each.credits)
        ]
        reading = report_streams.Books(self.reader, caller.own_organization(), books, from_, to, at)
        if _wants_csv(request):
            return _stream(
                request, report_streams.general_ledger_csv(reading, stated, parts), csv_text.MEDIA_TYPE
            )  # fmt: skip
        return _stream(request, report_streams.general_ledger_json(reading, stated, parts), "application/json")

    async def journal(
        self, ledger: str, request: Request, caller: Reads, from_: From = None, to: To = None,
        sequence: Sequence = None,
    ) -> Response:  # fmt: skip
        check_range(from_, to)
        books = await self._ledger(caller, ledger)
        async with as_reader(self.reader, caller.own_organization(), books) as connection:
            at, accounts = await read_sums(connection, books, since=None, through=None, sequence=sequence)
            stated = await state(connection, "journal", books, from_, to, at)
        exponents = exponents_of(accounts)
        reading = report_streams.Books(self.reader, caller.own_organization(), books, from_, to, at)
        if _wants_csv(request):
            return _stream(request, report_streams.journal_csv(reading, stated, exponents), csv_text.MEDIA_TYPE)
        return _stream(request, report_streams.journal_json(reading, stated, exponents), "application/json")

    async def _ledger(self, caller: Caller, code: str) -> Ledger:
        return await self.books.get(caller.own_organization(), code)


def _statement_head(
    stated: Stated, account: AccountRead, opening: int, closing: int, turnover: tuple[int, int]
) -> dict[str, Any]:
    return {
        **stated,
        "account": account.code,
        "name": account.name,
        "currency": account.currency,
        "normal_side": account.normal_side,
        "opening": to_text(opening, account.exponent),
        "debits": to_text(turnover[0], account.exponent),
        "credits": to_text(turnover[1], account.exponent),
        "closing": to_text(closing, account.exponent),
    }


async def _statement_page(
    reading: report_streams.Books, account: AccountRead, run: Running, after: Place | None, limit: int,
    head: dict[str, Any], closing: int, name: str, filters: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """One page; on the last one the running balance has to be the closing one."""
    pieces = report_streams.slices(reading, account.no, run, after, limit)
    items = [line async for piece in pieces for line in piece]
    following, ties = None, []
    if len(items) == limit:
        last = items[-1]
        position = [last["effective_on"], last["sequence"], last["line"], str(run.balance)]
        following = encode_cursor(name, filters, position)
    else:
        ties = [tie_out("lines-make-closing", head["currency"], account.exponent, run.balance, closing)]
    return {**head, **page(items, following), "tie_outs": ties}


def _wants_csv(request: Request) -> bool:
    return "text/csv" in request.headers.get("accept", "")


def _trial_balance_csv(report: TrialBalance, stated: Stated) -> Response:
    columns = list(trial_balances.COLUMNS)
    columns += trial_balances.MOVEMENT_COLUMNS if stated["from"] else ()
    columns += trial_balances.COMPARE_COLUMNS if report["compare"] else ()
    rows = [
        {**row, "heading": f"{row['heading']['number']} {row['heading']['name']}" if row["heading"] else None}
        for row in report["rows"]
    ]
    content = [
        csv_text.table([columns]),
        csv_text.records(columns, trial_balances.AMOUNT_COLUMNS, rows),
        csv_text.stated(report),
    ]
    return Response(b"".join(content), media_type=csv_text.MEDIA_TYPE)


def _stream(request: Request, pieces: AsyncIterator[bytes], media_type: str) -> StreamingResponse:
    exchange_of(request).lift_deadline()
    return StreamingResponse(pieces, media_type=media_type)
