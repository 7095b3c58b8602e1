"""How far a register may have moved between two values (judgement.md 3.1). Integers only."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal

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
        self._facts = facts
        decimals = run.installation.decimals
        limits = [limit.max_daily.scaleb(decimals) for limit in facts.limits]
        self._scale: int = 10 ** max(map(_places, limits), default=0)
        self._per_step = self._scale * DAY_S
        self._scaled: dict[Decimal, int] = {}
        self._until = exact(self._sums(values))
        rates = [self._limit(value.day) for value in values]
        self._least = exact([rate * 3600 for rate in rates])
        self._bounds = exact(
            [
                _ceiling(rate * _offset_s(value), self._per_step)
                for rate, value in zip(rates, values, strict=True)
            ]
        )

    def between(self, earlier: Integers, later: Integers) -> Integers:
        """Whole steps by which the register can have advanced, of values by their number.

        At least an hour's worth; the error bounds of host freezes are on top."""
        over_time = self._until[later] - self._until[earlier]
        advance = np.maximum(over_time, self._least[earlier]) // self._per_step
        bounds: Integers = advance + self._bounds[earlier] + self._bounds[later]
        return bounds

    def _limit(self, day: date) -> int:
        """Of that day, in steps x the scale; without a limit a modulus a day, so none."""
        limit = self._facts.max_daily(day)
        if limit is None:
            return self._run.modulus * self._scale
        found = self._scaled.get(limit)
        if found is None:
            found = int(limit.scaleb(self._run.installation.decimals) * self._scale)
            self._scaled[limit] = found
        return found

    def _sums(self, values: Sequence[Value]) -> list[int]:
        sums: list[int] = []
        if not values:
            return sums
        day = values[0].day
        midnight_s = self._run.midnight_s(day)
        before = 0
        for value in values:
            while day < value.day:
                next_day = day + timedelta(days=1)
                next_midnight_s = self._run.midnight_s(next_day)
                # A day of 23 or 25 hours bounds less or more.
                before += self._limit(day) * (next_midnight_s - midnight_s)
                day = next_day
                midnight_s = next_midnight_s
            sums.append(before + self._limit(day) * (value.at_s - midnight_s))
        return sums


def exact(numbers: Sequence[int], modulus: int = 0) -> Integers:
    """An array that never overflows: of Python's integers where 64 bits could be too few."""
    is_small = max((abs(number) for number in numbers), default=0) + modulus < 2**61
    return np.array(numbers, dtype=np.int64 if is_small else object)


def _places(number: Decimal) -> int:
    exponent = number.normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return max(0, -exponent)


def _offset_s(value: Value) -> int:
    return value.candidate.host_offset_s if value.candidate is not None else 0


def _ceiling(number: int, unit: int) -> int:
    return -(-number // unit)
