"""The REST entrance of closing: days, months and years closed and reopened, how they stand, and what is unfinished.

A step is answered 200 with the record it became; where the books stood so already, with the last record of closing.
Its body may be left out; a reopening says its reason.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any

from annotated_types import Len
from fastapi import Query
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from libs.common.auth import Caller
from libs.common.clock import new_id
from libs.common.cursors import LIMIT_DEFAULT, Limit
from libs.common.days import WrittenDay
from libs.common.db import Pool
from libs.common.errors import Fault
from libs.common.http import (
    App,
    Operation,
    add_hot_route,
    authenticate,
    exchange_of,
    json_response,
    requires,
    router,
)
from libs.common.idempotency import key_of
from libs.common.journal import LongText, ShortText
from libs.common.openapi import REF
from libs.common.periods import CLOSE, REOPEN, DayClose, PeriodStep, PeriodText, YearStep, YearText
from libs.common.problems import malformed, rejection_problem
from services.ledger import commands, period_reads, reads
from services.ledger.answers import CloseCheckAnswer, ClosingAnswer, DayAnswer, PeriodsAnswer
from services.ledger.closing import Step
from services.ledger.commands import Books, Wish, fingerprint_of
from services.ledger.writes import KEY_PARAMETER, LEDGER_PARAMETER, PREFIX, asker_of, check, json_body, status_of

BOOKS = f"{PREFIX}/ledgers/{{ledger}}"

Reads = Annotated[Caller, requires("ledger:read")]


class CloseBody(BaseModel):
    """Why, where there is something to say."""

    model_config = ConfigDict(extra="forbid", strict=True)
    reason: LongText | None = None


class YearCloseBody(CloseBody):
    """`retained_earnings`: the account that takes the result, where the ledger names none or another shall."""

    retained_earnings: ShortText | None = None


class ReopenBody(BaseModel):
    """Why it is opened again."""

    model_config = ConfigDict(extra="forbid", strict=True)
    reason: Annotated[str, Len(1, 2_000)]


CLOSING = TypeAdapter(ClosingAnswer)
PERIOD = TypeAdapter(PeriodText)
YEAR = TypeAdapter(YearText)
DAY: TypeAdapter[date] = TypeAdapter(WrittenDay)


@dataclass(frozen=True, slots=True)
class StepRoute:
    """A POST route of closing: how its path and body become a step."""

    path: str
    scope: str
    body: type[BaseModel]
    step: Callable[[str, Any], Step]
    summary: str

    @property
    def parameter(self) -> str:
        """The name of the path's own parameter beside the ledger."""
        return self.path.split("{")[1].split("}")[0]


ROUTES = (
    StepRoute("/days/{date}/close", CLOSE, CloseBody,
              lambda text, _: DayClose(day=_checked(DAY, "date", text)), "Close a day and all before it"),
    StepRoute("/periods/{period}/soft-close", CLOSE, CloseBody,
              lambda text, body: PeriodStep(period=_checked(PERIOD, "period", text), step="soft-close",
                                            reason=body.reason), "Close a month to all but those who may adjust"),
    StepRoute("/periods/{period}/close", CLOSE, CloseBody,
              lambda text, body: PeriodStep(period=_checked(PERIOD, "period", text), step="close",
                                            reason=body.reason), "Close a month"),
    StepRoute("/periods/{period}/reopen", REOPEN, ReopenBody,
              lambda text, body: PeriodStep(period=_checked(PERIOD, "period", text), step="reopen",
                                            reason=body.reason), "Reopen the last closed month"),
    StepRoute("/years/{year}/close", CLOSE, YearCloseBody,
              lambda text, body: YearStep(year=int(_checked(YEAR, "year", text)), step="close", reason=body.reason,
                                          retained_earnings=body.retained_earnings), "Close a fiscal year"),
    StepRoute("/years/{year}/reopen", REOPEN, ReopenBody,
              lambda text, body: YearStep(year=int(_checked(YEAR, "year", text)), step="reopen", reason=body.reason),
              "Reopen the last closed fiscal year"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PeriodApi:
    """What the routes work on: books to close, the reader's pool to read."""

    books: Books
    reader: Pool

    def add_to(self, app: App) -> None:
        """Puts every route into the application."""
        routes = router(BOOKS)
        routes.add_api_route("/days/{date}", self.day, summary="A day: whether it is closed, its balances' versions")
        routes.add_api_route("/periods", self.periods, summary="Months from the first entry to now, and years")
        routes.add_api_route("/periods/{period}/close-check", self.close_check, summary="What a close waits for")
        app.include_router(routes)
        for route in ROUTES:
            self._add_step(app, route)

    def _add_step(self, app: App, route: StepRoute) -> None:
        async def respond(request: Request) -> Response:
            return await self._take(request, route)

        path, body = BOOKS + route.path, route.body.__name__
        shapes: dict[str, TypeAdapter[Any]] = {"date": DAY, "period": PERIOD, "year": YEAR}
        schema = shapes[route.parameter].json_schema()
        own = {"name": route.parameter, "in": "path", "required": True, "schema": schema}
        entry = {
            "summary": route.summary,
            "parameters": [KEY_PARAMETER, LEDGER_PARAMETER, own],
            "requestBody": {
                "required": route.body is ReopenBody,
                "content": {"application/json": {"schema": {"$ref": REF.format(model=body)}}},
            },
            "responses": {
                "200": {
                    "description": "It stands so.",
                    "content": {"application/json": {"schema": {"$ref": REF.format(model="ClosingAnswer")}}},
                }
            },
        }
        models: dict[str, Any] = {
            body: (TypeAdapter(route.body), "validation"),
            "ClosingAnswer": (CLOSING, "serialization"),
        }
        add_hot_route(app, path, respond, Operation("POST", path, route.scope, entry, models))

    async def _take(self, request: Request, route: StepRoute) -> Response:
        caller = await authenticate(request, route.scope)
        raw, value = await json_body(request, empty={})
        body = check(TypeAdapter(route.body), raw, value)
        step = route.step(request.path_params[route.parameter], body)
        ledger = await self.books.get(caller.own_organization(), request.path_params["ledger"])
        wish = Wish(
            asker=asker_of(caller),
            ledger=ledger.code,
            request=step,
            key=key_of(request, required=False) or str(new_id()),
            fingerprint=fingerprint_of([route.path, step]),
            size=len(raw),
            lookup=True,
            traceparent=exchange_of(request).traceparent,
        )
        answer = await commands.ask_step(self.books, ledger, wish)
        headers = {"Idempotency-Replayed": "true"} if answer.replayed else {}
        if answer.rejection is not None:
            problem = rejection_problem(answer.rejection, status_of(answer.rejection))
            problem.headers.update(headers)
            raise problem
        return json_response(answer.body, 200, headers)

    async def day(
        self, ledger: str, date: WrittenDay, caller: Reads,
        after: Annotated[int, Query(ge=0, le=2**31)] = 0, limit: Limit = LIMIT_DEFAULT,
    ) -> DayAnswer:  # fmt: skip
        books = await self.books.get(caller.own_organization(), ledger)
        async with reads.as_reader(self.reader, caller.own_organization(), books) as connection:
            return await period_reads.read_day(connection, books, date, after, limit)

    async def periods(self, ledger: str, caller: Reads) -> PeriodsAnswer:
        books = await self.books.get(caller.own_organization(), ledger)
        today = books.accounting_day(self.books.clock())
        async with reads.as_reader(self.reader, caller.own_organization(), books) as connection:
            return await period_reads.read_periods(connection, books, today)

    async def close_check(self, ledger: str, period: PeriodText, caller: Reads) -> CloseCheckAnswer:
        books = await self.books.get(caller.own_organization(), ledger)
        today, waiting = books.accounting_day(self.books.clock()), self.books.writer_of(books).queue_length
        async with reads.as_reader(self.reader, caller.own_organization(), books) as connection:
            return await period_reads.check_period(connection, books, period, today, waiting)


def _checked(model: TypeAdapter[Any], name: str, text: str) -> Any:
    try:
        return model.validate_strings(text)
    except ValidationError as error:
        wanted = {"date": "a date such as 2026-11-21", "period": "a month such as 2026-11", "year": "a year"}[name]
        raise malformed([Fault(f"/{name}", f"is not {wanted}")]) from error
