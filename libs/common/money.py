"""Exact money: integers in minor units, text outside, one rounding function.

An amount travels as text in major units ("1500.00") and is kept as an `int` of minor units (150000) beside a currency
whose exponent says how many decimals the text may have. Nothing here touches a float. Exponents are ISO 4217's
(amendment 179, list one); an organization may add its own units with up to 18 decimals.
"""

from collections.abc import Sequence
from decimal import Decimal
from enum import Enum
from typing import Literal, NamedTuple

AMOUNT_PATTERN = r"^-?[0-9]{1,60}(\.[0-9]{1,30})?$"
"""The shape of an amount in JSON; what the number may be is decided with the currency at hand."""

AMOUNT_MAX = 10**30 - 1
"""Greatest amount of one line in minor units: 10**12 units of a currency with 18 decimals."""

BALANCE_MAX = 10**38 - 1
"""Greatest sum of debits or credits of one account in minor units: what numeric(38, 0) holds."""

EXPONENT_MAX = 18

AmountFault = Literal["amount-not-positive", "too-many-decimals", "amount-out-of-range"]


class Currency(NamedTuple):
    """`code` names the unit, `exponent` is the count of its decimals (0 to 18)."""

    code: str
    exponent: int


class Rounding(Enum):
    """Always named where money is rounded."""

    HALF_EVEN = "half-even"
    HALF_UP = "half-up"
    DOWN = "down"
    UP = "up"


def to_minor(text: str, exponent: int) -> int | AmountFault:
    """Minor units of a positive amount such as "12.50" (matching `AMOUNT_PATTERN`), or why it is none.

    >>> to_minor("12.5", 2), to_minor("12.505", 2), to_minor("0.00", 2)
    (1250, 'too-many-decimals', 'amount-not-positive')
    """
    whole, _, decimals = text.partition(".")
    digits = whole + decimals
    if digits[0] == "-" or not digits.strip("0"):
        return "amount-not-positive"
    if len(decimals) > exponent:
        return "too-many-decimals"
    minor = int(digits) * 10 ** (exponent - len(decimals))
    return minor if minor <= AMOUNT_MAX else "amount-out-of-range"


def from_text(text: str, exponent: int) -> int:
    """Minor units of any exact text, signed; raises ValueError where `text` has more decimals than the currency."""
    sign, digits, place = Decimal(text).as_tuple()
    if not isinstance(place, int):
        raise ValueError(f"{text} is no amount")
    value = int("".join(map(str, digits)))
    shift = place + exponent
    if shift >= 0:
        value *= int(10**shift)
    else:
        value, left = divmod(value, 10**-shift)
        if left:
            raise ValueError(f"{text} has more than {exponent} decimals")
    return -value if sign else value


def to_text(minor: int, exponent: int) -> str:
    """Major units as exact text with all decimals of the currency.

    >>> to_text(-5, 2), to_text(1500, 0)
    ('-0.05', '1500')
    """
    if exponent == 0:
        return str(minor)
    sign = ""
    if minor < 0:
        sign, minor = "-", -minor
    digits = str(minor)
    if len(digits) <= exponent:
        digits = digits.rjust(exponent + 1, "0")
    return f"{sign}{digits[:-exponent]}.{digits[-exponent:]}"


def round_ratio(numerator: int, denominator: int, rounding: Rounding) -> int:
    """`numerator / denominator` to a whole number; `denominator` is positive. DOWN is towards zero, UP away from it."""
    assert denominator > 0
    sign = -1 if numerator < 0 else 1
    quotient, remainder = divmod(abs(numerator), denominator)
    match rounding:
        case Rounding.HALF_EVEN:
            up = 2 * remainder > denominator or (2 * remainder == denominator and quotient % 2 == 1)
        case Rounding.HALF_UP:
            up = 2 * remainder >= denominator
        case Rounding.UP:
            up = remainder > 0
        case Rounding.DOWN:
            up = False
    return sign * (quotient + up)


def convert(minor: int, base: Currency, counter: Currency, rate: Decimal, rounding: Rounding) -> int:
    """Minor units of `counter` for `minor` units of `base` at `rate` (counter per one base)."""
    up, down = rate.as_integer_ratio()
    shift = counter.exponent - base.exponent
    numerator, denominator = minor * up, down
    if shift >= 0:
        numerator *= 10**shift
    else:
        denominator *= 10**-shift
    return round_ratio(numerator, denominator, rounding)


def spread(total: int, weights: Sequence[int]) -> list[int]:
    """`total` minor units over `weights` by largest remainder: the parts add up to `total`, ties go to the first.

    Weights are not negative and not all zero.
    """
    whole = sum(weights)
    assert whole > 0
    sign = -1 if total < 0 else 1
    parts = [divmod(abs(total) * weight, whole) for weight in weights]
    left = abs(total) - sum(quotient for quotient, _ in parts)
    order = sorted(range(len(parts)), key=lambda place: -parts[place][1])
    extra = set(order[:left])
    return [sign * (quotient + (place in extra)) for place, (quotient, _) in enumerate(parts)]


def _exponents() -> dict[str, int]:
    table = {
        0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
        2: "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF "
        "CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG "
        "HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR "
        "MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD "
        "SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD XCG "
        "YER ZAR ZMW ZWG",
        3: "BHD IQD JOD KWD LYD OMR TND",
        4: "CLF UYW",
    }
    return {code: exponent for exponent, codes in table.items() for code in codes.split()}


ISO_4217 = {code: Currency(code, exponent) for code, exponent in _exponents().items()}
"""Every ISO 4217 currency that has minor units (metals, funds codes without them and test codes are left out)."""
