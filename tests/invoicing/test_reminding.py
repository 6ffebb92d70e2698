"""Who is reminded of what: the level an invoice is due for, one row per case, and letters by customer and currency."""

from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest

from services.invoicing import reminding
from services.invoicing.reminding import Level, OpenInvoice, due_level, letters

ON = date(2026, 6, 30)
LEVELS = [
    Level(days_after_due=days, title=f"Reminder {place}", text="Please pay.", fees=fees)
    for place, (days, fees) in enumerate(((7, {}), (21, {"USD": "5.00"}), (35, {"USD": "10.00", "KWD": "1.500"})), 1)
]
ACME, GLOBEX = UUID(int=1), UUID(int=2)


def invoice(overdue: int, level: int = 0, ago: int | None = None, **more: Any) -> OpenInvoice:
    """120.00 that has been overdue for so many days, the last reminder so many days ago."""
    told = {
        "id": UUID(int=100 + overdue), "customer": ACME, "currency": "USD", "number": f"2026-{abs(overdue):06d}",
        "issued_on": ON - timedelta(days=overdue + 30), "due_on": ON - timedelta(days=overdue), "total": 12000,
        "open": 12000, "level": level, "round": 0, "last_on": None if ago is None else ON - timedelta(days=ago), **more,
    }  # fmt: skip
    return OpenInvoice(**told)


CASES = [
    # what                                                       | the invoice                       | its next level
    ("not due yet", invoice(-5), None),
    ("due today", invoice(0), None),
    ("a day too early", invoice(6), None),
    ("the first level's day", invoice(7), 1),
    ("long overdue begins with the first all the same", invoice(400), 1),
    ("not twice on a day", invoice(400, 1, 0), None),
    ("a day before the levels are as far apart", invoice(400, 1, 13), None),
    ("as old as the levels are apart", invoice(400, 1, 14), 2),
    ("old enough a reminder, not overdue enough", invoice(20, 1, 14), None),
    ("overdue enough, reminder too young", invoice(21, 1, 13), None),
    ("both", invoice(21, 1, 14), 2),
    ("the last level", invoice(35, 2, 14), 3),
    ("after the last there is none", invoice(400, 3, 300), None),
    ("more levels than there are now", invoice(400, 5, 300), None),
    ("a fee is not reminded of", invoice(400, is_fee=True), None),
    ("nothing open", invoice(400, open=0), None),
    ("the reminder is of a later day", invoice(400, 1, -3), None),
]


@pytest.mark.parametrize(("owed", "level"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_the_level_that_an_invoice_is_due_for(owed: OpenInvoice, level: int | None) -> None:
    assert due_level(LEVELS, owed, ON) == level


def test_one_letter_for_a_customer_and_currency_at_its_highest_level() -> None:
    owed = [
        invoice(10), invoice(30, 1, 20), invoice(-9), invoice(12, is_fee=True), invoice(11, currency="EUR"),
        invoice(9, customer=GLOBEX), invoice(3, customer=GLOBEX, currency="EUR"),
    ]  # fmt: skip
    found, stopped = letters(LEVELS, owed, ON)
    assert [(each.customer, each.currency, each.level) for each in found] == [
        (ACME, "EUR", 1), (ACME, "USD", 2), (GLOBEX, "USD", 1),
    ]  # fmt: skip
    assert [(each.invoice.number, each.level) for each in found[1].raised] == [("2026-000030", 2), ("2026-000010", 1)]
    assert [each.number for each in found[1].listed] == ["2026-000030", "2026-000012", "2026-000010", "2026-000009"]
    assert (found[1].open, stopped) == (48000, [])


@pytest.mark.parametrize("stop", ["dispute", "hold", "promise", "customer-erased"])
def test_what_is_stopped_is_neither_raised_nor_listed(stop: Any) -> None:
    held, other = invoice(30, stop=stop), invoice(10)
    found, stopped = letters(LEVELS, [held, other], ON)
    assert (found[0].raised[0].invoice, found[0].listed, stopped) == (other, (other,), [held])
    assert letters(LEVELS, [held], ON) == ([], [held])
    assert letters(LEVELS, [invoice(1, stop=stop)], ON) == ([], []), "it would not have been raised"


def test_fees_are_by_currency() -> None:
    assert [LEVELS[2].fee(currency) for currency in ("USD", "KWD", "EUR")] == [1000, 1500, 0]


BAD = [
    ("as early as the one before", [(7, {}), (7, {})], "dunning-levels-not-ascending", "/levels/1/days_after_due"),
    ("a currency that is none", [(7, {"XBT": "1.00"})], "unknown-currency", "/levels/0/fees/XBT"),
    ("more decimals than it has", [(7, {}), (9, {"JPY": "1.5"})], "too-many-decimals", "/levels/1/fees/JPY"),
    ("no fee that is none", [(7, {"USD": "0.00"})], "amount-not-positive", "/levels/0/fees/USD"),
]


@pytest.mark.parametrize(("rows", "code", "pointer"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_levels_that_a_ledger_cannot_have(rows: list[Any], code: str, pointer: str) -> None:
    refused = reminding.check([Level(days_after_due=days, title="x", text="x", fees=fees) for days, fees in rows])
    assert refused is not None
    assert (refused.code, refused.errors[0].pointer) == (code, pointer)
    assert reminding.check(LEVELS) is None
