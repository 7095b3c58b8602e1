"""What it means that one value follows another (judgement.md 3)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from daemon.quality.capacity import Capacity, Integers, exact
from daemon.quality.values import Value

Flags = NDArray[np.bool_]


class Steps:
    """All pairs of a run's values, by their numbers [earlier, later]."""

    def __init__(self, values: Sequence[Value], capacity: Capacity, modulus: int) -> None:
        count = len(values)
        place_of = {place: n for n, place in enumerate(sorted({it.place for it in values}))}
        self.places: Integers = np.array([place_of[it.place] for it in values], dtype=np.int64)
        """In order of time; the candidates of a day have the same."""
        self.precedes: Flags = self.places[:, None] < self.places[None, :]
        numbers = np.arange(count)
        within = capacity.between(numbers[:, None], numbers[None, :])
        confirmed = np.array([it.is_confirmed for it in values], dtype=bool)
        rolled_over = np.array([it.has_rolled_over for it in values], dtype=bool)
        spike = np.zeros((count, count), dtype=bool)
        backward = np.zeros((count, count), dtype=bool)
        near_behind = np.zeros((count, count), dtype=bool)
        is_far = within >= -(-modulus // 4)
        # One comparison for both bounds: what is allowed, and less than a quarter turn.
        width = _width(values, modulus)
        most: Integers = np.minimum(within, exact([(modulus - 1) // 4])).astype(width, copy=False)
        turn: Integers = np.array([modulus], dtype=width)
        advance: Integers = np.empty((count, count), dtype=width)
        turned = np.empty_like(advance)
        for registers, both in _registers(values, width):
            np.subtract(registers[None, :], registers[:, None], out=advance)
            is_down = advance < 0
            advance += np.multiply(turn, is_down, out=turned)
            is_bad = both & (advance > most)
            backward |= is_bad & is_down
            spike |= is_bad & ~is_down
            # Less than half a turn behind, so that a false 0 near the modulus can be outvoted too.
            near_behind |= both & (advance > modulus // 2)
        self.backward: Flags = self.precedes & backward & ~rolled_over
        self.spike: Flags = self.precedes & spike & ~confirmed & ~self.backward
        self.good: Flags = self.precedes & ~self.backward & ~self.spike
        self.behind: Flags = self.precedes & ~self.good & near_behind
        """[a, x]: x, of a later day, stands against a (5.2)."""
        self.is_far: Flags = self.precedes & is_far
        """The register may have moved a quarter turn: what lies between has to tell the way."""


def _registers(values: Sequence[Value], width: type) -> list[tuple[Integers, Flags]]:
    """Each register of all values, and which pairs have it; rates count between equal names."""
    names = sorted({it.rates for it in values})
    most = 1 + max((len(rates) for rates in names), default=0)
    told = [(*it.steps, *[0] * (most - len(it.steps))) for it in values]
    registers: Integers = np.array(told, dtype=width).reshape(len(values), most)
    every = np.ones((1, 1), dtype=bool)
    if len(names) < 2:
        return [(column, every) for column in registers.T]
    kind = np.array([names.index(it.rates) for it in values], dtype=np.int64)
    is_same = kind[:, None] == kind[None, :]
    counts = np.array([len(it.steps) for it in values], dtype=np.int64)
    rates = [(registers[:, n], is_same & (n < counts)[:, None]) for n in range(1, most)]
    return [(registers[:, 0], every), *rates]


def _width(values: Sequence[Value], modulus: int) -> type:
    """The narrowest integers in which no advance overflows: half the width is half the time."""
    steps = chain.from_iterable(it.steps for it in values)
    farthest = modulus + 2 * max(map(abs, steps), default=0)
    widths = ((np.int32, 2**31), (np.int64, 2**63))
    return next((width for width, end in widths if farthest < end), object)
