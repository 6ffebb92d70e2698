"""An invoice or credit note as one HTML page that stands alone: no script, no picture, nothing fetched.

What is shown adds up, in the order it is read: the lines' amounts, less the discount, plus tax (which is inside where
prices include it), plus cash rounding, is the total. Every amount has its minor units beside it, as `data-minor`, for
programs to add up too. The same document gives the same bytes; their hash is kept at issue.
"""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from hashlib import sha256
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from libs.common.money import Currency, to_text
from services.invoicing.arithmetic import LineTotal, TaxTotal
from services.invoicing.creditor_reference import printed as in_groups
from services.invoicing.documents.en16931 import number
from services.invoicing.documents.printed import PrintedInvoice

TITLES: Final = {"invoice": "Invoice", "credit-note": "Credit note"}

_CATEGORY_TEXTS: Final = {
    "AE": "Reverse charge: the customer accounts for the tax.",
    "K": "Supply within the European Union, exempt from tax.",
    "G": "Export, exempt from tax.",
    "O": "Not subject to tax.",
}
_CATEGORY_NAMES: Final = {"E": "exempt", "AE": "reverse charge", "K": "EU supply", "G": "export", "O": "not subject"}
_UNITS: Final = {"C62": "", "HUR": "h", "DAY": "d", "MON": "months", "KGM": "kg", "MTR": "m", "LTR": "l", "KWH": "kWh"}


@dataclass(frozen=True, slots=True)
class _Shown:
    """One line as it is printed."""

    line: LineTotal
    quantity: str
    price: str
    discount: str
    taxes: str
    amount: int


def render(printed: PrintedInvoice) -> str:
    """The page."""
    totals = printed.totals
    inclusive = totals.draft.prices_include_tax
    return _TEMPLATE.render(
        printed=printed,
        title=TITLES[printed.kind],
        inclusive=inclusive,
        lines=[_shown(printed, line, inclusive) for line in totals.lines],
        sum_of_lines=sum(line.shown for line in totals.lines),
        discount=totals.draft.discount if inclusive else totals.discount,
        rows=[(_row_name(row), row) for row in totals.taxes],
        reasons=_reasons(totals.taxes),
        reference=in_groups(printed.creditor_reference) if printed.creditor_reference else printed.number,
    )


def hash_of(page: str) -> bytes:
    """SHA-256 of the page's bytes: what is kept of a document at issue."""
    return sha256(page.encode()).digest()


def _shown(printed: PrintedInvoice, line: LineTotal, inclusive: bool) -> _Shown:
    draft, exponent = line.draft, printed.currency.exponent
    unit = _UNITS.get(draft.unit, draft.unit)
    per = "" if draft.base_quantity == 1 else f" per {number(draft.base_quantity)}"
    percent = f"{number(draft.discount_percent)}%" if draft.discount_percent else ""
    allowance = _grouped(to_text(draft.allowance, exponent)) if draft.allowance else ""
    return _Shown(
        line=line,
        quantity=f"{number(draft.quantity)} {unit}".strip(),
        price=f"{_price(draft.unit_price, exponent)}{per}",
        discount=" + ".join(part for part in (percent, allowance) if part),
        taxes=", ".join(_terms_name(terms.category, terms.rate, terms.name) for terms in draft.taxes),
        amount=line.shown if inclusive else line.net,
    )


def _price(price: Decimal, exponent: int) -> str:
    """A price with at least the currency's decimals."""
    whole, _, decimals = number(price).partition(".")
    decimals = decimals.ljust(exponent, "0")
    return _grouped(f"{whole}.{decimals}" if decimals else whole)


def _row_name(row: TaxTotal) -> str:
    return _terms_name(row.terms.category, row.terms.rate, row.terms.name)


def _terms_name(category: str, rate: Decimal, name: str) -> str:
    if category in {"S", "L", "M", "Z"}:
        return f"{name or 'VAT'} {number(rate)}%"
    return f"{name or 'VAT'} {_CATEGORY_NAMES[category]}"


def _reasons(rows: tuple[TaxTotal, ...]) -> list[str]:
    """Why tax is not charged, as the law wants it said on the document."""
    found = []
    for row in rows:
        own = row.terms.exemption_reason or row.terms.exemption_code
        if standing := _CATEGORY_TEXTS.get(row.terms.category):
            found.append(f"{standing} {own}" if own else standing)
        elif own:
            found.append(f"Exempt from tax: {own}")
    return found


def _grouped(text: str) -> str:
    """Digits in groups of three.

    >>> _grouped("-1234567.80"), _grouped("999")
    ('-1,234,567.80', '999')
    """
    sign = "-" if text.startswith("-") else ""
    whole, point, decimals = text.removeprefix("-").partition(".")
    return f"{sign}{int(whole):,}{point}{decimals}"


def _amount(minor: int, currency: Currency, part: str) -> Markup:
    """An amount with its minor units beside it, and the part it plays in the sum."""
    shown = _grouped(to_text(minor, currency.exponent))
    return Markup('<span data-minor="{}" data-part="{}">{}</span>').format(minor, part, shown)


def _day(value: date) -> str:
    return value.isoformat()


def pages() -> Environment:
    """The templates of pages, with the filters `amount` and `day`; every text is escaped."""
    environment = Environment(
        loader=PackageLoader("services.invoicing.documents"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"amount": _amount, "day": _day}
    return environment


FORM: Final = 1
"""The number of this form: whoever changes what a page looks like gives the next one, since hashes name it."""

_TEMPLATE: Final = pages().get_template("document.html")
