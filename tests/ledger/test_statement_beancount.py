"""The same journal in beancount: its own loader and realization give the figures that the statements give.

hledger would do as well; where its program is installed the same journal goes through it too.
"""

import csv
import random
import shutil
import subprocess
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from importlib import import_module
from io import StringIO
from pathlib import Path

import pytest

from libs.common.money import to_text
from services.ledger.reports import balance_sheet, profit_and_loss
from services.ledger.reports.sections import CurrencyAnswer, Layout, Period
from tests.ledger.journal_in_memory import Journal

ROOTS = {"asset": "Assets", "liability": "Liabilities", "equity": "Equity", "income": "Income", "expense": "Expenses"}
FIRST, LAST = date(2024, 4, 1), date(2025, 3, 31)


def random_journal(seed: int) -> Journal:
    """Some hundred entries over two years in two currencies, closed once at a year's end."""
    chance = random.Random(seed)
    books = Journal()
    for currency in ("EUR", "USD"):
        for name, type_ in (("Bank", "asset"), ("Owed", "liability"), ("Capital", "equity"), ("Retained", "equity"),
                            ("Sales", "income"), ("Rent", "expense"), ("Pay", "expense")):  # fmt: skip
            books.open(f"{name}-{currency}", type_, currency)
    books.pair("USD")
    day = date(2024, 1, 1)
    while day < date(2025, 12, 1):
        day += timedelta(days=chance.randint(0, 6))
        currency = chance.choice(("EUR", "USD"))
        one, other = chance.sample(["Bank", "Owed", "Capital", "Sales", "Rent", "Pay"], 2)
        amount = to_text(chance.randint(1, 1_000_000), 2)
        books.post(str(day), f"{one}-{currency} +{amount}", f"{other}-{currency} -{amount}")
    books.post("2024-05-05", "Bank-USD +11", "FX-POSITION-USD -11", "FX-EQUIVALENT-USD +10", "Sales-EUR -10")
    books.post("2024-12-31", "Sales-EUR +5", "Retained-EUR -5", kind="closing")
    return books


def beancount_name(books: Journal, code: str) -> str:
    return f"{ROOTS[books.accounts[code].type]}:{code.title()}"


def as_text(books: Journal, *, closings: bool) -> str:
    """The journal as beancount (and hledger) reads it."""
    names = {account.no: (beancount_name(books, code), account) for code, account in books.accounts.items()}
    lines = [f"2020-01-01 open {name}" for name, _ in names.values()] + [""]
    for entry in books.entries:
        if closings or entry.kind != "closing":
            lines.append(f'{entry.day} * "entry"')
            for no, net in entry.lines:
                name, account = names[no]
                lines.append(f"  {name}  {to_text(net, account.exponent)} {account.currency}")
            lines.append("")
    return "\n".join(lines)


def beancount_sums(text: str, since: date, through: date) -> dict[tuple[str, str], Decimal]:
    """Debits less credits by root account and currency, as beancount realizes them."""
    loader, realization = import_module("beancount.loader"), import_module("beancount.core.realization")
    entries, errors, _ = loader.load_string(text)
    assert not errors
    ranged = [entry for entry in entries if since <= entry.date <= through]
    real = realization.realize(ranged)
    sums = {}
    for root in ROOTS.values():
        account = realization.get(real, root)
        if account is not None:
            for position in realization.compute_balance(account):
                sums[root, position.units.currency] = position.units.number
    return sums


def section_totals(part: CurrencyAnswer) -> Iterator[tuple[str, Decimal]]:
    for section in part["sections"]:
        yield section["name"], Decimal(section["totals"][0])


def line_of(part: CurrencyAnswer, name: str) -> Decimal:
    return next(Decimal(line["amounts"][0]) for line in part["lines"] if line["name"] == name)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_beancount_has_the_same_profit_and_the_same_balance_sheet(seed: int) -> None:
    books = random_journal(seed)
    layout = Layout({account.no: account for account in books.accounts.values()})
    period = Period("year", FIRST, LAST)
    ranged = profit_and_loss.Range(period, books.sums(FIRST, LAST, closings=False))
    theirs = beancount_sums(as_text(books, closings=False), FIRST, LAST)
    for part in profit_and_loss.untranslated(layout, [ranged], None):
        found, currency = dict(section_totals(part)), part["currency"]
        assert found["income"] == -theirs["Income", currency] != 0
        assert found["expense"] == theirs["Expenses", currency] != 0
        assert line_of(part, "result") == -theirs["Income", currency] - theirs["Expenses", currency]
    as_of = balance_sheet.AsOf(period, books.sums(None, LAST), books.sums(None, date(2024, 12, 31)))
    theirs = beancount_sums(as_text(books, closings=True), date.min, LAST)
    for part in balance_sheet.untranslated(layout, [as_of], None):
        found, currency = dict(section_totals(part)), part["currency"]
        assert found["assets"] == theirs["Assets", currency] != 0
        assert found["liabilities"] == -theirs["Liabilities", currency]
        assert found["equity"] == -theirs["Equity", currency]
        open_results = line_of(part, "current-earnings") + line_of(part, "earlier-earnings-not-closed")
        assert open_results == -theirs["Income", currency] - theirs["Expenses", currency]


def test_hledger_has_the_same_profit(tmp_path: Path) -> None:
    program = shutil.which("hledger")
    if program is None:
        pytest.skip("not run: hledger is not installed")
    books = random_journal(1)
    text = "\n".join(line for line in as_text(books, closings=False).splitlines() if " open " not in line)
    journal = tmp_path / "journal.hledger"
    journal.write_text(text + "\n", encoding="utf-8")
    command = [program, "-f", str(journal), "balance", "--depth", "1", "--layout", "tidy", "-O", "csv"]
    ends = ["-b", str(FIRST), "-e", str(LAST + timedelta(days=1)), "Income", "Expenses"]
    out = subprocess.run([*command, *ends], check=True, capture_output=True, text=True, timeout=60).stdout
    rows = {(row["account"], row["commodity"]): Decimal(row["value"]) for row in csv.DictReader(StringIO(out))}
    layout = Layout({account.no: account for account in books.accounts.values()})
    ranged = profit_and_loss.Range(Period("year", FIRST, LAST), books.sums(FIRST, LAST, closings=False))
    for part in profit_and_loss.untranslated(layout, [ranged], None):
        found, currency = dict(section_totals(part)), part["currency"]
        assert found == {"income": -rows["Income", currency], "expense": rows["Expenses", currency]}
