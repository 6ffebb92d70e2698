"""Statements of journals in memory, and their figures by name: for tests."""

from datetime import date
from typing import Any

from libs.common.money import ISO_4217
from services.ledger.reports import balance_sheet, cash_flow, profit_and_loss
from services.ledger.reports.rates import AverageOver, PublishedRate, RateBook
from services.ledger.reports.sections import CurrencyAnswer, Layout, Period, fiscal_year_start
from services.ledger.reports.translation import Translator, days_of
from tests.ledger.journal_in_memory import Journal
from tests.ledger.small_company import rates

EUR = ISO_4217["EUR"]
Y2024 = Period("y2024", date(2024, 1, 1), date(2024, 12, 31))
Y2025 = Period("y2025", date(2025, 1, 1), date(2025, 12, 31))
END_2024, END_2025 = Y2024._replace(since=None), Y2025._replace(since=None)


def layout_of(books: Journal, **more: Any) -> Layout:
    return Layout({account.no: account for account in books.accounts.values()}, **more)


def pnl(books: Journal, *periods: Period, only: str | None = None, **more: Any) -> list[CurrencyAnswer]:
    ranges = [profit_and_loss.Range(each, books.sums(each.since, each.through, closings=False)) for each in periods]
    return profit_and_loss.untranslated(layout_of(books, **more), ranges, only)


def sheet(books: Journal, *periods: Period, begins: str = "01-01", **more: Any) -> list[CurrencyAnswer]:
    columns = [
        balance_sheet.AsOf(
            each,
            books.sums(None, each.through),
            books.sums(None, date.fromordinal(fiscal_year_start(each.through, begins).toordinal() - 1)),
        )
        for each in periods
    ]
    return balance_sheet.untranslated(layout_of(books, **more), columns, None)


def cash_columns(books: Journal, *periods: Period) -> list[cash_flow.CashColumn]:
    by_no = {account.no: account for account in books.accounts.values()}
    columns = []
    for each in periods:
        assert each.since is not None
        flows = cash_flow.flows_of(books.cash_lines(each.since, each.through), by_no)
        before = date.fromordinal(each.since.toordinal() - 1)
        columns.append(cash_flow.CashColumn(each, flows, books.sums(None, before), books.sums(None, each.through)))
    return columns


def translator(to: str, published: list[PublishedRate] | None = None, over: AverageOver | None = None) -> Translator:
    book = RateBook(rates() if published is None else published, ("EUR", "USD"))
    return Translator(ISO_4217[to], EUR, "01-01", book, over)


def translated(
    report: Any, books: Journal, to: str, *periods: Period, by: Translator | None = None, **more: Any
) -> CurrencyAnswer:
    last = max(each.through for each in periods)
    days = days_of(books.accounts.values(), books.daily(last), books.daily(last, closings=False))
    part: CurrencyAnswer = report.translated(layout_of(books, **more), periods, days, by or translator(to))
    return part


def figures(part: CurrencyAnswer) -> dict[str, list[str]]:
    """Every amount by the code of its account or the name of its section or line."""
    found = {}
    for section in part["sections"]:
        found[section["name"]] = section["totals"]
        for group in section["groups"]:
            found |= {row["account"]: row["amounts"] for row in group["rows"]}
    for line in part["lines"]:
        found[line["name"]] = line["amounts"]
        found |= {f"{line['name']}/{piece['name']}": piece["amounts"] for piece in line["made_of"]}
    return found


def holds(part: CurrencyAnswer) -> bool:
    assert part["tie_outs"]
    return all(tie_out["holds"] for tie_out in part["tie_outs"])
