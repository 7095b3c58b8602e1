"""The proof: what every balance must be, computed from the simulators' own truth.

Written on purpose without the daemon's settlement: plain fractions, day by day, month by month.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction


def owed_fen(
    freezes: Iterable[tuple[Fraction, Mapping[date, Decimal]]],
    first: date,
    last: date,
    price_on: Callable[[date], Decimal],
) -> int:
    """What the use from `first` 00:00 to `last` 00:00 costs.

    Each month is rounded once to the fen, half away from zero. `freezes`: (ratio, register in
    kWh at 00:00 of each day) of every meter of the customer."""
    months: dict[tuple[int, int], Fraction] = defaultdict(Fraction)
    # The daemon posts rounded differences of a month's exact sum (R36): all of them together must
    # be that sum, rounded once.
    for ratio, registers in freezes:
        day = first
        while day < last:
            use = Fraction(registers[day + timedelta(days=1)]) - Fraction(registers[day])
            months[day.year, day.month] += use * ratio * Fraction(price_on(day))
            day += timedelta(days=1)
    return sum(_nearest_fen(yuan) for yuan in months.values())


def wrong_balances(found: Mapping[str, int], expected: Mapping[str, int]) -> Sequence[str]:
    """The accounts whose balance is not what it must be, in words."""
    return [
        f"{account}: {found.get(account)} fen, must be {expected[account]}"
        for account in sorted(expected)
        if found.get(account) != expected[account]
    ]


def _nearest_fen(yuan: Fraction) -> int:
    fen = abs(yuan) * 100
    nearest = (2 * fen.numerator + fen.denominator) // (2 * fen.denominator)
    return nearest if yuan >= 0 else -nearest
