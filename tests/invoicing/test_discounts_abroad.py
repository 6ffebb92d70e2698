"""Discounts for early payment in a foreign currency: entries by the ledger's own rules, the position pair, the ties."""

from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from libs.common.db import Pool
from tests.invoicing.conftest import InvoicingDatabase
from tests.invoicing.paying import tell, told
from tests.invoicing.random_trade import RuledBooks
from tests.invoicing.serving import Service, invoicing_service
from tests.invoicing.test_tax_abroad import publish, report, sells_abroad

ISSUED = "2026-03-02"
LINES = [
    {"description": "Work", "unit_price": "83.33", "tax": {"category": "S", "rate": "20"}},
    {"description": "Books", "unit_price": "19.05", "tax": {"category": "S", "rate": "5"}},
]


@pytest.fixture
async def service(writer: Pool, receivables: InvoicingDatabase, tmp_path: Path) -> AsyncIterator[Service]:
    """Invoicing's application on a real server."""
    async with invoicing_service(writer, receivables, tmp_path) as running:
        yield running


async def issued(service: Service, basis: str) -> dict[str, Any]:
    """120.00 euros with terms, issued at 1.105; the day's rate is put right afterwards: 1.3."""
    await sells_abroad(service, basis)
    await publish(service.acme.pool, {date(2026, 3, 1): "1.105"})
    wish = {
        "customer": str(service.acme.customer), "currency": "EUR", "issued_on": ISSUED, "issue": True, "lines": LINES,
        "early_payment": {"percent": "2", "within_days": 10},
    }  # fmt: skip
    status, made, _ = await service.send("POST", "/invoices", wish)
    assert (status, made["total"]) == (201, "120.00"), made
    await publish(service.acme.pool, {date(2026, 3, 2): "1.3"})
    return dict(made)


async def booked(service: Service) -> dict[tuple[str, str], str]:
    """What is on each account, by the ledger's own rules; receivables tie out at every sequence."""
    books = RuledBooks(service.acme.pool)
    await books.open()
    await books.settle()
    for sequence in range(books.log.sequence + 1):
        proof = await books.proof(sequence)
        assert proof.ties, [row for row in proof.rows if not row.ties]
    assert proof.unposted_count == 0
    sums: dict[tuple[str, str], Decimal] = {}
    for lines in books.entries.values():
        for line in lines:
            key = line["account"], line["currency"]
            amount = Decimal(line["amount"]) * (1 if line["side"] == "debit" else -1)
            sums[key] = sums.get(key, Decimal(0)) + amount
    return {key: str(amount) for key, amount in sums.items() if amount}


async def tax(service: Service) -> tuple[str, str, bool]:
    """Reported, less what it is in the books by the rates of entries; and whether that ties."""
    told = await report(service)
    (row,) = told["books"][0]["rows"]
    return row["reported"], row["at_other_rates"], told["ties"]


DUE = {"accrual": "2100-OUTPUT-VAT", "cash": "2110-VAT-NOT-YET-DUE"}
"""Where the tax of an unpaid invoice is."""
SOLD = {("4010-SALES", "USD"): "-113.13"}  # 92.08 and 21.05; their taxes are 18.42 and 1.05


@pytest.mark.parametrize("basis", ["accrual", "cash"])
async def test_early_payment_takes_its_share_of_tax_at_the_issue_s_rate(service: Service, basis: str) -> None:
    """2.40 euros off: 1.67 and 0.38 net, 0.33 and 0.02 tax; at 1.105 these are 1.85 and 0.42, 0.36 and 0.02."""
    made = await issued(service, basis)
    await tell(service.acme.pool, told("received", "117.60", currency="EUR", reference=made["number"]))
    assert await booked(service) == SOLD | {
        ("1030-CLEARING-EUR", "EUR"): "117.60",
        ("4090-DISCOUNTS", "USD"): "2.27",
        ("2100-OUTPUT-VAT", "USD"): "-19.09",
        ("FX-POSITION-EUR", "EUR"): "-117.60",
        ("FX-EQUIVALENT-EUR", "USD"): "129.95",
    }
    # At 1.3 the taxes are 21.67 and 1.24, less 0.43 and 0.03.
    assert await tax(service) == ("22.45", "-3.36", True)


@pytest.mark.parametrize("basis", ["accrual", "cash"])
async def test_lost_with_its_payment_it_leaves_nothing(service: Service, basis: str) -> None:
    made = await issued(service, basis)
    await tell(service.acme.pool, told("received", "117.60", currency="EUR", reference=made["number"]))
    await tell(service.acme.pool, told("disputed", "117.60", currency="EUR", status="opened"))
    assert await booked(service) == SOLD | {
        ("1100-AR-EUR", "EUR"): "120.00",
        (DUE[basis], "USD"): "-19.47",
        ("FX-POSITION-EUR", "EUR"): "-120.00",
        ("FX-EQUIVALENT-EUR", "USD"): "132.60",
    }
    reported = {"accrual": ("22.91", "-3.44", True), "cash": ("0.00", "0.00", True)}
    assert await tax(service) == reported[basis]


@pytest.mark.parametrize("basis", ["accrual", "cash"])
async def test_by_hand_in_parts_and_one_taken_back(service: Service, basis: str) -> None:
    made = await issued(service, basis)
    granted = []
    for amount in ("1.11", "1.29"):
        path, wish = f"/invoices/{made['id']}/discount", {"amount": amount, "on": "2026-03-09"}
        status, answer, _ = await service.send("POST", path, wish)
        assert status == 201, answer
        granted.append(answer["id"])
    wish = {"amount": "100.00", "received_on": "2026-03-20", "invoice_id": made["id"]}
    status, answer, _ = await service.send("POST", "/payments", wish)
    assert status == 201, answer
    status, answer, _ = await service.send("POST", f"/discounts/{granted[0]}/take-back", {})
    assert status == 200, answer
    due = {"accrual": {"2100-OUTPUT-VAT": "-19.27"}, "cash": {"2100-OUTPUT-VAT": "-16.24", DUE[basis]: "-3.03"}}
    assert await booked(service) == SOLD | {(account, "USD"): amount for account, amount in due[basis].items()} | {
        ("1010-BANK-EUR", "EUR"): "100.00",
        ("1100-AR-EUR", "EUR"): "18.71",
        ("4090-DISCOUNTS", "USD"): "1.23",
        ("FX-POSITION-EUR", "EUR"): "-118.71",
        ("FX-EQUIVALENT-EUR", "USD"): "131.17",
    }
    reported = {"accrual": ("22.68", "-3.41", True), "cash": ("19.11", "-2.87", True)}
    assert await tax(service) == reported[basis]
