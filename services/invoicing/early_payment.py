"""Early payment: so much off where all of an invoice is paid within so many days of its date. Pure.

    allowed   = round(percent of what credit notes and write-offs left of the total), less what was taken; half-up
    missing   = what a payment leaves open of the invoices that it would settle
    taken     = missing, where it is within what is allowed; first invoice first

A payment that is whole needs no discount, and one that leaves more open than the discounts explain takes none: then it
is a part payment. Amounts are minor units.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from libs.common.errors import Fault, Rejection
from libs.common.money import Currency, Rounding, round_ratio, to_text
from libs.common.values import value
from services.invoicing.domain import Amounts
from services.invoicing.rejections import reject


@value(frozen=True, slots=True)
class Terms:
    """`percent` off where it is paid within `within_days` of the invoice's day."""

    percent: Decimal
    within_days: int

    def until(self, issued_on: date) -> date:
        """The last day that is in time."""
        return issued_on + timedelta(days=self.within_days)


def as_terms(percent: Decimal, within_days: int) -> Terms | Rejection | None:
    """Terms as somebody states them; 0 % says that there are none."""
    if not 0 <= percent < 100:
        said = f"is {percent:f}"
        return reject("discount-terms-out-of-range", errors=[Fault("/early_payment/percent", said)])
    return Terms(percent, within_days) if percent else None


def some_terms(percent: Decimal | None, within_days: int | None) -> Terms | None:
    """Terms as a customer has them, both or neither."""
    return None if percent is None or within_days is None else Terms(percent, within_days)


def kept(terms: Terms | None) -> dict[str, Any] | None:
    """Terms as an invoice's content keeps them."""
    return None if terms is None else {"percent": f"{terms.percent:f}", "within_days": terms.within_days}


def kept_terms(content: Mapping[str, Any] | None) -> Terms | None:
    """The terms that were kept."""
    return None if content is None else Terms(Decimal(content["percent"]), content["within_days"])


@value(frozen=True, slots=True)
class EarlyPayment:
    """An invoice's terms with what it takes to know what they allow; `taken` is the discount that stands on it."""

    terms: Terms
    issued_on: date
    taken: int = 0

    @property
    def until(self) -> date:
        """The last day that is in time."""
        return self.terms.until(self.issued_on)

    def allowed(self, amounts: Amounts, paid_on: date) -> int:
        """What may be taken off for money that came on that day."""
        return self.left(amounts) if paid_on <= self.until else 0

    def left(self, amounts: Amounts) -> int:
        """What the terms allow that was not taken, whatever the day."""
        base = amounts.total - (amounts.credited - self.taken) - amounts.written_off
        up, down = self.terms.percent.as_integer_ratio()
        whole = round_ratio(base * up, down * 100, Rounding.HALF_UP)
        return max(0, min(whole - self.taken, amounts.open))


def missing(amount: int, queue: Sequence[tuple[int, int]], named: int = 0) -> list[int] | None:
    """The discounts that `amount` takes of the first invoices of a queue of (open, allowed); None where it takes none.

    The first `named` of them are tried together before anything else, for they are what the payer says it is for; then
    the shortest stretch of the queue that the amount settles with the discounts.

    >>> missing(11760, [(12000, 240)]), missing(12000, [(12000, 240)]), missing(11759, [(12000, 240)])
    ([240], None, None)
    """
    lengths = [named, *range(1, len(queue) + 1)] if named else range(1, len(queue) + 1)
    for length in lengths:
        stretch = queue[:length]
        short = sum(open_ for open_, _ in stretch) - amount
        if 0 < short <= sum(allowed for _, allowed in stretch):
            taken = []
            for _, allowed in stretch:
                taken.append(min(allowed, short))
                short -= taken[-1]
            return taken
    return None


def granted(
    early: EarlyPayment | None, amounts: Amounts, amount: int | None, paid_on: date, currency: Currency
) -> int | Rejection:
    """What a discount by hand comes to: `amount`, or all that the terms allow; or why there is none."""
    if early is None:
        return reject("no-discount-terms")
    until, exponent = early.until, currency.exponent
    if paid_on > until:
        said = f"is {paid_on}, the last day in time was {until}"
        facts = {"issued_on": early.issued_on, "until": until, "paid_on": paid_on}
        told = {name: each.isoformat() for name, each in facts.items()}
        return reject("discount-expired", f"{said}.".capitalize(), [Fault("/on", said)], **told)
    left = early.left(amounts)
    wanted = left if amount is None else amount
    if wanted > left or wanted <= 0:
        given, there, taken = (to_text(each, exponent) for each in (wanted, left, early.taken))
        said = f"is {given}, the terms leave {there}"
        return reject(
            "discount-exceeds-terms", f"{said}.".capitalize(), [Fault("/amount", said)], amount=given, allowed=there,
            taken=taken, percent=f"{early.terms.percent:f}", currency=currency.code,
        )  # fmt: skip
    return wanted
