"""How much of what waits on disk is stored at once. Pure."""

from __future__ import annotations

from typing import Final

LEAST_DRAINED: Final = 100
MOST_DRAINED: Final = 10_000
PORTION_S: Final = 1.0
"""A portion is to take so long: much longer than what each costs whatever its size, and short
enough for the live readings that wait for it."""


def next_portion(portion: int, drained: int, took_s: float) -> int:
    """How many readings are drained at once, after `drained` of them took so long."""
    is_a_small_rest = drained < portion and took_s < PORTION_S
    if is_a_small_rest or took_s <= 0:
        return portion
    return min(MOST_DRAINED, max(LEAST_DRAINED, int(drained * PORTION_S / took_s)))
