"""What EN 16931 asks of an e-invoice beyond its sums, and what both syntaxes write alike.

`check` names every gap before a document is written: ids and addresses that the tax category needs (BR-S-02, BR-AE-02,
BR-IC-02, BR-IC-11, BR-IC-12, BR-G-02, BR-O-02 and their like), a due date, an identified seller (BR-CO-26), one tax a
line, at most two decimals. What passes is accepted by the official rules; that is tested where they are at hand.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from libs.common.errors import Fault, Rejection
from libs.common.money import Rounding, round_ratio, to_text
from services.invoicing.arithmetic import LineTotal, TaxTotal, row_of
from services.invoicing.documents.printed import Address, Party, PrintedInvoice
from services.invoicing.documents.xml_text import unfit
from services.invoicing.rejections import reject

SPECIFICATION: Final = "urn:cen.eu:en16931:2017"
INVOICE_CODE: Final = "380"
CREDIT_NOTE_CODE: Final = "381"
CREDIT_TRANSFER: Final = "30"
DISCOUNT_CODE: Final = "95"
DISCOUNT: Final = "Discount"
DECIMALS_MAX: Final = 2
PRICE_DECIMALS: Final = 10

_COUNTRY = re.compile(r"[A-Z]{2}")

Gap = Fault


@dataclass(frozen=True, slots=True)
class Allowance:
    """The document's discount on the lines of one row of tax."""

    row: TaxTotal
    amount: int


def check(printed: PrintedInvoice) -> Rejection | None:
    """Every gap that keeps the document from being an EN 16931 invoice, with the place of each."""
    gaps = [*_of_sums(printed), *_of_parties(printed), *_of_categories(printed), *_of_texts(printed)]
    if not gaps:
        return None
    return reject("e-invoice-incomplete", "; ".join(f"{gap.pointer} {gap.detail}" for gap in gaps) + ".", gaps)


def amount(printed: PrintedInvoice, minor: int) -> str:
    return to_text(minor, printed.currency.exponent)


def number(value: Decimal) -> str:
    """An exact decimal without exponent or needless zeros.

    >>> number(Decimal("20.50")), number(Decimal("1E+2"))
    ('20.5', '100')
    """
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def rate(row: TaxTotal) -> str | None:
    """The percent of a row; what is not subject to tax has none."""
    return None if row.terms.category == "O" else number(row.terms.rate)


def row_of_line(printed: PrintedInvoice, line: LineTotal) -> TaxTotal:
    """The row of tax a line stands in."""
    wanted = row_of(line.draft.tax)
    return next(row for row in printed.totals.taxes if row_of(row.terms) == wanted)


def allowances(printed: PrintedInvoice) -> list[Allowance]:
    """The document's discount by row of tax; rows without any are left out."""
    found = []
    for row in printed.totals.taxes:
        lines = [line for line in printed.totals.lines if row_of(line.draft.tax) == row_of(row.terms)]
        if off := sum(line.document_discount for line in lines):
            found.append(Allowance(row, off))
    return found


def line_discount(printed: PrintedInvoice, line: LineTotal) -> int:
    """The line's own discount. Prices that include tax are written without either, at what they came to."""
    return 0 if printed.totals.draft.prices_include_tax else line.discount


def unit_price(printed: PrintedInvoice, line: LineTotal) -> Decimal:
    """The price without tax. Out of a price with tax it is what the line's net is per unit, with so many decimals that
    the quantity at this price is the net again."""
    draft = line.draft
    if not printed.totals.draft.prices_include_tax or not draft.quantity:
        return draft.unit_price
    up, down = draft.quantity.as_integer_ratio()
    base_up, base_down = draft.base_quantity.as_integer_ratio()
    decimals = PRICE_DECIMALS + max(0, draft.quantity.adjusted())
    numerator, denominator = abs(line.net * base_up * down), abs(up) * base_down * 10**printed.currency.exponent
    return Decimal(to_text(round_ratio(numerator * 10**decimals, denominator, Rounding.HALF_UP), decimals))


def declared_tax(printed: PrintedInvoice) -> str | None:
    """The tax in the currency it is declared in, where that is another one."""
    declared = printed.tax_in_currency
    return None if declared is None else to_text(declared.tax, declared.currency.exponent)


def declared_in(printed: PrintedInvoice) -> str | None:
    return None if printed.tax_in_currency is None else printed.tax_in_currency.currency.code


def lines_net(printed: PrintedInvoice) -> int:
    return sum(line.net for line in printed.totals.lines)


def without_vat_ids(printed: PrintedInvoice) -> bool:
    """What is not subject to tax names no VAT id (BR-O-02)."""
    return any(row.terms.category == "O" for row in printed.totals.taxes)


def _of_sums(printed: PrintedInvoice) -> Iterator[Gap]:
    if printed.currency.exponent > DECIMALS_MAX:
        yield Gap("/currency", f"has {printed.currency.exponent} decimals, an e-invoice has at most {DECIMALS_MAX}")
    for place, line in enumerate(printed.totals.lines):
        if line.draft.further_taxes:
            yield Gap(f"/lines/{place}/further_taxes", "is a second tax, an e-invoice has one a line")
        if not line.draft.description:
            yield Gap(f"/lines/{place}/description", "is empty")
    if printed.payable > 0 and printed.due_on is None and not printed.terms:
        yield Gap("/due_on", "is missing, and there are no terms of payment")
    if printed.kind == "credit-note" and printed.preceding is None:
        yield Gap("/preceding", "is missing: a credit note names its invoice")


def _of_parties(printed: PrintedInvoice) -> Iterator[Gap]:
    for at, party in (("/seller", printed.seller), ("/buyer", printed.buyer)):
        if not party.name:
            yield Gap(f"{at}/name", "is missing")
        yield from _of_address(f"{at}/address", party.address)
        if party.vat_id and not _COUNTRY.match(party.vat_id):
            yield Gap(f"{at}/vat_id", "does not begin with a country")
        if party.endpoint and not party.endpoint_scheme:
            yield Gap(f"{at}/endpoint_scheme", "is missing")
    if printed.deliver_to is not None:
        yield from _of_address("/deliver_to", printed.deliver_to)
    seller_vat = None if without_vat_ids(printed) else printed.seller.vat_id
    if not (seller_vat or printed.seller.legal_id):
        yield Gap("/seller/legal_id", "is missing: the seller is identified by a VAT id or a registration")


def _of_address(at: str, address: Address) -> Iterator[Gap]:
    if not _COUNTRY.fullmatch(address.country):
        yield Gap(f"{at}/country", "is no two-letter country")


def _of_categories(printed: PrintedInvoice) -> Iterator[Gap]:
    seller, buyer = printed.seller, printed.buyer
    for category in dict.fromkeys(row.terms.category for row in printed.totals.taxes):
        seller_ids = [seller.vat_id] if category in {"K", "G"} else [seller.vat_id, seller.tax_id]
        if category != "O" and not any(seller_ids):
            yield Gap("/seller/vat_id", f"is needed by category {category}")
        if category == "AE" and not (buyer.vat_id or buyer.legal_id):
            yield Gap("/buyer/vat_id", "is needed by category AE")
        if category == "K":
            yield from _of_delivery_within(printed)


def _of_delivery_within(printed: PrintedInvoice) -> Iterator[Gap]:
    """A delivery within the EU says to whom, when and where to."""
    if not printed.buyer.vat_id:
        yield Gap("/buyer/vat_id", "is needed by category K")
    if printed.delivered_on is None:
        yield Gap("/delivered_on", "is needed by category K")
    if printed.deliver_to is None:
        yield Gap("/deliver_to", "is needed by category K")


def _of_texts(printed: PrintedInvoice) -> Iterator[Gap]:
    texts = {"/number": printed.number, "/note": printed.note, "/terms": printed.terms, "/order": printed.order or ""}
    texts |= {f"/lines/{place}/description": line.draft.description for place, line in enumerate(printed.totals.lines)}
    for at, party in (("/seller", printed.seller), ("/buyer", printed.buyer)):
        texts |= {f"{at}/{name}": text for name, text in _texts_of(party).items()}
    for pointer, text in texts.items():
        if unfit(text):
            yield Gap(pointer, "has characters that XML cannot carry")


def _texts_of(party: Party) -> dict[str, str]:
    named = {"name": party.name, "contact": party.contact, "email": party.email, "phone": party.phone}
    address = party.address
    named |= {"address": "".join([*address.lines, address.city, address.postcode, address.region])}
    return {name: text or "" for name, text in named.items()}
