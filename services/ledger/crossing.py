"""Entries that cross currencies: the ledger adds the lines of the position pairs.

Lines in several currencies with stated rates are balanced through one pair for each foreign currency C: FX-POSITION-C
takes the entry's residual in C, FX-EQUIVALENT-C what that is worth in the functional currency F. With one pair the F
lines say what it is worth and the rate must fit within one minor unit a line; with several pairs each takes its rounded
worth and the cents that are left go to the largest.
"""

from collections.abc import Callable
from decimal import Decimal

from libs.common.errors import Fault, Rejection
from libs.common.journal import Rate, Side, position_codes
from libs.common.money import Currency, Rounding, convert, round_ratio, to_text
from services.ledger.records import EntryLine
from services.ledger.rejections import reject
from services.ledger.state import Account, LedgerState


def cross(
    state: LedgerState, rates: list[Rate], sums: dict[str, int], lines: int, account: Callable[[str], Account]
) -> list[EntryLine] | Rejection:
    """The pair lines for residuals `sums` (debits less credits, minor units, by currency) of so many `lines`."""
    functional = state.ledger.functional_currency
    foreign = [code for code, residual in sums.items() if code != functional.code and residual]
    stated = {code: _stated(rates, code, functional.code) for code in foreign}
    for code, rate in stated.items():
        if rate is None:
            return _rate_missing(code, functional.code)
    worths: dict[str, int] = {}
    for code, rate in stated.items():
        assert rate is not None
        if not rate.rate.strip("0."):
            place = rates.index(rate)
            return reject("rate-mismatch", "A rate is greater than zero.", [Fault(f"/rates/{place}/rate", "is zero")])
        worths[code] = _worth(state, rate, code, sums[code])
    if not worths:
        return []
    left = sums.get(functional.code, 0) + sum(worths.values())
    if abs(left) > lines:
        return reject(
            "rate-mismatch",
            f"At the stated rate {to_text(left, functional.exponent)} {functional.code} is left over.",
            [Fault("/rates", "do not fit the lines")],
            currency=functional.code,
            difference=to_text(left, functional.exponent),
        )
    worths[max(worths, key=lambda code: abs(worths[code]))] -= left
    sums.setdefault(functional.code, 0)
    entry_lines = []
    for code, worth in worths.items():
        position, equivalent = position_codes(code)
        entry_lines.append(_entry_line(account(position), -sums[code]))
        if worth:
            entry_lines.append(_entry_line(account(equivalent), worth))
    return entry_lines


def _stated(rates: list[Rate], code: str, functional: str) -> Rate | None:
    """The rate between the two, stated either way round."""
    return next((rate for rate in rates if {rate.base, rate.counter} == {code, functional}), None)


def _rate_missing(code: str, functional: str) -> Rejection:
    return reject(
        "rate-missing",
        f"There is none between {code} and {functional}.",
        [Fault("/rates", f"names none between {code} and {functional}")],
        base=code,
        counter=functional,
    )


def _worth(state: LedgerState, rate: Rate, code: str, residual: int) -> int:
    foreign = state.currency(code)
    assert foreign is not None
    return worth_at(rate, residual, foreign, state.ledger.functional_currency)


def worth_at(rate: Rate, minor: int, foreign: Currency, functional: Currency) -> int:
    """What `minor` units of a foreign currency are worth in the functional one, half-even, by a rate between the two.

    The rate may be stated either way round; it is greater than zero.
    """
    if rate.base == foreign.code:
        return convert(minor, foreign, functional, Decimal(rate.rate), Rounding.HALF_EVEN)
    return _inverse(minor, foreign, functional, Decimal(rate.rate))


def _inverse(residual: int, foreign: Currency, functional: Currency, rate: Decimal) -> int:
    up, down = rate.as_integer_ratio()
    shift = functional.exponent - foreign.exponent
    numerator, denominator = residual * down, up
    if shift >= 0:
        numerator *= 10**shift
    else:
        denominator *= 10**-shift
    return round_ratio(numerator, denominator, Rounding.HALF_EVEN)


def _entry_line(account: Account, debit: int) -> EntryLine:
    side: Side = "debit" if debit > 0 else "credit"
    return EntryLine(account, side, abs(debit), None, None)
