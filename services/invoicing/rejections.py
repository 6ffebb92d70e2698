"""Every business answer "no" of invoicing: a closed set in order of precedence. The slugs are API.

Where a request is wrong in several ways, the answer is the one that stands first here, whatever the order of its lines.
A new code is added at its place, with its sentence here, a row in the table tests and one in docs/errors.md.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from libs.common.errors import Fault, Rejection

REJECTIONS: Mapping[str, str] = {
    "no-lines": "There is no line.",
    "too-many-lines": "An invoice has at most 1,000 lines.",
    "too-many-taxes": "A line has at most 8 taxes.",
    "unknown-invoice-line": "The invoice has no such line.",
    "line-named-twice": "A line is named once.",
    "amount-out-of-range": "The amount is larger than is kept.",
    "too-many-decimals": "The number has more decimals than are kept.",
    "tax-category-unknown": "The tax category is none of S, Z, E, AE, K, G, O, L and M.",
    "tax-rate-not-allowed": "The tax category does not go with this rate.",
    "exemption-reason-missing": "The tax category needs an exemption code or reason.",
    "exemption-reason-not-allowed": "The tax category takes no exemption code or reason.",
    "tax-categories-mixed": "What is not subject to tax stands on an invoice of its own.",
    "compound-tax-not-last": "A tax on tax stands last among the taxes of its line, and alone.",
    "amount-not-positive": "An amount is greater than zero.",
    "price-negative": "A price is not negative; a return has a negative quantity.",
    "base-quantity-not-positive": "A price is for a quantity greater than zero.",
    "discount-out-of-range": "A discount is between nothing and all it is taken from.",
    "withholding-out-of-range": "The tax withheld is between nothing and all of it.",
    "cash-rounding-negative": "The step of cash rounding is not negative.",
    "service-period-invalid": "A service period has a first and a last day, in this order.",
    "total-negative": "The total is negative; what is given back is a credit note.",
    "total-differs": "The stated total is not what the lines add up to.",
    "ageing-edges-not-ascending": "The edges of an ageing are whole days, one after another.",
    "credit-exceeds-invoice": "More would be credited than is left of the invoice.",
}
"""Code and sentence, first match wins."""

PRECEDENCE = {code: rank for rank, code in enumerate(REJECTIONS)}


def reject(code: str, detail: str = "", errors: Sequence[Fault] = (), **facts: Any) -> Rejection:
    """The rejection `code` with its sentence, what is particular to this case, and its facts (JSON values)."""
    sentence = REJECTIONS[code]
    return Rejection(code, f"{sentence} {detail}".strip(), facts, errors)
