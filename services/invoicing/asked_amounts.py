"""Amounts as they are asked for: text in, minor units of the currency out, or why it is no amount of it. Pure."""

from typing import Final

from libs.common.errors import Fault, Rejection
from libs.common.money import Currency, to_minor
from services.invoicing.rejections import reject

_NOTHING: Final = frozenset("0.")


def minor_of(text: str, currency: Currency, pointer: str, *, zero_allowed: bool = False) -> int | Rejection:
    """Minor units of an amount's text; `pointer` is where it stands."""
    if zero_allowed and _NOTHING.issuperset(text):
        return 0
    minor = to_minor(text, currency.exponent)
    if isinstance(minor, int):
        return minor
    return reject(minor, errors=[Fault(pointer, f"is {text[:60]}")], amount=text[:60], currency=currency.code)


def minor_where_given(text: str | None, currency: Currency, pointer: str = "/amount") -> int | Rejection | None:
    """Minor units of an amount where one is given; None stands for all there is."""
    return None if text is None else minor_of(text, currency, pointer)


def fee_of(text: str | None, currency: Currency) -> int | Rejection:
    """Minor units of a fee, which may be none."""
    return minor_of(text or "0", currency, "/fee", zero_allowed=True)
