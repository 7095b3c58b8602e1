"""How far a register may have moved between two values (judgement.md 3.1). Integers only."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from daemon.quality.in_force import InForce
from daemon.quality.local_time import DAY_S
from daemon.quality.runs import Run
from daemon.quality.values import Value

Integers = NDArray[np.int64]


class Capacity:
    """The limit summed over time, at each value of a run."""

    def __init__(self, run: Run, values: Sequence[Value], facts: InForce) -> None:
        self._run = run
        decimals = run.installation.decimals
        limits = [limit.max_daily.scaleb(decimals) for limit in facts.limits]
        scale: int = 10 ** max(map(_places, limits), default=0)
        self._per_step = scale * DAY_S
        self._first_days = [limit.day for limit in facts.limits]
        # Without a limit a modulus a day, so none.
        self._rates = [int(limit * scale) for limit in limits] or [run.modulus * scale]
        in_force = [self._in_force(value.day) for value in values]
        rates = [self._rates[number] for number in in_force]
        until = self._sums(values, in_force)
        least = [rate * 3600 for rate in rates]
        bounds = [
            _ceiling(rate * _offset_s(value), self._per_step)
            for rate, value in zip(rates, values, strict=True)
        ]
        numbers = exact([*until, *least, *bounds]).reshape(3, len(values))
        self._until, self._least, self._bounds = numbers

    def between(self, earlier: Integers, later: Integers) -> Integers:
        """Whole steps by which the register can have advanced, of values by their number.

        At least an hour's worth; the error bounds of host freezes are on top."""
        # In place: pages of large arrays that come and go cost more than the sums.
        most: Integers = self._until[later] - self._until[earlier]
        np.maximum(most, self._least[earlier], out=most)
        most //= self._per_step
        if self._bounds.any():
            most += self._bounds[earlier]
            most += self._bounds[later]
        return most

    def _in_force(self, day: date) -> int:
        """The number of that day's limit; the first one holds before its date too."""
        return max(0, bisect_right(self._first_days, day) - 1)

    def _sums(self, values: Sequence[Value], in_force: Sequence[int]) -> list[int]:
        """What each limit allows from its midnight on: a day of 23 or 25 hours less or more."""
        if not values:
            return []
        first = values[0].day
        used = self._first_days[: in_force[-1] + 1] or [first]
        begins_s = [self._run.midnight_s(max(day, first)) for day in used]
        spans = zip(self._rates, pairwise(begins_s), strict=False)
        before = [*accumulate((rate * (end - begin) for rate, (begin, end) in spans), initial=0)]
        return [
            before[number] + self._rates[number] * (value.at_s - begins_s[number])
            for number, value in zip(in_force, values, strict=True)
        ]


def exact(numbers: Sequence[int], modulus: int = 0) -> Integers:
    """An array that never overflows: of Python's integers where 64 bits could be too few."""
    is_small = max(map(abs, numbers), default=0) + modulus < 2**61
    return np.array(numbers, dtype=np.int64 if is_small else object)


def _places(number: Decimal) -> int:
    exponent = number.normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return max(0, -exponent)


def _offset_s(value: Value) -> int:
    return value.candidate.host_offset_s if value.candidate is not None else 0


def _ceiling(number: int, unit: int) -> int:
    return -(-number // unit)
