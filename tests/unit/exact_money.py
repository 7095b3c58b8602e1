"""What a chain of readings costs, in fractions: the rules of billing said a second time, for tests
to compare with."""

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

LONGEST_SPAN_DAYS = 7


class Price(NamedTuple):
    """In force from a midnight until the next one."""

    effective_from: date
    price_yuan_per_kwh: Decimal


def rounded(yuan: Fraction) -> int:
    """Fen, nearest, ties away from zero."""
    fen = int(abs(yuan) * 100 + Fraction(1, 2))
    return fen if yuan >= 0 else -fen


def exact_by_month(
    chain: dict[date, int],
    prices: Sequence[Price],
    *,
    ratio: Decimal = Decimal(1),
    modulus: int = 100_000_000,
) -> dict[date, Fraction]:
    """Yuan by month of the published registers (in 0.01 kWh), in a zone whose days have 24
    hours."""
    months: dict[date, Fraction] = {}
    days = sorted(chain)
    for first, last in pairwise(days):
        count = (last - first).days
        if count > LONGEST_SPAN_DAYS:
            continue
        delta = (chain[last] - chain[first]) % modulus
        starts = {version.effective_from for version in prices}
        inner = [first + timedelta(days=n) for n in range(1, count)]
        edges = [first, *(day for day in inner if day.day == 1 or day in starts), last]
        shares = [
            int(Fraction(delta * (edge - first).days, count) + Fraction(1, 2)) for edge in edges
        ]
        for begin, billed, upto in zip(edges, shares, shares[1:], strict=False):
            version = max(
                (v for v in prices if v.effective_from <= begin), key=lambda v: v.effective_from
            )
            month = begin.replace(day=1)
            cost = (
                Fraction(upto - billed, 100)
                * Fraction(ratio)
                * Fraction(version.price_yuan_per_kwh)
            )
            months[month] = months.get(month, Fraction(0)) + cost
    return months
