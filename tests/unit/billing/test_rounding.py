"""Fen are nearest, ties away from zero; decimals come as strings."""

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.billing.rounding import exact, nearest_fen


@given(
    st.decimals(
        allow_nan=False, allow_infinity=False, places=6, min_value=-(10**9), max_value=10**9
    )
)
def test_nearest_is_half_up_of_decimals(value: Decimal) -> None:
    assert nearest_fen(Fraction(value)) == int(value.quantize(Decimal(1), ROUND_HALF_UP))


@given(st.fractions(), st.fractions())
def test_rounding_is_monotone_and_odd(one: Fraction, other: Fraction) -> None:
    low, high = sorted((one, other))
    assert nearest_fen(low) <= nearest_fen(high)
    assert nearest_fen(-one) == -nearest_fen(one)


@pytest.mark.parametrize("number", [0.5283, 1, True, None, "", "1e3", "0,5", "NaN", " 1", "1/3"])
def test_a_decimal_that_is_no_string_of_digits_is_refused(number: object) -> None:
    with pytest.raises(ValueError, match="string of digits"):
        exact(number)


def test_a_decimal_is_read_exactly() -> None:
    assert exact("0.5283") == Fraction(5283, 10_000)
    assert exact("-12") == -12
