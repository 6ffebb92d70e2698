"""The short paths of reports through the gateway: the same figures as the long paths', in one currency."""

from decimal import Decimal

import pytest

from tests.flows.shop import ENTRIES, Shop
from tests.flows.test_short_paths import V1, good, journal

pytestmark = pytest.mark.stack


def two(debit: str, credit: str, amount: str) -> list[dict[str, str]]:
    """The lines of an entry in the long path's words."""
    return [
        {"account": debit, "side": "debit", "amount": amount},
        {"account": credit, "side": "credit", "amount": amount},
    ]


async def test_get_reports_trial_balance(shop: Shop) -> None:
    assert (await journal(shop, 40)).status == 201
    report = await good(shop, "GET", f"{V1}/reports/trial_balance")
    rows = {row["account_code"]: row for row in report["rows"]}
    assert (rows["1010-CASH"]["balance"], rows["4000-REVENUE"]["balance"]) == ("40.00", "-40.00")
    assert sum(Decimal(row["balance"]) for row in report["rows"]) == 0
    assert (report["total_debits"], report["total_credits"], report["balanced"]) == ("40.00", "40.00", True)
    euros = await good(shop, "GET", f"{V1}/reports/trial_balance?currency=EUR")
    assert [row["account_code"] for row in euros["rows"]] == ["1020-EUR"]
    assert euros["total_debits"] == "0.00"
    unknown = await shop.send("GET", f"{V1}/reports/trial_balance?currency=NOPE")
    assert (unknown.status, unknown.body["code"]) == (422, "unknown-currency")


async def test_get_reports_pnl(shop: Shop) -> None:
    nothing = await good(shop, "GET", f"{V1}/reports/pnl?currency=CHF")
    assert (nothing["currency"], nothing["income"], nothing["expense"], nothing["net"]) == ("CHF", *["0.00"] * 3)
    for day, income, expense in (("2025-12-31", "40.00", "10.00"), ("2026-01-01", "2.50", "3.00")):
        await good(shop, "POST", ENTRIES, {"effective_on": day, "lines": two("1010-CASH", "4000-REVENUE", income)})
        await good(shop, "POST", ENTRIES, {"effective_on": day, "lines": two("5000-EXPENSE", "1010-CASH", expense)})
    told = await good(shop, "GET", f"{V1}/reports/pnl")
    assert (told["currency"], told["income"], told["expense"], told["net"]) == ("USD", "42.50", "13.00", "29.50")
    assert told["sequence"] == await shop.sequence()
    year = await good(shop, "GET", f"{V1}/reports/pnl?from=2026-01-01&to=2026-12-31")
    assert (year["income"], year["expense"], year["net"]) == ("2.50", "3.00", "-0.50")
    assert (year["from"], year["to"]) == ("2026-01-01", "2026-12-31")
    for query, code in (("from=2026-02-01&to=2026-01-01", "malformed"), ("currency=NOPE", "unknown-currency")):
        refused = await shop.send("GET", f"{V1}/reports/pnl?{query}")
        assert (refused.status, refused.body["code"]) == (422, code)


async def test_get_reports_balance_sheet(shop: Shop) -> None:
    await good(
        shop, "POST", ENTRIES, {"effective_on": "2025-12-31", "lines": two("1010-CASH", "4000-REVENUE", "40.00")}
    )
    await good(shop, "POST", ENTRIES, {"effective_on": "2026-01-01", "lines": two("1010-CASH", "2000-FLOAT", "2.50")})
    told = await good(shop, "GET", f"{V1}/reports/balance_sheet")
    assert (told["asset"], told["liability"], told["equity"]) == ("42.50", "-2.50", "-40.00")
    assert (told["earnings"], told["balanced"], told["currency"]) == ("-40.00", True, "USD")
    before = await good(shop, "GET", f"{V1}/reports/balance_sheet?to=2025-12-31")
    assert (before["asset"], before["liability"], before["equity"]) == ("40.00", "0.00", "-40.00")
    euros = await good(shop, "GET", f"{V1}/reports/balance_sheet?currency=EUR")
    assert {euros[name] for name in ("asset", "liability", "equity", "earnings")} == {"0.00"}
    assert (await good(shop, "GET", f"{V1}/reports/balance_sheet?to=9999-12-31"))["asset"] == "42.50"
    refused = await shop.send("GET", f"{V1}/reports/balance_sheet?to=0001-12-31")
    assert (refused.status, refused.body["code"], refused.body["errors"][0]["pointer"]) == (422, "malformed", "/to")


async def test_get_reports_ledger(shop: Shop) -> None:
    posted = [(await journal(shop, amount)).body["entry_id"] for amount in (40, 2.5)]
    told = await good(shop, "GET", f"{V1}/reports/ledger/1010-CASH")
    assert [(line["amount"], line["is_debit"], line["entry_id"]) for line in told["lines"]] == [
        ("40.00", True, posted[0]), ("2.50", True, posted[1]),
    ]  # fmt: skip
    first = await good(shop, "GET", f"{V1}/reports/ledger/1010-CASH?limit=1")
    rest = await good(shop, "GET", f"{V1}/reports/ledger/1010-CASH?cursor={first['next_cursor']}")
    assert first["lines"] + rest["lines"] == told["lines"]
    unknown = await shop.send("GET", f"{V1}/reports/ledger/9999-NOBODY")
    assert (unknown.status, unknown.body["code"]) == (404, "unknown-account")
