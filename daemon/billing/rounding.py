"""Exact amounts, and the one place where they become fen."""

from __future__ import annotations

import re
from fractions import Fraction

_DECIMAL = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


def nearest_fen(exact_fen: Fraction) -> int:
    """R of an exact amount in fen: the nearest integer, ties away from zero (money, units)."""
    magnitude = (2 * abs(exact_fen.numerator) + exact_fen.denominator) // (
        2 * exact_fen.denominator
    )
    return magnitude if exact_fen >= 0 else -magnitude


def exact(text: object) -> Fraction:
    """The value of a decimal in a string, such as "0.5283".

    ValueError for anything else: a number of JSON has been a binary float already."""
    if not isinstance(text, str) or not _DECIMAL.fullmatch(text):
        raise ValueError(f"a decimal must be written as a string of digits, not {text!r}")
    return Fraction(text)
