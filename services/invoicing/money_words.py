"""How documents of money are told to callers: what went back, disputes, write-offs, credit used, payouts."""

from collections.abc import Sequence
from typing import Any

import orjson

from services.invoicing.rows import Row
from services.invoicing.words import allocation_words, amount_text, instant

_TAKEN = ("amount", "fee", "from_unapplied", "from_credit", "from_allocated")

_POSTINGS = {"posted": "posted", "needs-attention": "needs-attention", "waiting": "requested", "requested": "requested"}
"""What a document says of a posting in such a state."""


def posting_of(state: str | None) -> str:
    """What a document says of its posting."""
    return "none" if state is None else _POSTINGS[state]


def refund_words(row: Row) -> dict[str, Any]:
    """A refund, a returned payment, or one that came back: amount = from_unapplied + from_credit + from_allocated, and
    of one that came back where it went again."""
    return {
        "id": row["id"],
        "ledger": row["ledger"],
        "kind": row["kind"],
        "provider": row["provider"],
        "refund_id": row["refund_id"],
        "payment": row["payment"],
        "customer": row["customer"],
        "currency": row["currency"],
        **{name: amount_text(row[name], row["currency"]) for name in _TAKEN},
        "on": row["refunded_on"],
        "reason": row["reason"],
        "undoes": row["undoes"],
        "posting": posting_of(row["state"]),
        "created_at": instant(row["created_at"]),
    }


def dispute_words(row: Row) -> dict[str, Any]:
    """A dispute and how it stands; its posting is that of its end where it was won."""
    return {
        "id": row["id"],
        "ledger": row["ledger"],
        "provider": row["provider"],
        "dispute_id": row["dispute_id"],
        "payment": row["payment"],
        "customer": row["customer"],
        "status": row["status"],
        "currency": row["currency"],
        **{name: amount_text(row[name], row["currency"]) for name in _TAKEN},
        "opened_on": row["opened_on"],
        "settled_on": row["settled_on"],
        "posting": posting_of(row["won_state"] or row["state"]),
        "created_at": instant(row["created_at"]),
    }


def kept_credit_words(row: Row, currency: str) -> dict[str, Any]:
    """What of a payment was kept as credit, or that this was taken back."""
    return {
        "id": row["id"],
        "kind": row["kind"],
        "amount": amount_text(row["amount"], currency),
        "on": row["on_date"],
        "undoes": row["undoes"],
        "created_at": instant(row["created_at"]),
    }


def disputed_words(rows: Sequence[Row], currency: str) -> list[dict[str, Any]]:
    """Where a disputed payment's money was, in the order in which it was taken off."""
    return [{"invoice_id": row["invoice"], "amount": amount_text(row["amount"], currency)} for row in rows]


def write_off_words(row: Row) -> dict[str, Any]:
    """A write-off, its reversal, its relief, or money that came in for it; `tax` is the tax in it that was claimed."""
    return {
        "id": row["id"],
        "ledger": row["ledger"],
        "invoice_id": row["invoice"],
        "number": row["number"],
        "customer": row["customer"],
        "kind": row["kind"],
        "currency": row["currency"],
        "amount": amount_text(row["amount"], row["currency"]),
        "tax": amount_text(row["tax"], row["currency"]),
        "on": row["on_date"],
        "undoes": row["undoes"],
        "posting": row["posting"],
        "created_at": instant(row["created_at"]),
    }


def credit_application_words(row: Row, placed: Sequence[Row] = ()) -> dict[str, Any]:
    """A use of customer credit: amount = taken_back + what still stands on its invoices."""
    currency = row["currency"]
    return {
        "id": row["id"],
        "ledger": row["ledger"],
        "customer": row["customer"],
        "currency": currency,
        "amount": amount_text(row["amount"], currency),
        "taken_back": amount_text(int(row["amount"]) - int(row["left_on"]), currency),
        "on": row["applied_on"],
        "posting": row["posting"],
        "created_at": instant(row["created_at"]),
        "allocations": [allocation_words(each, currency) for each in placed],
    }


def payout_words(row: Row) -> dict[str, Any]:
    """A payout, as one of a list."""
    return {
        "id": row["id"],
        "ledger": row["ledger"],
        "provider": row["provider"],
        "payout_id": row["payout_id"],
        "currency": row["currency"],
        "amount": amount_text(row["amount"], row["currency"]),
        "on": row["paid_on"],
        "taken_back_on": row["taken_back_on"],
        "posting": row["posting"],
        "created_at": instant(row["created_at"]),
    }


def payout_items_words(row: Row) -> list[dict[str, Any]]:
    """What a payout is made of, as it was told."""
    items: list[dict[str, Any]] = orjson.loads(row["items"])
    return items
