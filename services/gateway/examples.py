"""Requests a newcomer can send as they are: float to Alice to Bob, a month's rent, a correction."""

from collections.abc import Mapping
from typing import Any, Final

_LEDGER: Final = "/api/v1/ledgers/{ledger}"

EXAMPLES: Final[Mapping[tuple[str, str], Any]] = {
    ("POST", "/api/v1/organizations"): {"slug": "demo", "name": "Demo", "functional_currency": "USD"},
    ("POST", "/api/v1/currencies"): {"code": "VBMPX", "decimals": 3, "name": "Loyalty points"},
    ("POST", "/api/v1/ledgers"): {
        "code": "eu",
        "name": "Books of the EU entity",
        "functional_currency": "EUR",
        "time_zone": "Europe/Berlin",
    },
    ("POST", f"{_LEDGER}/accounts"): {
        "code": "1010-CASH",
        "name": "Cash",
        "type": "asset",
        "currency": "USD",
        "cash": True,
        "overdraft": {"policy": "none"},
    },
    ("POST", f"{_LEDGER}/entries"): {
        "effective_on": "2026-11-21",
        "description": "Rent",
        "external_id": "INV-7",
        "lines": [
            {"account": "5000-RENT", "side": "debit", "amount": "1000.00"},
            {"account": "1010-CASH", "side": "credit", "amount": "1000.00"},
        ],
    },
    ("POST", f"{_LEDGER}/entries/{{id}}/reverse"): {"effective_on": "2026-11-22", "description": "Paid twice"},
    ("POST", f"{_LEDGER}/transfers"): {
        "from": "2001-ALICE",
        "to": "2002-BOB",
        "amount": "5.00",
        "currency": "USD",
        "description": "Lunch",
    },
}
