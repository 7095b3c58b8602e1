"""V25: equal registers under several serials day after day: crossed meters, or one read twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

DUPLICATE_DAYS: Final = 3
LEAST_DIGITS: Final = 4
"""Shorter registers are equal by chance."""
LEAST_STEPS: Final[int] = 10 ** (LEAST_DIGITS - 1)
"""The same in steps of any register."""


def duplicates(days: Sequence[Mapping[str, Decimal]]) -> list[list[str]]:
    """Groups of serials whose totals were equal on each of the last three days, in order.

    `days`: by serial the total of a day, in order of time; fewer than three days find nothing."""
    if len(days) < DUPLICATE_DAYS:
        return []
    last = days[-DUPLICATE_DAYS:]
    groups: dict[tuple[Decimal, ...], list[str]] = defaultdict(list)
    for serial in sorted(set.intersection(*(set(totals) for totals in last))):
        groups[tuple(totals[serial] for totals in last)].append(serial)
    return [
        serials
        for totals, serials in groups.items()
        if len(serials) > 1 and all(map(_is_telling, totals))
    ]


def _is_telling(total: Decimal) -> bool:
    return len(total.as_tuple().digits) >= LEAST_DIGITS
