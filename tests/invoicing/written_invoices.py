"""Invoices written as one row of text, so that tables of them can be read.

    EUR | 16 x 348.35 less 4% S22; 2 x 10 per 5 off 1.00 Z0 | discount 5.00, cash 0.05, gross, withheld 15%

A line is quantity x price, then `per` base quantity, `less` percent, `off` allowance, and its taxes: category and rate,
`*` after a tax that is on the taxes before it. Exempt categories get a reason.
"""

import re
from decimal import Decimal

from libs.common.money import ISO_4217, Currency, from_text
from services.invoicing.drafts import Draft, LineDraft, TaxTerms

_LINE = re.compile(
    r"(?P<quantity>-?[\d.]+) x (?P<price>-?[\d.]+)(?: per (?P<base>-?[\d.]+))?(?: less (?P<percent>-?[\d.]+)%)?"
    r"(?: off (?P<allowance>-?[\d.]+))?(?P<taxes>( [A-Z]+[\d.]+\*?)+)"
)


def invoice(row: str) -> Draft:
    """The draft that a row such as the one above stands for."""
    code, lines, *rest = [cell.strip() for cell in row.split("|")]
    currency = ISO_4217[code]
    options = dict((option.strip().partition(" ")[::2]) for option in rest[0].split(",")) if rest and rest[0] else {}
    withheld = options.get("withheld")
    return Draft(
        currency=currency,
        lines=tuple(_line(text.strip(), currency) for text in lines.split(";")),
        prices_include_tax="gross" in options,
        discount=from_text(options.get("discount", "0"), currency.exponent),
        cash_rounding=from_text(options.get("cash", "0"), currency.exponent),
        withholding_percent=Decimal(withheld.rstrip("%")) if withheld else None,
    )


def _line(text: str, currency: Currency) -> LineDraft:
    found = _LINE.fullmatch(text)
    assert found, text
    first, *further = [_terms(tax) for tax in found["taxes"].split()]
    return LineDraft(
        description=text,
        quantity=Decimal(found["quantity"]),
        unit_price=Decimal(found["price"]),
        base_quantity=Decimal(found["base"] or 1),
        discount_percent=Decimal(found["percent"]) if found["percent"] else None,
        allowance=from_text(found["allowance"] or "0", currency.exponent),
        tax=first,
        further_taxes=tuple(further),
    )


def _terms(text: str) -> TaxTerms:
    category, rate, star = re.fullmatch(r"([A-Z]+)([\d.]+)(\*?)", text).groups()  # type: ignore[union-attr]
    reason = f"reason of {category}" if category in {"E", "AE", "K", "G", "O"} else None
    return TaxTerms(category, Decimal(rate), None, reason, compound=bool(star))  # type: ignore[arg-type]
