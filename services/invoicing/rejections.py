"""Every business answer "no" of invoicing: a closed set in order of precedence. The slugs are API.

Where a request is wrong in several ways, the answer is the one that stands first here, whatever the order of its lines.
A new code is added at its place, with its sentence here, a row in a test and one in docs/errors.md.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from libs.common.errors import Fault, Rejection

REJECTIONS: Mapping[str, str] = {
    "key-reused-with-other-content": "This idempotency key was used before for a request with other content.",
    "unknown-invoice": "There is no such invoice.",
    "unknown-customer": "There is no such customer.",
    "unknown-payment": "There is no such payment.",
    "unknown-dispute": "There is no such dispute.",
    "unknown-parked-message": "There is no such parked message.",
    "unknown-allocation": "The payment has no such allocation.",
    "unknown-credit-note": "There is no such credit note.",
    "unknown-write-off": "There is no such write-off.",
    "unknown-posting": "There is no such posting.",
    "unknown-product": "There is no such product.",
    "unknown-tax-number": "No ledger reports under this tax number.",
    "unknown-tax-return": "There is no such tax return.",
    "unknown-tax-rate": "No tax rate has this code on the tax point's day.",
    "unknown-role": "The role is none that an account can play.",
    "role-mapped-twice": "A role has one account in a currency.",
    "functional-currency-missing": "The ledger's functional currency is not known here yet.",
    "version-conflict": "What was changed is not at the version that was expected.",
    "customer-erased": "The customer's personal data was erased; it takes no changes and no new invoices.",
    "duplicate-customer": "A customer with this external id exists already.",
    "product-code-taken": "A product with this code exists already.",
    "validity-out-of-order": "A stretch of time ends after it begins.",
    "tax-rate-overlaps": "The tax code has another meaning in this stretch of time.",
    "tax-number-taken": "From this day on the ledger has a tax number already.",
    "tax-currency-differs": "The returns of a tax number are in one currency.",
    "tax-basis-differs": "A tax number's returns are on the basis of its ledgers' books, and of the returns before.",
    "tax-return-overlaps": "The returns of a tax number do not overlap.",
    "tax-return-gap": "The returns of a tax number follow one another; a gap has its reason.",
    "tax-return-filed": "A filed tax return is what was filed.",
    "tax-period-not-over": "A return is filed when its last day is over.",
    "earlier-return-open": "The returns of a tax number are filed one after another.",
    "duplicate-payout": "A payout of this provider with this id is recorded already, with other content.",
    "credited-twice": "A credit note is by lines or by an amount.",
    "allocated-twice": "A payment is on one invoice, or on a list of them.",
    "no-open-invoice": "The customer has no open invoice in this currency.",
    "duplicate-payment": "A payment of this provider with this id is recorded already, with other content.",
    "line-incomplete": "A line has a product, or a price and what it is for.",
    "dates-out-of-order": "An invoice is not due before it is issued.",
    "not-a-draft": "Only a draft is issued or changed; what is issued stays as it is.",
    "not-issued": "A draft takes no payment, credit or write-off; issue it first.",
    "invoice-void": "The invoice is void: nothing is owed on it.",
    "void-not-allowed": "Only an issued invoice that nothing was paid, credited or written off of is made void.",
    "already-undone": "It is undone already.",
    "dispute-settled": "The dispute has ended already, in another way.",
    "ledger-differs": "It belongs to another ledger.",
    "queued": "An earlier message about the same document waits.",
    "not-waiting": "The message does not wait any more.",
    "document-differs": "A fixed message is about the same organization and document.",
    "no-lines": "An invoice has at least one line.",
    "too-many-lines": "An invoice has at most 1,000 lines.",
    "unknown-currency": "The currency is not in ISO 4217.",
    "too-many-taxes": "A line has at most 8 taxes.",
    "unknown-invoice-line": "The invoice has no such line.",
    "line-named-twice": "A line is named once.",
    "amount-out-of-range": "The number is larger than the books keep.",
    "too-many-decimals": "The number has more decimals than its currency, or than are kept.",
    "tax-category-unknown": "The tax category is none of S, Z, E, AE, K, G, O, L and M.",
    "tax-rate-not-allowed": "The tax rate does not go with its category.",
    "exemption-reason-missing": "The tax category needs an exemption code or reason.",
    "exemption-reason-not-allowed": "The tax category takes no exemption code or reason.",
    "tax-categories-mixed": "What is not subject to tax stands on an invoice of its own.",
    "compound-tax-not-last": "A tax on tax stands last among the taxes of its line, and not alone.",
    "price-negative": "A price is not negative; take back a quantity instead.",
    "quantity-out-of-range": "The quantity, or the base quantity of its price, is not one an invoice can have.",
    "discount-out-of-range": "The discount is less than nothing or more than what it is taken from.",
    "amount-not-positive": "An amount is greater than zero.",
    "withholding-out-of-range": "The tax withheld is between nothing and all of it.",
    "cash-rounding-negative": "The step of cash rounding is not negative.",
    "service-period-invalid": "A service period has a first and a last day, in this order.",
    "total-negative": "The total of an invoice is not negative; issue a credit note instead.",
    "total-differs": "The stated total is not what the lines come to.",
    "currency-mismatch": "The currencies differ and no rate between them is stated.",
    "customer-differs": "It belongs to another customer.",
    "fee-exceeds-amount": "The fee is inside the amount, so it is not more than that.",
    "credit-exceeds-invoice": "More would be credited than the invoice has.",
    "allocation-exceeds-open": "More would be allocated than is open on the invoice.",
    "allocation-exceeds-payment": "More would be allocated than is left of the payment.",
    "unallocation-exceeds-paid": "More would be taken back than was paid.",
    "unallocation-exceeds-discount": "More would be taken back than early-payment discounts took off.",
    "customer-credit-exceeded": "More would be used than the customer's credit is.",
    "refund-exceeds-payment": "More would go back than is left of what came in.",
    "write-off-exceeds-open": "More would be written off than is open on the invoice.",
    "reversal-exceeds-write-off": "More would be restored than was written off.",
    "recovery-exceeds-write-off": "More would have come in than was written off.",
    "relief-exceeds-tax": "The relief is more than the tax in what was written off.",
    "relief-on-cash-basis": "On cash basis the tax of what was never paid was never due, so there is no relief of it.",
    "e-invoice-incomplete": "The document lacks what EN 16931 asks of an e-invoice:",
    "ageing-edges-not-ascending": "The edges of an ageing are whole days, one after another.",
    "rate-mismatch": "The two amounts do not fit the stated rate.",
    "rate-missing": "No rate is known yet between the currency and the ledger's own; the posting waits for it.",
    "mapping-missing": "The ledger's account mapping names no account for this role and currency.",
}
"""Code and sentence, first match wins."""

PRECEDENCE = {code: rank for rank, code in enumerate(REJECTIONS)}

CONFLICTS: frozenset[str] = frozenset(
    {
        "already-undone",
        "customer-erased",
        "dispute-settled",
        "duplicate-customer",
        "duplicate-payment",
        "duplicate-payout",
        "invoice-void",
        "not-a-draft",
        "not-waiting",
        "product-code-taken",
        "earlier-return-open",
        "tax-number-taken",
        "tax-return-filed",
        "version-conflict",
    }
)
"""Answered as 409 over HTTP."""

NOT_FOUND: frozenset[str] = frozenset(
    {
        "unknown-allocation",
        "unknown-credit-note",
        "unknown-customer",
        "unknown-dispute",
        "unknown-invoice",
        "unknown-parked-message",
        "unknown-payment",
        "unknown-posting",
        "unknown-product",
        "unknown-tax-return",
        "unknown-write-off",
    }
)
"""Answered as 404 over HTTP where the address names it; 422, with its place, where the body does."""


def reject(code: str, detail: str = "", errors: Sequence[Fault] = (), **facts: Any) -> Rejection:
    """The rejection `code` with its sentence, what is particular to this case, and its facts (JSON values)."""
    sentence = REJECTIONS[code]
    return Rejection(code, f"{sentence} {detail}".strip(), facts, errors)
