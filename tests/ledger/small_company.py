"""A company over two years, in euros with dollars, small enough to be reckoned by hand: used by several tests.

2024: capital 1,000; equipment 300; a sale of USD 110 at 1.10; rent 40; the customer pays; year end closes 60.
2025: a loan of 200; USD 55 sold for EUR 52; rent 45; nothing closed yet.
"""

from datetime import date
from decimal import Decimal
from typing import Any

from services.ledger.reports.rates import PublishedRate
from tests.ledger.journal_in_memory import Journal

ACCOUNTS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("1000-BANK", "asset", "EUR", {"cash": True, "heading": (10, "Current assets")}),
    ("1010-BANK-USD", "asset", "USD", {"cash": True, "heading": (10, "Current assets")}),
    ("1100-AR-USD", "asset", "USD", {"heading": (10, "Current assets")}),
    ("1500-EQUIPMENT", "asset", "EUR", {"monetary": False, "cash_flow_class": "investing", "heading": (5, "Fixed")}),
    ("2000-LOAN", "liability", "EUR", {"cash_flow_class": "financing"}),
    ("3000-CAPITAL", "equity", "EUR", {}),
    ("3900-RETAINED", "equity", "EUR", {}),
    ("4000-SALES", "income", "EUR", {}),
    ("5000-RENT", "expense", "EUR", {}),
]
ENTRIES: list[tuple[str, str, list[str]]] = [
    ("2024-01-02", "normal", ["1000-BANK +1000", "3000-CAPITAL -1000"]),
    ("2024-03-01", "normal", ["1500-EQUIPMENT +300", "1000-BANK -300"]),
    ("2024-06-03", "normal", ["1100-AR-USD +110", "FX-POSITION-USD -110", "FX-EQUIVALENT-USD +100", "4000-SALES -100"]),
    ("2024-07-01", "normal", ["5000-RENT +40", "1000-BANK -40"]),
    ("2024-09-02", "normal", ["1010-BANK-USD +110", "1100-AR-USD -110"]),
    ("2024-12-31", "closing", ["4000-SALES +100", "5000-RENT -40", "3900-RETAINED -60"]),
    ("2025-02-03", "normal", ["1000-BANK +200", "2000-LOAN -200"]),
    ("2025-03-03", "normal", ["FX-POSITION-USD +55", "1010-BANK-USD -55", "1000-BANK +52", "FX-EQUIVALENT-USD -52"]),
    ("2025-05-02", "normal", ["5000-RENT +45", "1000-BANK -45"]),
]
RATES: list[tuple[str, str]] = [
    ("2024-01-02", "1.05"), ("2024-03-01", "1.09"), ("2024-06-03", "1.10"), ("2024-07-01", "1.08"),
    ("2024-09-02", "1.10"), ("2024-12-31", "1.00"), ("2025-02-03", "1.04"), ("2025-03-03", "1.00"),
    ("2025-05-02", "1.12"), ("2025-12-31", "1.25"),
]  # fmt: skip
"""EUR/USD."""


def journal() -> Journal:
    """The company's books in memory."""
    books = Journal()
    for code, type_, currency, more in ACCOUNTS:
        books.open(code, type_, currency, **more)
    books.pair("USD")
    for day, kind, lines in ENTRIES:
        books.post(day, *lines, kind=kind)
    return books


def rates() -> list[PublishedRate]:
    """EUR/USD as ecb published it."""
    return [
        PublishedRate("ecb", "EUR", "USD", date.fromisoformat(day), Decimal(rate), own=False) for day, rate in RATES
    ]
