"""What invoicing tells the others, as messages for the outbox: facts of `invoicing.events.v1`, ids and amounts alone.

Each fact says all amounts after it and the document's version, so that a reader may keep the highest version it saw.
The event's id is the document, its version and the type: told twice, it is the same event.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final

import orjson

from libs.common.event_type import EventType
from libs.common.events_invoicing import (
    CREDIT_NOTE_ISSUED,
    DUNNING_SENT,
    INVOICE_CREDITED,
    INVOICE_ISSUED,
    INVOICE_PAID,
    INVOICE_VOIDED,
    INVOICE_WRITTEN_OFF,
    INVOICING,
    INVOICING_SOURCE,
    PAYMENT_NEEDS_ATTENTION,
    PAYMENT_POSTED,
)
from libs.common.messages import Message, cloud_event_headers
from libs.common.money import ISO_4217, to_text
from libs.common.telemetry import current_traceparent
from services.invoicing.rows import Row
from services.invoicing.words import amount_text, plain

CHANGES: Final[Mapping[str, EventType[Any]]] = {
    "paid": INVOICE_PAID,
    "credited": INVOICE_CREDITED,
    "written-off": INVOICE_WRITTEN_OFF,
    "voided": INVOICE_VOIDED,
}


def invoice_issued(row: Row, taxes: Sequence[Row], now: datetime) -> Message:
    """An invoice has its number from now on."""
    currency = row["currency"]
    told = {
        **_invoice(row, now),
        "net": amount_text(row["net"], currency),
        "tax": amount_text(row["tax"], currency),
        "issued_on": row["issued_on"],
        "tax_point_on": row["tax_point_on"],
        "due_on": row["due_on"],
        "taxes": [_tax(tax, currency) for tax in taxes],
    }
    return _message(INVOICE_ISSUED, row["id"], row["version"], told, now)


def invoice_changed(change: str, row: Row, now: datetime, amount: int | None = None, **more: Any) -> Message:
    """Something was paid, credited or written off on an invoice, or it is void; `row` is the invoice after it."""
    told = {**_invoice(row, now), **more}
    if amount is not None:
        told["amount"] = amount_text(amount, row["currency"])
    return _message(CHANGES[change], row["id"], row["version"], told, now)


def dunning_sent(row: Row, on: date, now: datetime) -> Message:
    """A reminder of an invoice was sent; `row` is the invoice at its new level."""
    told = {**_invoice(row, now), "level": row["dunning_level"], "sent_on": on}
    return _message(DUNNING_SENT, row["id"], row["version"], told, now)


def credit_note_issued(row: Row, taxes: Sequence[Row], now: datetime) -> Message:
    """A credit note has its number from now on; its key is its invoice, whose facts it stands between."""
    currency = row["currency"]
    told = {
        "organization": row["organization"],
        "ledger": row["ledger"],
        "credit_note_id": row["id"],
        "number": row["number"],
        "invoice_id": row["invoice"],
        "customer": row["customer"],
        "currency": currency,
        **{name: amount_text(row[name], currency) for name in ("net", "tax", "total")},
        "issued_on": row["issued_on"],
        "occurred_at": now,
        "taxes": [_tax(tax, currency) for tax in taxes],
    }
    headers = _headers(CREDIT_NOTE_ISSUED, f"{row['id']}/issued", now)
    return Message(INVOICING, str(row["invoice"]).encode(), orjson.dumps(told, default=str), headers)


def payment_settled(row: Row, posting: Row, now: datetime) -> Message:
    """A payment is in the books, or needs a person: the payment, and the posting of its receipt."""
    currency = row["currency"]
    told = {
        "organization": row["organization"],
        "ledger": row["ledger"],
        "payment_id": row["id"],
        "provider": row["provider"],
        "provider_payment_id": row["payment_id"],
        "customer": row["customer"],
        "currency": currency,
        **{name: amount_text(row[name], currency) for name in ("amount", "fee", "allocated", "to_credit", "unapplied")},
        "entry_id": posting["id"],
        "occurred_at": now,
    }
    if posting["state"] == "posted":
        told |= {"sequence": posting["sequence"], "effective_on": posting["effective_on"]}
        return _message(PAYMENT_POSTED, row["id"], row["version"], told, now)
    rejection = orjson.loads(posting["rejection"] or "{}")
    told |= {"code": rejection.get("code", ""), "detail": rejection.get("detail", "")}
    return _message(PAYMENT_NEEDS_ATTENTION, row["id"], row["version"], told, now)


def _invoice(row: Row, now: datetime) -> dict[str, Any]:
    currency = row["currency"]
    exponent = ISO_4217[currency].exponent
    paid, credited, written_off, total = (int(row[name]) for name in ("paid", "credited", "written_off", "total"))
    return {
        "organization": row["organization"],
        "ledger": row["ledger"],
        "invoice_id": row["id"],
        "number": row["number"],
        "customer": row["customer"],
        "currency": currency,
        "status": row["status"],
        "total": to_text(total, exponent),
        "paid": to_text(paid, exponent),
        "credited": to_text(credited, exponent),
        "written_off": to_text(written_off, exponent),
        "open": to_text(total - paid - credited - written_off, exponent),
        "version": row["version"],
        "occurred_at": now,
    }


def _tax(row: Row, currency: str) -> dict[str, str]:
    return {
        "category": row["category"],
        "rate": plain(row["rate"]),
        "base": amount_text(row["base"], currency),
        "amount": amount_text(row["amount"], currency),
    }


def _message(kind: EventType[Any], document: Any, version: int, told: Mapping[str, Any], now: datetime) -> Message:
    key = str(document)
    headers = _headers(kind, f"{key}/{version}/{kind.name.split('.')[1]}", now)
    return Message(INVOICING, key.encode(), orjson.dumps(told, default=str), headers)


def _headers(kind: EventType[Any], event_id: str, now: datetime) -> list[tuple[str, bytes]]:
    return cloud_event_headers(kind.name, INVOICING_SOURCE, event_id, now, traceparent=current_traceparent())
