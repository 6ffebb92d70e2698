"""An example for every short path: what is asked and what is told. A test posts and reads all of them."""

from collections.abc import Mapping
from typing import Any, Final

_V1: Final = "/api/v1"
_CASH_ID: Final = "5e0f7a52-8d1c-4b76-9d6f-0d0b6f0d8c11"
_OWED_ID: Final = "0b0b0c5e-13a5-4b53-a1d2-8f1a1cb1a7d2"
_ENTRY_ID: Final = "01956b1e-7c00-7b1e-8b0e-3f6f1f0c9a10"
_AT: Final = "2026-11-21T09:30:00.000000Z"

ASKED: Final[Mapping[str, dict[str, Any]]] = {
    f"{_V1}/accounts": {
        "code": "1010-CASH",
        "name": "Cash on Hand",
        "account_type": "asset",
        "currency": "USD",
        "is_reconcilable": True,
        "heading": {"heading": "Current assets", "number": 10, "heading_type": "asset", "balance_type": "dr"},
    },
    f"{_V1}/journal": {
        "description": "Rent",
        "client_ref": "rent-2026-11",
        "lines": [
            {"account_code": "5000-EXPENSE", "amount": 1000, "is_debit": True},
            {"account_code": "1010-CASH", "amount": 1000, "is_debit": False},
        ],
    },
    f"{_V1}/transactions": {
        "reference": "PAY-1001",
        "idempotency_key": "IK-PAY-1001",
        "description": "Wallet payment capture",
        "currency": "USD",
        "entries": [
            {"account_id": _CASH_ID, "direction": "debit", "amount": "125.00"},
            {"account_id": _OWED_ID, "direction": "credit", "amount": "125.00"},
        ],
    },
    f"{_V1}/ledger/account": {"currency": "USD", "type": "user", "metadata": {"name": "John Doe"}},
    f"{_V1}/ledger/transfer": {
        "source_account_id": _CASH_ID,
        "destination_account_id": _OWED_ID,
        "amount": "100.50",
        "currency": "USD",
        "metadata": {"description": "Payment for services"},
    },
    "/api/accounts": {"code": "1001-CASH", "name": "Cash", "ccy": "EUR"},
    "/api/transfers": {"from": "1001-CASH", "to": "1002-BANK", "amount": "250.00", "ccy": "EUR"},
}
"""Path -> the body of a POST."""

_ACCOUNT: Final = {
    "id": _CASH_ID,
    "code": "1010-CASH",
    "number": "1010-CASH",
    "name": "Cash on Hand",
    "account_type": "asset",
    "type": "asset",
    "currency": "USD",
    "ccy": "USD",
    "balance_type": "dr",
    "heading": {
        "heading": "Current assets", "heading_type": "asset", "balance_type": "dr", "number": 10, "tracker": 2
    },
    "parent": None,
    "is_control_account": False,
    "is_reconcilable": True,
    "is_active": True,
    "metadata": {},
    "version": 2,
    "created_at": _AT,
}  # fmt: skip
_BALANCE: Final = {
    "account_id": _CASH_ID,
    "code": "1010-CASH",
    "currency": "USD",
    "ccy": "USD",
    "balance": "125.00",
    "available": "125.00",
    "balance_type": "dr",
    "sequence": 4,
}
_TRANSACTION: Final = {
    "id": _ENTRY_ID,
    "reference": "PAY-1001",
    "idempotency_key": "IK-PAY-1001",
    "description": "Wallet payment capture",
    "currency": "USD",
    "status": "posted",
    "entries": [
        {
            "account_id": _CASH_ID,
            "account_code": "1010-CASH",
            "direction": "debit",
            "amount": "125.00",
            "currency": "USD",
            "dr_amount": "125.00",
            "cr_amount": None,
            "dr_value": "125.00",
            "cr_value": None,
        },
        {
            "account_id": _OWED_ID,
            "account_code": "2000-OWED",
            "direction": "credit",
            "amount": "125.00",
            "currency": "USD",
            "dr_amount": None,
            "cr_amount": "125.00",
            "dr_value": None,
            "cr_value": "125.00",
        },
    ],
    "metadata": {},
    "effective_on": "2026-11-21",
    "sequence": 4,
    "reverses": None,
    "reversed_by": None,
    "created_at": _AT,
}
_TRANSFER: Final = {"id": _ENTRY_ID, "transaction_id": _ENTRY_ID, "status": "posted"}
_POSTED: Final = {"sequence": 5, "created_at": _AT}
_EVENTS: Final = {
    "items": [
        {
            "event_id": "4/0",
            "sequence": 4,
            "account_id": _CASH_ID,
            "event_type": "debit",
            "amount": "125.00",
            "currency": "USD",
            "balance_after": "125.00",
            "transaction_id": _ENTRY_ID,
            "metadata": {},
            "created_at": _AT,
        }
    ],
    "next_after": None,
}

TOLD: Final[Mapping[tuple[str, str], dict[str, Any]]] = {
    ("POST", f"{_V1}/accounts"): _ACCOUNT,
    ("POST", f"{_V1}/journal"): {"ok": True, "entry_id": _ENTRY_ID, "sequence": 5, "posted_at": _AT},
    ("POST", f"{_V1}/transactions"): _TRANSACTION,
    ("POST", f"{_V1}/ledger/account"): {
        "id": _OWED_ID,
        "account_id": _OWED_ID,
        "code": "account-9a1f0c1e-6c1c-5d0e-8a5e-6a1d3a0a7b11",
        "type": "user",
        "currency": "USD",
        "metadata": {"name": "John Doe"},
        "created_at": _AT,
    },
    ("POST", f"{_V1}/ledger/transfer"): {**_TRANSFER, **ASKED[f"{_V1}/ledger/transfer"], **_POSTED},
    ("POST", "/api/accounts"): {**_ACCOUNT, "code": "1001-CASH", "number": "1001-CASH", "heading": None},
    ("POST", "/api/transfers"): {**_TRANSFER, **ASKED["/api/transfers"], **_POSTED},
    ("GET", f"{_V1}/accounts"): {"items": [_ACCOUNT], "next_cursor": None},
    ("GET", f"{_V1}/accounts/{{account}}"): _ACCOUNT,
    ("GET", f"{_V1}/accounts/{{account}}/balance"): _BALANCE,
    ("GET", f"{_V1}/transactions"): {"items": [_TRANSACTION], "next_cursor": None},
    ("GET", f"{_V1}/transactions/{{id}}"): _TRANSACTION,
    ("GET", f"{_V1}/ledger/account/{{account}}/balance"): _BALANCE,
    ("GET", f"{_V1}/ledger/events"): _EVENTS,
    ("GET", f"{_V1}/reports/trial_balance"): {
        "currency": "USD",
        "rows": [
            {
                "account_code": "1010-CASH",
                "account_name": "Cash on Hand",
                "account_type": "asset",
                "debits": "125.00",
                "credits": "0.00",
                "balance": "125.00",
            },
            {
                "account_code": "2000-OWED",
                "account_name": "Owed to merchants",
                "account_type": "liability",
                "debits": "0.00",
                "credits": "125.00",
                "balance": "-125.00",
            },
        ],
        "total_debits": "125.00",
        "total_credits": "125.00",
        "balanced": True,
        "sequence": 4,
    },
    ("GET", f"{_V1}/reports/pnl"): {
        "currency": "USD",
        "income": "1500.00",
        "expense": "1000.00",
        "net": "500.00",
        "from": "2026-01-01",
        "to": "2026-11-21",
        "sequence": 4,
    },
    ("GET", f"{_V1}/reports/balance_sheet"): {
        "currency": "USD",
        "asset": "625.00",
        "liability": "-125.00",
        "equity": "-500.00",
        "earnings": "-500.00",
        "balanced": True,
        "from": None,
        "to": "2026-11-21",
        "sequence": 4,
    },
    ("GET", f"{_V1}/reports/ledger/{{account}}"): {
        "account": "1010-CASH",
        "name": "Cash on Hand",
        "lines": [{"date": "2026-11-21", "amount": "125.00", "is_debit": True, "entry_id": _ENTRY_ID, "sequence": 4}],
        "next_cursor": None,
    },
    ("GET", "/api/accounts/{account}/balance"): _BALANCE,
    ("GET", "/api/journals"): {
        "items": [
            {
                "id": _ENTRY_ID,
                "date": "2026-11-21",
                "posted_at": _AT,
                "description": "Wallet payment capture",
                "reference": "PAY-1001",
                "sequence": 4,
                "reverses": None,
                "lines": [
                    {"account": "1010-CASH", "side": "debit", "amount": "125.00", "ccy": "USD", "value": "125.00"},
                    {"account": "2000-OWED", "side": "credit", "amount": "125.00", "ccy": "USD", "value": "125.00"},
                ],
            }
        ],
        "next_cursor": None,
    },
}
"""Method and path -> the body of the answer."""
