"""A payment in another currency than the invoice's: what an amount of the one is worth in the other. Pure.

    paid (the payment's currency) <-> settled (the invoice's currency), at the rate that the payer states

The rate is the payment's, said once and kept with it: what goes back later goes back at the same rate. Both amounts of
an allocation are kept; a part of the one is the like part of the other (`share`), so that the parts are the whole.
"""

from decimal import Decimal

from libs.common.errors import Fault, Rejection
from libs.common.journal import Rate
from libs.common.money import Currency, Rounding, round_ratio, to_text
from services.invoicing.entry_drafts import unlike
from services.invoicing.rejections import reject


def pair_of(stated: Rate, here: Currency, there: Currency) -> Rejection | None:
    """Why the stated rate is none between a payment's currency and its invoice's."""
    if not Decimal(stated.rate):
        return reject("rate-mismatch", "A rate is greater than zero.", [Fault("/rate/rate", "is zero")], rate="0")
    if here != there and {stated.base, stated.counter} == {here.code, there.code}:
        return None
    said = f"is between {stated.base} and {stated.counter}, wanted is {here.code} and {there.code}"
    fault = Fault("/rate", said)
    return reject("currency-mismatch", errors=[fault], currency=here.code, invoice=there.code, rate=stated.rate)


def worth(minor: int, given: Currency, wanted: Currency, stated: Rate) -> int:
    """Minor units of `wanted` for `minor` units of `given`, half-even."""
    up, down = Decimal(stated.rate).as_integer_ratio()
    numerator, denominator = (minor * up, down) if given.code == stated.base else (minor * down, up)
    shift = wanted.exponent - given.exponent
    if shift >= 0:
        return round_ratio(numerator * 10**shift, denominator, Rounding.HALF_EVEN)
    return round_ratio(numerator, denominator * 10**-shift, Rounding.HALF_EVEN)


def fitted(paid: tuple[Currency, int], settled: tuple[Currency, int], stated: Rate, pointer: str) -> Rejection | None:
    """Why the two amounts do not fit the rate, with both of them."""
    unfit = unlike(stated, paid, settled)
    if unfit is None:
        return None
    amounts = {name: to_text(each[1], each[0].exponent) for name, each in (("paid", paid), ("settled", settled))}
    said = f"is {amounts['settled']} {settled[0].code} for {amounts['paid']} {paid[0].code} at {stated.rate}"
    facts = {**unfit.facts, **amounts, "base": stated.base, "counter": stated.counter, "rate": stated.rate}
    return reject(unfit.code, errors=[Fault(pointer, said)], **facts)


def most(left: tuple[Currency, int], open_: tuple[Currency, int], stated: Rate) -> tuple[int, int]:
    """What of `left` is paid on an invoice with so much open, and what that settles: as much as there is of both."""
    if unlike(stated, left, open_) is None:
        return left[1], open_[1]
    at_rate = worth(left[1], left[0], open_[0], stated)
    if at_rate <= open_[1]:
        return left[1], at_rate
    return min(left[1], worth(open_[1], open_[0], left[0], stated)), open_[1]


def share(settled: int, part: int, paid: int) -> int:
    """What of `settled` goes with a `part` of what was `paid` for it."""
    return round_ratio(settled * part, paid, Rounding.HALF_EVEN)
