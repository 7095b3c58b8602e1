"""Exact amounts, and the one place where they become fen."""

from __future__ import annotations

from fractions import Fraction


def nearest_fen(exact_fen: Fraction) -> int:
    """R of an exact amount in fen: the nearest integer, ties away from zero (money, units)."""
    magnitude = (2 * abs(exact_fen.numerator) + exact_fen.denominator) // (
        2 * exact_fen.denominator
    )
    return magnitude if exact_fen >= 0 else -magnitude
