"""Exact money: every amount there and back, every rounding, every spread, with hypothesis and by hand."""

import re
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common import money
from libs.common.money import AMOUNT_MAX, AMOUNT_PATTERN, BALANCE_MAX, ISO_4217, Currency, Rounding

EXPONENTS = st.integers(0, money.EXPONENT_MAX)
USD, JPY, BHD, WEI = ISO_4217["USD"], ISO_4217["JPY"], ISO_4217["BHD"], Currency("WEI", 18)


@given(st.integers(1, AMOUNT_MAX), EXPONENTS)
def test_an_amount_survives_its_text(minor: int, exponent: int) -> None:
    text = money.to_text(minor, exponent)
    assert re.fullmatch(AMOUNT_PATTERN, text)
    assert money.to_minor(text, exponent) == minor


@given(st.integers(-BALANCE_MAX, BALANCE_MAX), EXPONENTS)
def test_a_balance_survives_its_text(minor: int, exponent: int) -> None:
    text = money.to_text(minor, exponent)
    assert money.from_text(text, exponent) == minor
    assert Fraction(text) == Fraction(minor, 10**exponent)


@given(
    st.from_regex(re.compile(AMOUNT_PATTERN, re.ASCII), fullmatch=True).filter(lambda text: "\n" not in text), EXPONENTS
)
def test_an_amount_is_exactly_what_it_says_or_refused_for_a_reason(text: str, exponent: int) -> None:
    minor = money.to_minor(text, exponent)
    value = Fraction(text) * 10**exponent
    match minor:
        case "amount-not-positive":
            assert value <= 0 or text.startswith("-")
        case "too-many-decimals":
            assert value > 0
            assert len(text.partition(".")[2]) > exponent
        case "amount-out-of-range":
            assert value > AMOUNT_MAX
        case _:
            assert Fraction(minor) == value
            assert 0 < minor <= AMOUNT_MAX


@pytest.mark.parametrize(
    ("text", "exponent", "minor"),
    [
        ("12.5", 2, 1250),
        ("0.01", 2, 1),
        ("007", 0, 7),
        ("1", 18, 10**18),
        ("0.00", 2, "amount-not-positive"),
        ("-1", 2, "amount-not-positive"),
        ("-0.001", 2, "amount-not-positive"),
        ("0.001", 2, "too-many-decimals"),
        ("1.0", 0, "too-many-decimals"),
        ("1" + "0" * 30, 0, "amount-out-of-range"),
        ("9" * 30, 0, AMOUNT_MAX),
        ("9" * 60, 18, "amount-out-of-range"),
    ],
)
def test_amounts_by_hand(text: str, exponent: int, minor: int | str) -> None:
    assert money.to_minor(text, exponent) == minor


@pytest.mark.parametrize("text", ["0.001", "-0.001", "1e-3", "NaN", "Infinity"])
def test_a_text_that_is_no_whole_number_of_minor_units(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        money.from_text(text, 2)


def test_a_text_longer_than_a_decimal_context_is_still_exact() -> None:
    assert money.from_text("-" + "9" * 38, 0) == -BALANCE_MAX
    assert money.from_text("1e3", 2) == 100_000


@pytest.mark.parametrize(
    ("numerator", "half_even", "half_up", "down", "up"),
    [
        (5, 0, 1, 0, 1),
        (15, 2, 2, 1, 2),
        (25, 2, 3, 2, 3),
        (26, 3, 3, 2, 3),
        (24, 2, 2, 2, 3),
        (-5, 0, -1, 0, -1),
        (-15, -2, -2, -1, -2),
        (-25, -2, -3, -2, -3),
        (20, 2, 2, 2, 2),
        (0, 0, 0, 0, 0),
    ],
)
def test_tenths_rounded(numerator: int, half_even: int, half_up: int, down: int, up: int) -> None:
    rounded = [money.round_ratio(numerator, 10, rounding) for rounding in Rounding]
    assert rounded == [half_even, half_up, down, up]


@given(st.integers(-(10**40), 10**40), st.integers(1, 10**20), st.sampled_from(Rounding))
def test_rounding_is_off_by_less_than_one_and_odd(numerator: int, denominator: int, rounding: Rounding) -> None:
    rounded = money.round_ratio(numerator, denominator, rounding)
    off = abs(Fraction(numerator, denominator) - rounded)
    assert off <= Fraction(1, 2) if rounding in {Rounding.HALF_EVEN, Rounding.HALF_UP} else off < 1
    assert money.round_ratio(-numerator, denominator, rounding) == -rounded


@pytest.mark.parametrize(
    ("minor", "base", "counter", "rate", "converted"),
    [
        (10_000, USD, JPY, "150.25", 15_025),
        (1, JPY, USD, "0.0067", 1),
        (1_000, BHD, USD, "2.65", 265),
        (10**18, WEI, USD, "2500", 250_000),
        (250_000, USD, WEI, "0.0004", 10**18),
        (-10_000, USD, JPY, "150.25", -15_025),
        (5, USD, USD, "0.1", 0),
        (15, USD, USD, "0.1", 2),
    ],
)
def test_conversions_by_hand(minor: int, base: Currency, counter: Currency, rate: str, converted: int) -> None:
    assert money.convert(minor, base, counter, Decimal(rate), Rounding.HALF_EVEN) == converted


@given(st.integers(-(10**30), 10**30), st.lists(st.integers(0, 10**20), min_size=1, max_size=20).filter(any))
def test_a_spread_adds_up_and_nobody_is_off_by_a_whole_unit(total: int, weights: list[int]) -> None:
    parts = money.spread(total, weights)
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert abs(Fraction(total * weight, sum(weights)) - part) < 1
        assert weight or not part


def test_a_spread_gives_ties_to_the_first() -> None:
    assert money.spread(100, [1, 1, 1]) == [34, 33, 33]
    assert money.spread(-100, [1, 1, 1]) == [-34, -33, -33]
    assert money.spread(1, [0, 5, 5]) == [0, 1, 0]


def test_the_standard_currencies() -> None:
    assert (USD.exponent, JPY.exponent, BHD.exponent, ISO_4217["UYW"].exponent) == (2, 0, 3, 4)
    assert all(code == unit.code and len(code) == 3 for code, unit in ISO_4217.items())
