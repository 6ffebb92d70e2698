"""An issued invoice or credit note as it is printed: who, whom, when, and what it came to. Plain values, no lookups.

Every document is made of one of these alone, so the same values give the same bytes, whose hash is kept at issue.
"""

from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Literal

from libs.common.money import Currency, to_text
from services.invoicing.arithmetic import LineTotal, Totals
from services.invoicing.crediting import CreditLine, CreditTotals
from services.invoicing.drafts import Draft

Kind = Literal["invoice", "credit-note"]

NOTE_POLICY = "cumulative"
"""The tax of a credit note is what its invoice's notes come to so far, less what the earlier ones took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """`country` is ISO 3166's two letters."""

    lines: tuple[str, ...] = ()
    postcode: str = ""
    city: str = ""
    region: str = ""
    country: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """Seller or buyer. `endpoint` is an electronic address in `endpoint_scheme` (EAS code), `legal_id` a registration
    in `legal_scheme` (ISO 6523), `tax_id` a tax number that is no VAT id."""

    name: str
    address: Address
    vat_id: str | None = None
    tax_id: str | None = None
    legal_id: str | None = None
    legal_scheme: str | None = None
    endpoint: str | None = None
    endpoint_scheme: str | None = None
    contact: str | None = None
    phone: str | None = None
    email: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PayTo:
    """The bank account to pay to."""

    iban: str
    bic: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Preceding:
    """The invoice that a credit note corrects."""

    number: str
    issued_on: date


@dataclass(frozen=True, slots=True)
class TaxInCurrency:
    """The document's tax in the currency it is declared in, in that currency's minor units."""

    currency: Currency
    tax: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedInvoice:
    """One document. `prepaid` is what was paid before it was printed, in minor units; a credit note has `preceding`."""

    number: str
    issued_on: date
    seller: Party
    buyer: Party
    totals: Totals
    kind: Kind = "invoice"
    due_on: date | None = None
    tax_point_on: date | None = None
    delivered_on: date | None = None
    deliver_to: Address | None = None
    buyer_reference: str | None = None
    order: str | None = None
    note: str = ""
    terms: str = ""
    creditor_reference: str | None = None
    pay_to: PayTo | None = None
    preceding: Preceding | None = None
    prepaid: int = 0
    tax_in_currency: TaxInCurrency | None = None

    @property
    def currency(self) -> Currency:
        return self.totals.currency

    @property
    def payable(self) -> int:
        """What is still to be paid, of a credit note what is given back; tax that the customer withholds is in it."""
        return self.totals.total - self.prepaid


def note_totals(invoice: Totals, note: CreditTotals) -> Totals:
    """A credit note's totals in the shape of an invoice's, its lines as they are printed: at what they give back."""
    lines = tuple(_note_line(invoice, line) for line in note.lines)
    draft = Draft(currency=invoice.currency, lines=tuple(line.draft for line in lines))
    return Totals(
        draft=draft,
        lines=lines,
        discount=0,
        taxes=note.taxes,
        net=note.net,
        tax=note.tax,
        rounding=note.rounding,
        total=note.total,
        withheld=0,
        policy=NOTE_POLICY,
    )


def _note_line(invoice: Totals, line: CreditLine) -> LineTotal:
    """A whole line comes back as it was sold; a part of one, or one the document's discount was on, at its net."""
    sold = invoice.lines[line.line]
    if line.net == sold.net and not sold.document_discount and not invoice.draft.prices_include_tax:
        return replace(sold, taxes=line.taxes)
    quantity = Decimal(-1 if line.net < 0 else 1)
    units = f" ({line.quantity.normalize():f} {sold.draft.unit})" if line.quantity is not None else ""
    draft = replace(
        sold.draft,
        description=sold.draft.description + units,
        quantity=quantity,
        unit="C62",
        unit_price=Decimal(to_text(abs(line.net), invoice.currency.exponent)),
        base_quantity=Decimal(1),
        discount_percent=None,
        allowance=0,
    )
    return LineTotal(draft, line.net, 0, line.net, 0, line.taxes)
