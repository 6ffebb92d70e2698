"""What an invoice asks for, as plain values, and what is refused before anything is added up.

Prices, quantities and percents are exact decimals; amounts that are stated as amounts are minor units of the invoice's
currency. Limits: 1,000 lines, prices and quantities with up to 8 decimals, percents with up to 6. The rules of the tax
categories are EN 16931's (BR-S-05 and its like for the other categories: which rate and which reason goes with which).
"""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Literal, get_args

from libs.common.errors import Fault, Rejection
from libs.common.money import AMOUNT_MAX, Currency, to_text
from libs.common.values import value
from services.invoicing.rejections import PRECEDENCE, reject

TaxCategory = Literal["S", "Z", "E", "AE", "K", "G", "O", "L", "M"]
"""S standard, Z zero rated, E exempt, AE reverse charge, K within the EU, G export, O not subject to tax, L Canaries,
M Ceuta and Melilla (UNTDID 5305)."""

LINES_MAX = 1_000
TAXES_MAX = 8
"""On one line."""
PRICE_DECIMALS_MAX = 8
PERCENT_DECIMALS_MAX = 6
TAX_RATE_MAX = Decimal(1_000)
AMOUNT_DIGITS_MAX = 30
"""Digits before the decimal point: more would be more than an amount holds, whatever the currency."""

_CATEGORIES = frozenset(get_args(TaxCategory))
_WITH_REASON = frozenset({"E", "AE", "K", "G", "O"})
_HUNDRED = Decimal(100)


@value(frozen=True, slots=True)
class TaxTerms:
    """One tax on a line. `rate` in percent. `name` tells taxes of one category and rate apart ("GST", "QST"); a
    `compound` tax is taken on the line and the other taxes on it."""

    category: TaxCategory
    rate: Decimal
    exemption_code: str | None = None
    exemption_reason: str | None = None
    name: str = ""
    compound: bool = False


@value(frozen=True, slots=True, kw_only=True)
class LineDraft:
    """One line. `unit_price` is for `base_quantity` units; `allowance` is taken off after the percent, in minor units
    and in the direction of the line: a return of what was sold with an allowance gives that much less back."""

    description: str
    quantity: Decimal
    unit_price: Decimal
    tax: TaxTerms
    base_quantity: Decimal = Decimal(1)
    discount_percent: Decimal | None = None
    allowance: int = 0
    further_taxes: tuple[TaxTerms, ...] = ()
    revenue_account: str | None = None
    service_from: date | None = None
    service_to: date | None = None
    product: str | None = None
    unit: str = "C62"

    @property
    def taxes(self) -> tuple[TaxTerms, ...]:
        return (self.tax, *self.further_taxes)


@value(frozen=True, slots=True, kw_only=True)
class Draft:
    """An invoice before it is added up. `discount` is off the whole document in minor units (with tax where the prices
    include it); `cash_rounding` is the smallest coin in minor units, 0 for none."""

    currency: Currency
    lines: tuple[LineDraft, ...]
    prices_include_tax: bool = False
    discount: int = 0
    cash_rounding: int = 0
    withholding_percent: Decimal | None = None


Finding = tuple[str, Fault]


def check(draft: Draft) -> Rejection | None:
    """Why this draft cannot be added up: the first code in precedence, with every place that is wrong in that way."""
    if not draft.lines:
        return reject("no-lines", errors=[Fault("/lines", "is empty")])
    if len(draft.lines) > LINES_MAX:
        return reject("too-many-lines", errors=[Fault("/lines", f"has {len(draft.lines)}")], lines=len(draft.lines))
    if unkept := first_of(list(_numbers(draft))):
        return unkept
    findings = list(_of_document(draft))
    for place, line in enumerate(draft.lines):
        findings += _of_line(line, f"/lines/{place}")
    return first_of(findings)


def first_of(findings: list[Finding]) -> Rejection | None:
    """The rejection that stands first among the findings, with all their places."""
    if not findings:
        return None
    code = min((code for code, _ in findings), key=PRECEDENCE.__getitem__)
    return reject(code, errors=[fault for found, fault in findings if found == code])


def _numbers(draft: Draft) -> Iterator[Finding]:
    """Numbers that are not kept, told by their digits alone, before anything is computed with them."""
    for name, amount in (("discount", draft.discount), ("cash_rounding", draft.cash_rounding)):
        if abs(amount) > AMOUNT_MAX:
            yield "amount-out-of-range", Fault(f"/{name}", "is too large")
    yield from number_findings(draft.withholding_percent, PERCENT_DECIMALS_MAX, "/withholding_percent")
    for place, line in enumerate(draft.lines):
        at = f"/lines/{place}"
        yield from number_findings(line.quantity, PRICE_DECIMALS_MAX, f"{at}/quantity")
        yield from number_findings(line.unit_price, PRICE_DECIMALS_MAX, f"{at}/unit_price")
        yield from number_findings(line.base_quantity, PRICE_DECIMALS_MAX, f"{at}/base_quantity")
        yield from number_findings(line.discount_percent, PERCENT_DECIMALS_MAX, f"{at}/discount_percent")
        for number, terms in enumerate(line.taxes):
            yield from number_findings(terms.rate, PERCENT_DECIMALS_MAX, f"{_tax_pointer(at, number)}/rate")


def number_findings(value: Decimal | None, decimals_max: int, pointer: str) -> Iterator[Finding]:
    """Whether a number is one that is kept."""
    if value is None:
        return
    _, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int) or value.adjusted() > AMOUNT_DIGITS_MAX or len(digits) > 2 * AMOUNT_DIGITS_MAX:
        yield "amount-out-of-range", Fault(pointer, "is no number that is kept")
    elif exponent < -decimals_max and any(digits[decimals_max + exponent :]):
        yield "too-many-decimals", Fault(pointer, f"has more than {decimals_max} decimals")


def _of_document(draft: Draft) -> Iterator[Finding]:
    categories = {terms.category for line in draft.lines for terms in line.taxes}
    if "O" in categories and len(categories) > 1:
        yield "tax-categories-mixed", Fault("/lines", f"has categories {', '.join(sorted(categories))}")
    if draft.discount < 0:
        yield "discount-out-of-range", Fault("/discount", "is negative")
    if draft.cash_rounding < 0:
        yield "cash-rounding-negative", Fault("/cash_rounding", "is negative")
    withheld = draft.withholding_percent
    if withheld is not None and not 0 <= withheld <= _HUNDRED:
        yield "withholding-out-of-range", Fault("/withholding_percent", f"is {withheld}")


def _of_line(line: LineDraft, at: str) -> Iterator[Finding]:
    if line.unit_price < 0:
        yield "price-negative", Fault(f"{at}/unit_price", f"is {line.unit_price}")
    if line.base_quantity <= 0:
        yield "quantity-out-of-range", Fault(f"{at}/base_quantity", f"is {line.base_quantity}")
    if line.discount_percent is not None and not 0 <= line.discount_percent <= _HUNDRED:
        yield "discount-out-of-range", Fault(f"{at}/discount_percent", f"is {line.discount_percent}")
    if line.allowance < 0:
        yield "discount-out-of-range", Fault(f"{at}/allowance", "is negative")
    if (line.service_from is None) != (line.service_to is None):
        yield "service-period-invalid", Fault(at, "has one end of its service period and not the other")
    elif line.service_from is not None and line.service_to is not None and line.service_from > line.service_to:
        yield "service-period-invalid", Fault(f"{at}/service_to", f"is before {line.service_from}")
    yield from _of_taxes(line, at)


def _of_taxes(line: LineDraft, at: str) -> Iterator[Finding]:
    if len(line.taxes) > TAXES_MAX:
        yield "too-many-taxes", Fault(f"{at}/further_taxes", f"makes {len(line.taxes)} taxes")
    for place, terms in enumerate(line.taxes):
        pointer = _tax_pointer(at, place)
        if terms.category not in _CATEGORIES:
            yield "tax-category-unknown", Fault(f"{pointer}/category", f"is {terms.category}")
            continue
        yield from _of_terms(terms, pointer)
        if terms.compound and place != len(line.taxes) - 1:
            yield "compound-tax-not-last", Fault(pointer, "is on tax, and not the last of its line")
        if terms.compound and place == 0:
            yield "compound-tax-not-last", Fault(pointer, "is on tax, and there is no other")


def _of_terms(terms: TaxTerms, pointer: str) -> Iterator[Finding]:
    category, rate = terms.category, terms.rate
    if not 0 <= rate <= TAX_RATE_MAX:
        yield "tax-rate-not-allowed", Fault(f"{pointer}/rate", f"is {rate}; a rate is from 0 to {TAX_RATE_MAX} percent")
    elif category == "S" and rate == 0:
        yield "tax-rate-not-allowed", Fault(f"{pointer}/rate", "is 0; category S has a rate, zero rated is Z")
    elif category not in {"S", "L", "M"} and rate != 0:
        yield "tax-rate-not-allowed", Fault(f"{pointer}/rate", f"is {rate}; category {category} has rate 0")
    reason = terms.exemption_code or terms.exemption_reason
    if category in _WITH_REASON and not reason:
        yield "exemption-reason-missing", Fault(f"{pointer}/exemption_reason", f"is needed by category {category}")
    if category not in _WITH_REASON and reason:
        yield "exemption-reason-not-allowed", Fault(f"{pointer}/exemption_reason", f"goes not with category {category}")


def _tax_pointer(at: str, place: int) -> str:
    return f"{at}/tax" if place == 0 else f"{at}/further_taxes/{place - 1}"


def text(minor: int, currency: Currency) -> str:
    """An amount of the invoice's currency as exact text."""
    return to_text(minor, currency.exponent)
