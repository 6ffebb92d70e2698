"""From what somebody wants on an invoice to what it comes to: dates, lines, products and tax rates put together. Pure.

    wish + what was found (customer, ledger's terms, products, tax rates) -> Planned, or the rejection

The short form has a total and no lines: it becomes one line of that amount, outside of tax.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

from libs.common.errors import Fault, Rejection
from libs.common.money import ISO_4217, Currency, from_text, to_minor
from services.invoicing.arithmetic import Totals, total_matches, totals
from services.invoicing.drafts import Draft, LineDraft, TaxTerms
from services.invoicing.early_payment import Terms, as_terms
from services.invoicing.rejections import reject
from services.invoicing.rows import Row

UNTAXED: Final = TaxTerms("O", Decimal(0), None, "No tax was stated")
"""What the short form's one line says of tax."""

TERMS_DAYS_DEFAULT: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class LineWish:
    """One line as it is wanted. Its price, currency, tax and account may come from its product; its tax from a code."""

    description: str | None = None
    quantity: Decimal = Decimal(1)
    unit_price: Decimal | None = None
    base_quantity: Decimal = Decimal(1)
    discount_percent: Decimal | None = None
    allowance: str | None = None
    tax: TaxTerms | None = None
    tax_code: str | None = None
    further_taxes: tuple[TaxTerms, ...] = ()
    revenue_account: str | None = None
    service_from: date | None = None
    service_to: date | None = None
    product: str | None = None
    unit: str = "C62"


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceWish:
    """An invoice as it is wanted. `customer` is an id or a name; `total` is stated to be checked, or all there is.

    `id` is the invoice's where it is derived from what it is made for; else a new one is drawn.
    """

    organization: str
    ledger: str
    customer: str
    make_customer: bool = False
    currency: str | None = None
    issued_on: date | None = None
    tax_point_on: date | None = None
    due_on: date | None = None
    lines: tuple[LineWish, ...] = ()
    total: str | None = None
    prices_include_tax: bool = False
    discount: str | None = None
    withholding_percent: Decimal | None = None
    early_payment: tuple[Decimal, int] | None = None
    issue: bool = False
    series: str | None = None
    client_ref: str | None = None
    description: str | None = None
    id: UUID | None = None

    @property
    def tax_codes(self) -> list[str]:
        """Tax codes that the lines name themselves."""
        return [line.tax_code for line in self.lines if line.tax_code is not None]

    @property
    def product_codes(self) -> list[str]:
        """Products that the lines name."""
        return [line.product for line in self.lines if line.product is not None]


class Found(NamedTuple):
    """What a wish's words mean in the database."""

    customer: UUID
    customer_currency: str | None
    payment_terms_days: int
    functional_currency: str
    cash_rounding: Mapping[str, str]
    products: Mapping[str, Row]
    tax_rates: Mapping[str, TaxTerms]
    today: date
    early_payment: Terms | None = None


@dataclass(frozen=True, slots=True)
class Planned:
    """An invoice added up, with its dates."""

    wish: InvoiceWish
    customer: UUID
    issued_on: date
    tax_point_on: date
    due_on: date
    totals: Totals
    early_payment: Terms | None = None


def tax_point_of(wish: InvoiceWish, today: date) -> date:
    """The day whose tax rates hold."""
    return wish.tax_point_on or wish.issued_on or today


def plan(wish: InvoiceWish, found: Found) -> Planned | Rejection:
    """What the wish comes to, or the first reason why it cannot be."""
    code = wish.currency or found.customer_currency or found.functional_currency
    currency = ISO_4217.get(code)
    if currency is None:
        said = f"is {code}" if code else "is missing, and neither the customer nor the ledger has one"
        return reject("unknown-currency", errors=[Fault("/currency", said)], currency=code)
    issued_on = wish.issued_on or found.today
    due_on = wish.due_on or issued_on + timedelta(days=found.payment_terms_days)
    if due_on < issued_on:
        fault = Fault("/due_on", f"is {due_on}, before {issued_on}")
        return reject("dates-out-of-order", errors=[fault], issued_on=str(issued_on), due_on=str(due_on))
    draft = _draft(wish, found, currency)
    if isinstance(draft, Rejection):
        return draft
    added_up = totals(draft)
    if isinstance(added_up, Rejection):
        return added_up
    if wish.total is not None:
        stated = _exact(wish.total, currency, "/total")
        if isinstance(stated, Rejection):
            return stated
        if refused := total_matches(added_up, stated):
            return refused
    early = found.early_payment if wish.early_payment is None else as_terms(*wish.early_payment)
    if isinstance(early, Rejection):
        return early
    return Planned(wish, found.customer, issued_on, tax_point_of(wish, found.today), due_on, added_up, early)


def _draft(wish: InvoiceWish, found: Found, currency: Currency) -> Draft | Rejection:
    lines: list[LineDraft] = []
    for place, line in enumerate(_lines(wish)):
        made = _line(line, found, currency, f"/lines/{place}" if wish.lines else "/total")
        if isinstance(made, Rejection):
            return made
        lines.append(made)
    discount = _exact(wish.discount or "0", currency, "/discount")
    if isinstance(discount, Rejection):
        return discount
    step = found.cash_rounding.get(currency.code)
    return Draft(
        currency=currency,
        lines=tuple(lines),
        prices_include_tax=wish.prices_include_tax,
        discount=discount,
        cash_rounding=from_text(step, currency.exponent) if step else 0,
        withholding_percent=wish.withholding_percent,
    )


def _lines(wish: InvoiceWish) -> tuple[LineWish, ...]:
    if wish.lines or wish.total is None:
        return wish.lines
    return (LineWish(description=wish.description or "Invoice", unit_price=Decimal(wish.total), tax=UNTAXED),)


def _line(line: LineWish, found: Found, currency: Currency, at: str) -> LineDraft | Rejection:
    product: Row | None = None
    if line.product is not None:
        product = found.products.get(line.product)
        if product is None:
            return reject("unknown-product", errors=[Fault(f"{at}/product", f"is {line.product}")])
        if line.unit_price is None and product["currency"] != currency.code:
            said = f"has its price in {product['currency']}"
            return reject("currency-mismatch", errors=[Fault(f"{at}/product", said)], currency=currency.code)
    price = line.unit_price if line.unit_price is not None else product["unit_price"] if product else None
    description = line.description or (product["name"] if product else None)
    if price is None or description is None:
        missing = "unit_price" if price is None else "description"
        return reject("line-incomplete", errors=[Fault(f"{at}/{missing}", "is missing")])
    terms = _terms(line, product, found, at)
    if isinstance(terms, Rejection):
        return terms
    allowance = _exact(line.allowance or "0", currency, f"{at}/allowance")
    if isinstance(allowance, Rejection):
        return allowance
    return LineDraft(
        description=description,
        quantity=line.quantity,
        unit_price=price,
        base_quantity=product["base_quantity"] if product and line.unit_price is None else line.base_quantity,
        discount_percent=line.discount_percent,
        allowance=allowance,
        tax=terms,
        further_taxes=line.further_taxes,
        revenue_account=line.revenue_account or (product["revenue_account"] if product else None),
        service_from=line.service_from,
        service_to=line.service_to,
        product=line.product,
        unit=line.unit,
    )


def _terms(line: LineWish, product: Row | None, found: Found, at: str) -> TaxTerms | Rejection:
    if line.tax is not None:
        return line.tax
    code = line.tax_code or (product["tax_rate"] if product else None)
    if code is None:
        return reject("line-incomplete", errors=[Fault(f"{at}/tax", "is missing")])
    terms = found.tax_rates.get(code)
    if terms is None:
        return reject("unknown-tax-rate", errors=[Fault(f"{at}/tax/code", f"is {code}")], tax_code=code)
    return terms


def _exact(text: str, currency: Currency, pointer: str) -> int | Rejection:
    """Minor units of an amount that may be zero or less; what is wrong with it is said at its place."""
    negative = text.startswith("-")
    minor = to_minor(text.removeprefix("-"), currency.exponent)
    if minor == "amount-not-positive":
        return 0
    if isinstance(minor, str):
        return reject(minor, errors=[Fault(pointer, f"is {text[:60]}")], currency=currency.code)
    return -minor if negative else minor
