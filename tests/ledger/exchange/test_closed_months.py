"""Export of books that have holds and closings in their log, and import into months that are closed."""

from decimal import Decimal
from uuid import UUID

import orjson
import pytest

from libs.common.holds import CaptureRequest, HoldLineRequest, HoldRequest
from libs.common.periods import PeriodStep
from tests.ledger.asking import step, tell
from tests.ledger.exchange.conftest import Exchange


async def close_with_holds(exchange: Exchange) -> None:
    """A hold captured in part and left open in part, and January closed."""
    lines = [HoldLineRequest("5000-RENT", "debit", "9.00"), HoldLineRequest("1010-CASH", "credit", "9.00")]
    placed = await tell(exchange.books, HoldRequest(lines=lines))
    assert placed.body is not None, placed.rejection
    captured = await tell(exchange.books, CaptureRequest(hold_id=UUID(placed.body["id"]), amount="4.00"))
    assert captured.rejection is None, captured.rejection
    closed = await step(exchange.books, PeriodStep(period="2026-01", step="close"))
    assert closed.rejection is None, closed.rejection


@pytest.mark.parametrize("format_", ["ndjson", "hledger", "beancount"])
async def test_books_with_holds_and_closings_are_exported_and_taken_over(exchange: Exchange, format_: str) -> None:
    await close_with_holds(exchange)
    status, file, headers = await exchange.export(format_)
    assert status == 200
    assert int(headers["Ledger-Sequence"]) == (await exchange.get("/main"))["sequence"]
    results = await exchange.take(format_, file)
    assert results[-1]["status"] == "done", results
    taken = await exchange.balances("copy")
    assert {code: each for code, each in taken.items() if each[1].strip("0.")} == {
        code: each for code, each in (await exchange.balances("main")).items() if each[1].strip("0.")
    }


async def test_an_import_into_a_closed_month_is_refused_line_by_line(exchange: Exchange) -> None:
    await close_with_holds(exchange)
    _, before = (await exchange.balances("main"))["5000-RENT"]
    entries = [
        {
            "effective_on": day,
            "lines": [
                {"account": "5000-RENT", "side": "debit", "amount": "1.00"},
                {"account": "1010-CASH", "side": "credit", "amount": "1.00"},
            ],
        }
        for day in ("2026-01-20", "2026-02-20", "2026-01-31")
    ]
    results = await exchange.take("ndjson", b"\n".join(map(orjson.dumps, entries)), ledger="main")
    refused = [(each["line"], each["code"]) for each in results if each.get("code")]
    assert refused == [(1, "period-closed"), (3, "period-closed")], results
    _, after = (await exchange.balances("main"))["5000-RENT"]
    assert Decimal(after) - Decimal(before) == 1, results
