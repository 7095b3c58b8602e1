"""Which meter a line asks next what it asks each at first contact, and again after so many days.

Who it is (R17), where its relay is, and of one without memory whether it can be read at all. Pure:
days and seconds are given."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
from numpy.typing import NDArray

EVERY_DAYS = 30
"""Where nothing else is said."""
FIRST_PAUSE_S = 3600.0
"""After a read in vain; it grows."""
LONGEST_PAUSE_S = 86_400.0
NEVER = 0
"""In place of the day of the last read."""
NOT_AT_ALL = date.max.toordinal()


class FirstContacts:
    """Meters are numbered from 0 in the order given; seconds are of any monotonic clock."""

    __slots__ = ("_every_days", "_not_before", "_read_on", "_tries")

    def __init__(self, read_on: Sequence[date | None], every_days: int = EVERY_DAYS) -> None:
        """`read_on`: the day on which each told it last; None for one that never did."""
        self._every_days = every_days
        days = [NEVER if day is None else day.toordinal() for day in read_on]
        self._read_on = np.array(days, dtype=np.int32)
        self._not_before = np.zeros(len(days))
        self._tries: dict[int, int] = {}
        """How often a meter was asked in vain."""

    def next(self, today: date, now_s: float, ready: NDArray[np.bool_]) -> int | None:
        """The meter that waits longest and may be asked; None when none is due.

        `ready`: which meters may be asked."""
        last_due = today.toordinal() - self._every_days
        due = ready & (self._read_on <= last_due) & (self._not_before <= now_s)
        numbers = np.flatnonzero(due)
        if not len(numbers):
            return None
        longest: int = numbers[self._read_on[numbers].argmin()]
        return int(longest)

    def told(self, number: int, today: date) -> None:
        """The meter told it."""
        self._read_on[number] = today.toordinal()
        self._tries.pop(number, None)

    def put_off(self, number: int, now_s: float) -> bool:
        """It was asked in vain: it is asked again after a growing pause. True the first time."""
        tries = self._tries.get(number, 0)
        self._tries[number] = tries + 1
        # 2 ** 10 pauses are longer than the longest.
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(tries, 10))
        self._not_before[number] = now_s + pause_s
        return tries == 0

    def ask(self, number: int) -> None:
        """It is wanted now, whatever was told before and however often it was asked in vain."""
        if self._read_on[number] != NOT_AT_ALL:
            self._read_on[number] = NEVER
            self._not_before[number] = 0.0
            self._tries.pop(number, None)

    def give_up(self, number: int) -> None:
        """It has nothing to say."""
        self._read_on[number] = NOT_AT_ALL
