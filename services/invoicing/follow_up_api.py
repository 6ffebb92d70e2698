"""What follows up over REST: a customer's statement (JSON, CSV or a page), and the forecast of cash."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from libs.common import csv_text
from libs.common.auth import Caller
from libs.common.csv_text import Amount, table
from libs.common.db import Connection
from libs.common.errors import Fault, Problem
from libs.common.http import App, json_response, requires, router
from libs.common.journal import CurrencyText, SlugText
from libs.common.money import ISO_4217
from services.invoicing import (
    ageing,
    ageing_reads,
    cash_forecast,
    forecast_reads,
    receivable_reads,
    statement_reads,
    tie_out_reads,
)
from services.invoicing.ageing_reads import Asked, Stretch
from services.invoicing.asked_days import AskedDay
from services.invoicing.cash_forecast import PAYMENTS_MAX, By, Habit
from services.invoicing.catalog_store import ledger_terms
from services.invoicing.customer_statement import ROLES, TOLD_AT_ALL, Event, Statement, kind_of, statement
from services.invoicing.customers import opened
from services.invoicing.documents import statement_page
from services.invoicing.receivable_reads import as_reader
from services.invoicing.rows import Row
from services.invoicing.statement_reads import Account
from services.invoicing.words import amount_text
from services.invoicing.writing import PREFIX, Tools

ReadsCustomers = Annotated[Caller, requires("customer:read")]
ReadsInvoices = Annotated[Caller, requires("invoice:read")]
From = Annotated[AskedDay, Query(alias="from", description="First day.")]
To = Annotated[AskedDay, Query(description="Last day.")]

PAGE: Final = "text/html; charset=utf-8"
_SAFE: Final = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
_FORMS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"text/csv": {"schema": {"type": "string"}}, "text/html": {"schema": {"type": "string"}}}}
}
_COLUMNS: Final = ("on", "kind", "description", "document", "debit", "credit", "balance", "posted")
LOOKED_BACK: Final = timedelta(days=730)
"""Payments before that say nothing of how somebody pays now."""
AHEAD_MAX: Final = timedelta(days=1_096)


@dataclass(frozen=True, slots=True)
class FollowUpApi:
    """The routes of statements and the forecast."""

    tools: Tools

    def add_to(self, app: App) -> None:
        """Puts every route into the application."""
        routes = router(PREFIX, ["receivables"])
        add = routes.add_api_route
        add("/customers/{id}/statement", self.statement, summary="A customer's account, with running balance",
            response_model=dict[str, Any], responses=_FORMS)  # fmt: skip
        add("/cash-forecast", self.forecast, summary="When the money for open invoices is likely to come")
        app.include_router(routes)

    async def statement(
        self, id: UUID, request: Request, caller: ReadsCustomers, from_: From, to: To,  # noqa: A002
        currency: CurrencyText | None = None, ledger: SlugText = "main",
    ) -> Response:  # fmt: skip
        """In the customer's currency, else the ledger's, unless said."""
        if to < from_:
            raise Problem(422, "malformed", "/to is before /from.", errors=[Fault("/to", f"is before {from_}")])
        organization = caller.own_organization()
        async with as_reader(self.tools.reader, organization) as connection:
            await tie_out_reads.hold_snapshot(connection)
            row = await receivable_reads.read_customer(connection, organization, id)
            if row is None:
                raise Problem(404, "unknown-customer", "There is no such customer.", facts={"customer": str(id)})
            terms = (await ledger_terms(connection, [(organization, ledger)]))[organization, ledger]
            chosen = currency or row["currency"] or terms.functional_currency
            if chosen not in ISO_4217:
                fault = Fault("/currency", f"is {chosen}" if chosen else "is not given, and the ledger has none yet")
                raise Problem(422, "unknown-currency", "The currency is not in ISO 4217.", errors=[fault])
            account = Account(organization, ledger, id, chosen)
            told = await _statement(connection, account, from_, to, opened(self.tools.sealer, row)["name"])
        accepted = request.headers.get("accept", "")
        if "text/csv" in accepted:
            return Response(_csv(told), media_type=csv_text.MEDIA_TYPE)
        if "text/html" in accepted:
            page = statement_page.render(told, terms.seller.get("name"))
            return Response(page, media_type=PAGE, headers=_SAFE)
        return json_response(told)

    async def forecast(
        self, caller: ReadsInvoices, until: AskedDay, by: By = "week", ledger: SlugText = "main"
    ) -> dict[str, Any]:  # fmt: skip
        """From today until a day, by week or month."""
        organization, today = caller.own_organization(), self.tools.clock().astimezone(UTC).date()
        if not today <= until <= today + AHEAD_MAX:
            said = f"is not from {today} to {today + AHEAD_MAX}"
            raise Problem(422, "malformed", f"/until {said}.", errors=[Fault("/until", said)])
        async with as_reader(self.tools.reader, organization) as connection:
            await ageing_reads.plan_for_values(connection)
            dues = await forecast_reads.open_dues(connection, organization, ledger)
            late = await forecast_reads.days_late(connection, organization, ledger, today - LOOKED_BACK, PAYMENTS_MAX)
        own, others = cash_forecast.habits(late)
        found = cash_forecast.forecast(dues, own, others, today, until, by)
        owing = {due.customer for due in dues}
        return {
            "ledger": ledger,
            "as_of": today,
            "until": until,
            "by": by,
            "buckets": [
                {
                    "from": bucket.since,
                    "to": bucket.until,
                    "currency": bucket.currency,
                    "expected": amount_text(bucket.amount, bucket.currency),
                    "due": amount_text(bucket.due, bucket.currency),
                }
                for bucket in found.buckets
            ],
            "overdue": _by_currency(found.overdue),
            "later": _by_currency(found.later),
            "method": {
                "payments_max": PAYMENTS_MAX,
                "payments_min": cash_forecast.PAYMENTS_MIN,
                "days_late_from": cash_forecast.EARLIEST,
                "days_late_to": cash_forecast.LATEST,
                "organization": _habit_words(others),
                "customers": [
                    {"customer": customer, **_habit_words(own[customer])} for customer in sorted(owing & own.keys())
                ],
            },
        }


def _by_currency(amounts: Mapping[str, int]) -> list[dict[str, str]]:
    return [{"currency": code, "amount": amount_text(amounts[code], code)} for code in sorted(amounts)]


def _habit_words(habit: Habit) -> dict[str, Any]:
    return {"days_late": habit.days, "payments": habit.payments}


async def _statement(
    connection: Connection, account: Account, since: date, until: date, name: str | None
) -> dict[str, Any]:
    """The statement as callers are told, compared with the books at the sequence heard."""
    rows = await statement_reads.balance_events(connection, account, ROLES, TOLD_AT_ALL)
    events = [_event(row) for row in rows]
    heard = await tie_out_reads.heard_through(connection, account.organization, account.ledger)
    posted = sum(event.amount for event in events if event.sequence is not None and event.sequence <= heard)
    books = await statement_reads.book_balance(connection, account, ROLES, heard)
    found = statement(events, since, until)

    def text(amount: int) -> str:
        return amount_text(amount, account.currency)

    return {
        "customer": str(account.customer),
        "name": name,
        "ledger": account.ledger,
        "currency": account.currency,
        "from": since.isoformat(),
        "to": until.isoformat(),
        "opening": text(found.opening),
        "lines": _lines(found, account.currency),
        "debits": text(found.debits),
        "credits": text(found.credits),
        "closing": text(found.closing),
        "ageing": await _foot(connection, account, until),
        "without_entry": await statement_reads.without_entry(connection, account),
        "books": {
            "sequence": heard,
            "posted": text(posted),
            "books": text(books),
            "difference": text(books - posted),
            "ties": books == posted,
        },
    }


def _event(row: Row) -> Event:
    return Event(
        on=row["day"],
        kind=kind_of(row["document"], row["purpose"]),
        description=row["description"],
        document=row["document"],
        amount=int(row["amount"]),
        sequence=row["sequence"],
        moved=int(row["moved"]),
    )


def _lines(found: Statement, currency: str) -> list[dict[str, Any]]:
    return [
        {
            "on": line.event.on.isoformat(),
            "kind": line.event.kind,
            "description": line.event.description,
            "document": line.event.document,
            "debit": amount_text(line.event.debit, currency) if line.event.debit else None,
            "credit": amount_text(line.event.credit, currency) if line.event.credit else None,
            "balance": amount_text(line.balance, currency),
            "posted": line.event.sequence is not None,
        }
        for line in found.lines
    ]


async def _foot(connection: Connection, account: Account, until: date) -> dict[str, Any]:
    """How old what is owed was at the end of the last day, as it is known now."""
    only = Stretch(UUID(int=account.customer.int - 1), account.customer)
    asked = Asked(account.organization, account.ledger, until, "due", ageing.thresholds(), only)
    open_ = await ageing_reads.still_open(connection, asked, until)
    open_ += await ageing_reads.put_back(connection, asked, ageing_reads.EVER)
    money = await ageing_reads.on_account(connection, asked, ageing_reads.EVER)
    rows = [row for row in ageing.aged(open_, on_account=money) if row.currency == account.currency]
    row = rows[0] if rows else ageing.Aged("", account.currency, [0] * (len(ageing.EDGES) + 2))
    return {
        "by_age": {
            label: amount_text(amount, account.currency)
            for label, amount in zip(ageing.labels(), row.columns, strict=True)
        },
        "open": amount_text(row.open, account.currency),
        "unapplied": amount_text(row.unapplied, account.currency),
        "credit": amount_text(row.credit, account.currency),
    }


def _csv(told: Mapping[str, Any]) -> bytes:
    amounts = {"debit", "credit", "balance"}
    rows = [
        [Amount(line[name]) if name in amounts and line[name] is not None else line[name] for name in _COLUMNS]
        for line in told["lines"]
    ]
    first = [told["from"], "opening-balance", None, None, None, None, Amount(told["opening"]), None]
    last = [told["to"], "closing-balance", None, None, Amount(told["debits"]), Amount(told["credits"]),
            Amount(told["closing"]), None]  # fmt: skip
    return table([_COLUMNS, first, *rows, last])
