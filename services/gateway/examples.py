"""Requests a newcomer can send as they are, but for ids: float to Alice to Bob, a rent; an invoice and its money."""

from collections.abc import Mapping
from typing import Any, Final

_LEDGER: Final = "/api/v1/ledgers/{ledger}"
_INVOICE: Final = "0199a5f0-0000-7000-8000-000000000001"

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
    ("POST", "/api/v1/customers"): {
        "name": "Acme Corp",
        "email": "payables@acme.example",
        "address": {"street": "1 Main Street", "city": "Springfield", "postal_code": "12345", "country": "US"},
        "tax_ids": {"VAT": "US123456789"},
        "payment_terms_days": 30,
        "external_id": "crm-4711",
    },
    ("PATCH", "/api/v1/customers/{id}"): {"email": "invoices@acme.example", "expected_version": 1},
    ("POST", "/api/v1/customers/{id}/credit/apply"): {"currency": "USD", "amount": "25.00"},
    ("PUT", f"{_LEDGER}/account-mapping"): {"standard": True, "functional_currency": "USD", "currencies": ["EUR"]},
    ("POST", "/api/v1/products"): {
        "code": "HOUR",
        "name": "An hour of consulting",
        "currency": "USD",
        "unit_price": "120.00",
        "tax_rate": "VAT-20",
    },
    ("PATCH", "/api/v1/products/{id}"): {"unit_price": "125.00"},
    ("POST", "/api/v1/tax-rates"): {"code": "VAT-20", "category": "S", "rate": "20", "valid_from": "2026-01-01"},
    ("POST", "/api/v1/invoices"): {
        "customer": "Acme Corp",
        "currency": "USD",
        "issued_on": "2026-11-21",
        "lines": [
            {
                "description": "Consulting, 8 hours",
                "quantity": "8",
                "unit_price": "120.00",
                "tax": {"category": "S", "rate": "20"},
            },
            {
                "description": "Handbooks",
                "quantity": "3",
                "unit_price": "15.00",
                "tax": {"category": "S", "rate": "5"},
            },
        ],
        "issue": True,
        "client_ref": "order-7",
    },
    ("POST", "/api/v1/invoices/{id}/write-off"): {"amount": "10.00", "on": "2027-01-31", "reason": "Bankrupt"},
    ("POST", "/api/v1/invoices/{id}/void"): {"reason": "Made out to the wrong customer"},
    ("POST", "/api/v1/invoices/{id}/recoveries"): {"amount": "4.00", "on": "2027-03-01"},
    ("POST", "/api/v1/credit-notes"): {"invoice_id": _INVOICE, "amount": "60.00", "reason": "One printer came damaged"},
    ("POST", "/api/v1/payments"): {
        "amount": "599.25",
        "currency": "USD",
        "customer": "Acme Corp",
        "method": "bank-transfer",
        "reference": "Invoice 2026-000001",
        "received_on": "2026-12-01",
    },
    ("POST", "/api/v1/payments/{id}/allocations"): {"invoice_id": _INVOICE, "amount": "100.00"},
    ("POST", "/api/v1/payments/{id}/refunds"): {"amount": "20.00", "reason": "Paid twice"},
    ("POST", "/api/v1/deferrals/run"): {"through": "2026-11-30"},
    ("PUT", "/api/v1/parked/{id}/value"): {
        "value": {
            "organization": "demo",
            "ledger": "main",
            "provider": "cards",
            "currency": "USD",
            "payment_id": "py-1",
            "amount": "12.00",
            "received_on": "2026-11-21",
            "method": "card",
        },
        "note": "The amount was missing",
    },
    ("POST", "/api/v1/parked/{id}/dismiss"): {"note": "Told twice under another payment id"},
    ("POST", "/api/v1/webhook-endpoints"): {"provider": "stripe", "secret": "whsec_of_your_endpoint"},
    ("POST", "/api/v1/webhook-endpoints/{id}/secrets"): {"secret": "whsec_its_successor", "overlap_hours": 24},
    ("POST", "/api/v1/webhook-endpoints/{id}/switch"): {"active": False},
    ("POST", "/api/v1/webhook-targets"): {
        "url": "https://shop.example/ledgerbus",
        "secret": "at-least-16-characters",
        "types": ["invoicing.invoice-paid.v1"],
    },
    ("POST", "/api/v1/webhook-targets/{id}/secrets"): {"secret": "another-16-characters", "overlap_hours": 24},
    ("POST", "/api/v1/webhook-targets/{id}/switch"): {"active": False},
}
