"""How documents are told to callers: amounts as text in major units, the same members wherever a document appears."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import orjson

from libs.common.messages import rfc3339
from libs.common.money import ISO_4217, to_text
from services.invoicing.rows import Row


def amount_text(minor: Any, currency: str) -> str:
    """An amount of a currency as exact text."""
    return to_text(int(minor), ISO_4217[currency].exponent)


def instant(value: datetime | None) -> str | None:
    """An instant in UTC as text, alike in every answer."""
    return None if value is None else rfc3339(value)


def plain(number: Any) -> str:
    """A quantity, price or percent without zeros that say nothing."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def tax_words(taxes: Iterable[Row], currency: str) -> list[dict[str, Any]]:
    """The tax rows of a document."""
    return [
        {
            "category": row["category"],
            "rate": plain(row["rate"]),
            "exemption_code": row["exemption_code"],
            "exemption_reason": row["exemption_reason"],
            "base": amount_text(row["base"], currency),
            "amount": amount_text(row["amount"], currency),
        }
        for row in taxes
    ]


def line_words(lines: Iterable[Row], currency: str) -> list[dict[str, Any]]:
    """The lines of an invoice."""
    return [
        {
            "line": row["line"],
            "description": row["description"],
            "quantity": plain(row["quantity"]),
            "unit_price": plain(row["unit_price"]),
            "product": row["product"],
            "revenue_account": row["revenue_account"],
            "discount": amount_text(row["discount"], currency),
            "net": amount_text(row["net"], currency),
            "tax": amount_text(row["tax"], currency),
            "service_from": row["service_from"],
            "service_to": row["service_to"],
        }
        for row in lines
    ]


def invoice_words(row: Row, taxes: Sequence[Row] = (), lines: Sequence[Row] = ()) -> dict[str, Any]:
    """An invoice: total = paid + credited + written_off + open."""
    currency = row["currency"]
    paid, credited, written_off = (int(row[name]) for name in ("paid", "credited", "written_off"))
    amounts = {
        "net": row["net"],
        "tax": row["tax"],
        "rounding": row["rounding"],
        "total": row["total"],
        "paid": paid,
        "credited": credited,
        "written_off": written_off,
        "open": int(row["total"]) - paid - credited - written_off,
    }
    return {
        "id": row["id"],
        "ledger": row["ledger"],
        "customer": row["customer"],
        "number": row["number"],
        "status": row["status"],
        "posting": row["posting"],
        "currency": currency,
        "issued_on": row["issued_on"],
        "tax_point_on": row["tax_point_on"],
        "due_on": row["due_on"],
        **{name: amount_text(amount, currency) for name, amount in amounts.items()},
        "creditor_reference": row["creditor_reference"],
        "client_ref": row["client_ref"],
        "version": row["version"],
        "created_at": instant(row["created_at"]),
        "issued_at": instant(row["issued_at"]),
        "taxes": tax_words(taxes, currency),
        "lines": line_words(lines, currency),
    }


def payment_words(row: Row, allocations: Sequence[Row] = ()) -> dict[str, Any]:
    """A payment: amount = allocated + unapplied + to_credit + refunded, the fee is inside it."""
    currency = row["currency"]
    return {
        "id": row["id"],
        "ledger": row["ledger"],
        "provider": row["provider"],
        "payment_id": row["payment_id"],
        "customer": row["customer"],
        "currency": currency,
        **{
            name: amount_text(row[name], currency)
            for name in ("amount", "fee", "allocated", "unapplied", "to_credit", "refunded")
        },
        "received_on": row["received_on"],
        "method": row["method"],
        "account": row["account"],
        "reference": row["reference"],
        "reason": row["reason"],
        "posting": row["posting"],
        "client_ref": row["client_ref"],
        "version": row["version"],
        "created_at": instant(row["created_at"]),
        "rate": rate_words(row),
        "allocations": [allocation_words(each, owed_in(each, currency), currency) for each in allocations],
    }


def owed_in(row: Row, currency: str) -> str:
    """The currency of an allocation's invoice; that of its payment, where the row says none."""
    return str(row["currency"]) if "currency" in row.keys() else currency  # noqa: SIM118 # a record is no mapping


def allocation_words(row: Row, currency: str, paid_currency: str | None = None) -> dict[str, Any]:
    """An allocation, or the undoing of one: `amount` in its invoice's currency, `paid` in its payment's where that is
    another one."""
    paid = None if row["paid"] is None or paid_currency is None else amount_text(row["paid"], paid_currency)
    return {
        "id": row["id"],
        "source": row["source"],
        "source_id": row["source_id"],
        "invoice": row["invoice"],
        "amount": amount_text(row["amount"], currency),
        "currency": currency,
        "paid": paid,
        "on": row["on_date"],
        "undoes": row["undoes"],
        "created_at": instant(row["created_at"]),
    }


def rate_words(row: Row) -> dict[str, Any] | None:
    """The rate that a payment states, None where it is in its invoices' currency."""
    if row["stated_rate"] is None:
        return None
    return {"base": row["stated_base"], "counter": row["stated_counter"], "rate": plain(row["stated_rate"])}


def credit_note_words(row: Row, taxes: Sequence[Row] = ()) -> dict[str, Any]:
    """A credit note: total = applied to its invoice + to customer credit."""
    currency = row["currency"]
    return {
        "id": row["id"],
        "ledger": row["ledger"],
        "invoice_id": row["invoice"],
        "customer": row["customer"],
        "number": row["number"],
        "currency": currency,
        "issued_on": row["issued_on"],
        "reason": row["reason"],
        **{name: amount_text(row[name], currency) for name in ("net", "tax", "total", "applied", "to_credit")},
        "posting": row["posting"],
        "created_at": instant(row["created_at"]),
        "taxes": tax_words(taxes, currency),
    }


def early_payment_words(percent: Any, within_days: int | None) -> dict[str, Any] | None:
    """Terms for early payment; null where there are none."""
    return None if percent is None else {"percent": plain(percent), "within_days": within_days}


def settlement_words(row: Row, currency: str) -> dict[str, Any]:
    """A discount, tax withheld or write-off of an invoice, or what took it back."""
    return {
        "document": row["document"],
        "id": row["id"],
        "kind": row["kind"],
        "amount": amount_text(row["amount"], currency),
        "on": row["on_date"],
        "undoes": row["undoes"],
        "posting": row["posting"],
        "created_at": instant(row["created_at"]),
    }


def money_back_words(row: Row, currency: str) -> dict[str, Any]:
    """A refund, a return or a dispute of a payment, and from where it was taken."""
    names = ("amount", "fee", "from_unapplied", "from_credit", "from_allocated")
    return {
        "kind": row["kind"],
        "id": row["id"],
        "name": row["name"],
        "status": row["status"],
        **{name: amount_text(row[name], currency) for name in names},
        "on": row["on_date"],
        "reason": row["reason"],
        "created_at": instant(row["created_at"]),
    }


def invoice_terms_words(row: Row, currency: str) -> dict[str, Any]:
    """An invoice's terms for early payment, its last day in time and what was taken."""
    told = early_payment_words(row["percent"], row["within_days"]) or {}
    return {**told, "until": row["until"], "taken": amount_text(row["taken"], currency)}


def discount_words(row: Row, invoice: Row) -> dict[str, Any]:
    """A discount or the loss of one, and its invoice after it."""
    return {
        "id": row["id"],
        "invoice_id": row["invoice"],
        "kind": row["kind"],
        "undoes": row["undoes"],
        "currency": row["currency"],
        **{name: amount_text(row[name], row["currency"]) for name in ("net", "tax", "total")},
        "on": row["on_date"],
        "posting": row["posting"],
        "created_at": instant(row["created_at"]),
        "invoice": invoice_words(invoice),
    }


def withholding_words(row: Row, invoice: Row) -> dict[str, Any]:
    """Tax withheld, or taken back, and its invoice after it."""
    return {
        "id": row["id"],
        "invoice_id": row["invoice"],
        "kind": row["kind"],
        "undoes": row["undoes"],
        "currency": row["currency"],
        "amount": amount_text(row["amount"], row["currency"]),
        "certificate": row["certificate"],
        "on": row["on_date"],
        "posting": row["posting"],
        "created_at": instant(row["created_at"]),
        "invoice": invoice_words(invoice),
    }


def refund_payable_words(row: Row) -> dict[str, Any]:
    """A promised refund: amount = paid + cancelled + left."""
    currency = row["currency"]
    amounts = {name: int(row[name]) for name in ("amount", "paid", "cancelled")}
    amounts["left"] = amounts["amount"] - amounts["paid"] - amounts["cancelled"]
    return {
        "id": row["id"],
        "ledger": row["ledger"],
        "customer": row["customer"],
        "payment": row["payment"],
        "currency": currency,
        **{name: amount_text(amount, currency) for name, amount in amounts.items()},
        "on": row["on_date"],
        "reason": row["reason"],
        "posting": row["posting"],
        "version": row["version"],
        "created_at": instant(row["created_at"]),
    }


def posting_words(row: Row) -> dict[str, Any]:
    """What the ledger was asked, and what it said."""
    told = {name: instant(value) if name.endswith("_at") else value for name, value in dict(row).items()}
    told["rejection"] = orjson.loads(row["rejection"]) if row["rejection"] is not None else None
    return told


def product_words(row: Row) -> dict[str, Any]:
    """A product and its price."""
    return {
        "id": row["id"],
        "code": row["code"],
        "name": row["name"],
        "currency": row["currency"],
        "unit_price": plain(row["unit_price"]),
        "base_quantity": plain(row["base_quantity"]),
        "tax_rate": row["tax_rate"],
        "revenue_account": row["revenue_account"],
        "active": row["active"],
        "version": row["version"],
        "created_at": instant(row["created_at"]),
    }


def tax_rate_words(row: Row) -> dict[str, Any]:
    """What a tax code means from one day to another."""
    return {
        "id": row["id"],
        "code": row["code"],
        "category": row["category"],
        "rate": plain(row["rate"]),
        "exemption_code": row["exemption_code"],
        "exemption_reason": row["exemption_reason"],
        "valid_from": row["valid_from"],
        "valid_to": row["valid_to"],
    }
