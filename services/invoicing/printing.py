"""What is printed of a stored document: its row, its seller and its opened customer become one plain `PrintedInvoice`.

What it came to is read as it was kept, with the parties as they were at issue; nothing is added up again. A customer
whose personal data was erased is printed by its id alone. A delivery within the EU is printed as delivered on the tax
point, to the customer's address.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from libs.common.money import ISO_4217
from services.invoicing.documents.letter import PrintedLetter
from services.invoicing.documents.printed import Address, Party, PayTo, Preceding, PrintedInvoice, note_totals
from services.invoicing.early_payment import Terms, kept_terms
from services.invoicing.kept_totals import invoice_of, note_of
from services.invoicing.rows import Row
from services.invoicing.words import plain

VOID_NOTE = "This invoice is void: nothing is owed on it."


def printed_invoice(row: Row, seller: Mapping[str, Any], customer: Mapping[str, Any]) -> PrintedInvoice:
    """An issued invoice as it is printed."""
    content = orjson.loads(row["content"])
    totals = invoice_of(content["totals"])
    buyer = _party(customer, f"Customer {row['customer']}")
    is_within = any(terms.terms.category == "K" for terms in totals.taxes)
    return PrintedInvoice(
        number=row["number"],
        issued_on=row["issued_on"],
        tax_point_on=row["tax_point_on"],
        due_on=row["due_on"],
        delivered_on=row["tax_point_on"] if is_within else None,
        deliver_to=buyer.address if is_within else None,
        seller=_party(seller, row["organization"]),
        buyer=buyer,
        totals=totals,
        order=row["client_ref"],
        note=VOID_NOTE if row["status"] == "void" else "",
        terms=_terms(kept_terms(content.get("early_payment")), row),
        creditor_reference=row["creditor_reference"],
        pay_to=_pay_to(seller),
    )


def as_issued(row: Row, seller: Mapping[str, Any], customer: Mapping[str, Any]) -> PrintedInvoice:
    """An invoice as it was printed at issue, whatever happened to it since."""
    return replace(printed_invoice(row, seller, customer), note="")


def printed_note(row: Row, invoice: Row, seller: Mapping[str, Any], customer: Mapping[str, Any]) -> PrintedInvoice:
    """A credit note as it is printed; `invoice` is the one that it corrects."""
    sold = printed_invoice(invoice, seller, customer)
    return PrintedInvoice(
        kind="credit-note",
        number=row["number"],
        issued_on=row["issued_on"],
        due_on=row["issued_on"],
        delivered_on=sold.delivered_on,
        deliver_to=sold.deliver_to,
        seller=sold.seller,
        buyer=sold.buyer,
        totals=note_totals(sold.totals, note_of(orjson.loads(row["content"]))),
        note=row["reason"],
        preceding=Preceding(sold.number, sold.issued_on),
    )


def _terms(early: Terms | None, row: Row) -> str:
    """What a customer has to know of early payment, in a sentence."""
    if early is None:
        return ""
    return f"{plain(early.percent)} % less if it is paid by {early.until(row['issued_on'])}."


def printed_letter(row: Row, seller: Mapping[str, Any], customer: Mapping[str, Any]) -> PrintedLetter:
    """A dunning letter as it is printed."""
    content = orjson.loads(row["content"])
    return PrintedLetter(
        title=content["title"],
        text=content["text"],
        level=row["level"],
        sent_on=row["sent_on"],
        currency=ISO_4217[row["currency"]],
        seller=_party(seller, row["organization"]),
        buyer=_party(customer, f"Customer {row['customer']}"),
        rows=content["rows"],
        by_age=[(name, amount) for name, amount in content["by_age"].items() if amount],
        open=content["open"],
        fee=content["fee"],
        fee_number=content["fee_number"],
        pay_to=_pay_to(seller),
    )


def _party(known: Mapping[str, Any], otherwise: str) -> Party:
    """Who it is, as far as it is known. `tax_ids` are by scheme: VAT is the VAT id, any other a tax number."""
    tax_ids: Mapping[str, str] = known.get("tax_ids") or {}
    others = [number for scheme, number in tax_ids.items() if scheme.upper() != "VAT"]
    return Party(
        name=known.get("name") or otherwise,
        address=_address(known.get("address") or {}),
        vat_id=next((number for scheme, number in tax_ids.items() if scheme.upper() == "VAT"), None),
        tax_id=others[0] if others else None,
        legal_id=known.get("registration"),
        contact=known.get("contact"),
        email=known.get("email"),
    )


def _address(known: Mapping[str, str | None]) -> Address:
    return Address(
        lines=tuple(line for name in ("street", "street_more") if (line := known.get(name))),
        postcode=known.get("postal_code") or "",
        city=known.get("city") or "",
        region=known.get("region") or "",
        country=known.get("country") or "",
    )


def _pay_to(seller: Mapping[str, Any]) -> PayTo | None:
    iban = seller.get("iban")
    return PayTo(iban=iban, bic=seller.get("bic"), name=seller.get("name")) if iban else None
