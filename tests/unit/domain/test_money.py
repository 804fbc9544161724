"""Money: integers only, exact readings, and allocation that neither loses nor invents a cent."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refundflow.domain.money import Money, allocate, exponent_of

MINORS = st.integers(-(10**15), 10**15)
CURRENCIES = st.sampled_from(["EUR", "USD", "JPY", "KWD", "XAF", "TND"])


@pytest.mark.parametrize(
    ("_case", "minor"),
    [
        ("a float", 42.5),
        ("a whole float", 42.0),
        ("yes", True),
        ("no", False),
        ("a text", "42"),
        ("a decimal", Decimal(42)),
        ("nothing", None),
    ],
)
def test_only_an_integer_is_a_sum_of_minor_units(_case: str, minor: Any) -> None:
    with pytest.raises(ValueError, match="minor units are an integer"):
        Money(minor, "EUR")


@pytest.mark.parametrize("currency", ["", "eur", "EU", "EURO", "E1R", "EUR\n", " EUR", "ÉUR"])
def test_only_three_capitals_are_a_currency(currency: str) -> None:
    with pytest.raises(ValueError, match="three-letter ISO 4217"):
        Money(1, currency)


@pytest.mark.parametrize(
    ("_case", "text", "currency", "minor"),
    [
        ("cents", "42.50", "EUR", 4250),
        ("one decimal", "42.5", "EUR", 4250),
        ("no decimals", "42", "EUR", 4200),
        ("zeros that say nothing", "42.5000", "EUR", 4250),
        ("a cent that floats get wrong", "0.29", "EUR", 29),
        ("another one", "1.15", "EUR", 115),
        ("a negative sum", "-0.05", "EUR", -5),
        ("yen have no minor unit", "1200", "JPY", 1200),
        ("yen written with zeros", "1200.00", "JPY", 1200),
        ("dinars have three decimals", "1.234", "KWD", 1234),
        ("dinars written short", "1.2", "KWD", 1200),
        ("a decimal", Decimal("19.99"), "USD", 1999),
        ("an exponent", "1E+2", "EUR", 10_000),
    ],
)
def test_major_units_are_read_exactly(_case: str, text: str | Decimal, currency: str, minor: int) -> None:
    assert Money.from_major(text, currency) == Money(minor, currency)


@pytest.mark.parametrize(
    ("_case", "text", "currency"),
    [
        ("half a cent", "0.005", "EUR"),
        ("half a yen", "0.5", "JPY"),
        ("a tenth of a fils", "0.0001", "KWD"),
        ("nothing", "", "EUR"),
        ("words", "twelve", "EUR"),
        ("a comma", "42,50", "EUR"),
        ("not a number", "NaN", "EUR"),
        ("a signalling one", "sNaN", "EUR"),
        ("infinity", "Infinity", "EUR"),
        ("a currency sign", "42.50 EUR", "EUR"),
        ("a float with a tail", 0.1, "EUR"),
    ],
)
def test_what_is_no_exact_amount_is_refused(_case: str, text: Any, currency: str) -> None:
    with pytest.raises(ValueError, match=r"not an amount|more decimals"):
        Money.from_major(text, currency)


@given(MINORS, CURRENCIES)
def test_writing_and_reading_gives_the_same_money(minor: int, currency: str) -> None:
    money = Money(minor, currency)
    assert Money.from_major(money.major, currency) == money
    assert str(money) == f"{money.major} {currency}"


@pytest.mark.parametrize(
    ("minor", "currency", "major"),
    [
        (4250, "EUR", "42.50"),
        (-5, "EUR", "-0.05"),
        (0, "EUR", "0.00"),
        (1200, "JPY", "1200"),
        (5, "KWD", "0.005"),
        (1234, "KWD", "1.234"),
    ],
)
def test_major_is_written_with_the_currencys_decimals(minor: int, currency: str, major: str) -> None:
    assert Money(minor, currency).major == major


@pytest.mark.parametrize(
    ("currency", "exponent"),
    [
        ("EUR", 2),
        ("USD", 2),
        ("JPY", 0),
        ("KRW", 0),
        ("CLP", 0),
        ("ISK", 0),
        ("KWD", 3),
        ("BHD", 3),
        ("HUF", 2),
    ],
)
def test_exponents_are_those_of_iso_4217(currency: str, exponent: int) -> None:
    assert exponent_of(currency) == exponent


@given(MINORS, MINORS)
def test_sums_and_comparisons_are_those_of_the_integers(a: int, b: int) -> None:
    left, right = Money(a, "EUR"), Money(b, "EUR")
    assert left + right == Money(a + b, "EUR")
    assert left - right == Money(a - b, "EUR")
    assert (left < right) is (a < b)
    assert (left <= right) is (a <= b)
    assert (left > right) is (a > b)


@pytest.mark.parametrize("operate", ["__add__", "__sub__", "__lt__", "__le__"])
def test_currencies_do_not_mix(operate: str) -> None:
    with pytest.raises(ValueError, match="EUR and USD do not mix"):
        getattr(Money(1, "EUR"), operate)(Money(1, "USD"))


def test_equal_minor_units_of_other_currencies_are_not_equal() -> None:
    assert Money(1, "EUR") != Money(1, "USD")


@given(st.lists(st.integers(0, 10**9), max_size=6), st.integers(0, 10**6))
def test_parts_sum_to_the_amount_and_stay_within_their_payment(capacities: list[int], permille: int) -> None:
    minor = sum(capacities) * permille // 10**6
    parts = allocate(minor, capacities)
    assert len(parts) == len(capacities)
    assert sum(parts) == minor
    assert all(0 <= part <= capacity for part, capacity in zip(parts, capacities, strict=True))
    touched = [n for n, part in enumerate(parts) if part]
    # Only the last one that is touched may be left with something: the order given is the order taken.
    assert all(parts[n] == capacities[n] for n in range(touched[-1])) if touched else True


@given(st.lists(st.integers(0, 10**9), max_size=6), st.integers(1, 10**9))
def test_nobody_gives_back_more_than_was_captured(capacities: list[int], excess: int) -> None:
    with pytest.raises(ValueError, match="cannot allocate"):
        allocate(sum(capacities) + excess, capacities)


@pytest.mark.parametrize(("minor", "capacities"), [(-1, [5]), (1, [-1, 5])])
def test_negative_amounts_are_not_allocated(minor: int, capacities: list[int]) -> None:
    with pytest.raises(ValueError, match="not negative"):
        allocate(minor, capacities)
