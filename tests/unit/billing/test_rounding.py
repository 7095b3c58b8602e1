"""Fen are nearest, ties away from zero."""

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.billing.rounding import nearest_fen


@pytest.mark.parametrize(
    ("exact", "fen"),
    [("0", 0), ("0.49", 0), ("0.5", 1), ("0.99", 1), ("-0.49", 0), ("-0.5", -1), ("-1.5", -2)],
)
def test_ties_are_away_from_zero(exact: str, fen: int) -> None:
    assert nearest_fen(Fraction(exact)) == fen


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
