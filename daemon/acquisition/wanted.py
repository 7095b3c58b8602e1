"""Which slot a line wants next: what is owed, due and not present. Pure: days and seconds are given.

Presence is a bitmap, meters x days of the meter's memory, kept as a ring by day number. A first read after midnight, a
retry, and the re-collection of a week after a cable is mended are the same act: filling a wanted slot.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

MEMORY_DAYS = 62
"""A DL/T 645-2007 meter keeps so many daily freezes."""


FREEZE_IS_DUE = timedelta(minutes=5)
"""After midnight: meters with a slow clock must have frozen before they are asked."""


def due_day(local_now: datetime) -> date:
    """The newest day whose freeze is due, from the site's wall clock."""
    return (local_now - FREEZE_IS_DUE).date()


class Wanted:
    """The plan of one line. Meters are numbered from 0 in the order given; seconds are of any monotonic clock."""

    def __init__(
        self, installed_on: Sequence[date], *, days: int, today: date, has_memory: Sequence[bool] | None = None
    ) -> None:
        """`has_memory`: False for a meter that keeps no freezes; nothing of it can be asked for afterwards."""
        count = len(installed_on)
        self._has_memory = np.ones(count, dtype=bool) if has_memory is None else np.array(has_memory, dtype=bool)
        self._installed = np.array([day.toordinal() for day in installed_on], dtype=np.int64)
        self._days = min(days, MEMORY_DAYS)
        self._present = np.zeros((count, MEMORY_DAYS), dtype=bool)
        self._on_its_way = np.zeros((count, MEMORY_DAYS), dtype=bool)
        self._blocked_until = np.zeros((count, MEMORY_DAYS))
        self._tries = np.zeros((count, MEMORY_DAYS), dtype=np.int32)
        self._silent_until = np.zeros(count)
        self._misses = np.zeros(count, dtype=np.int32)
        self._last_asked = np.zeros(count)
        self._today = today.toordinal()

    def roll(self, today: date) -> None:
        """Midnight passed: the slots of the new days are owed, the oldest fall out of the memory.

        A step back over one midnight is waited out. A clock that was further ahead is followed back: everything is
        wanted anew, until `rebuild` tells what is there.
        """
        new = today.toordinal()
        is_back = new < self._today - 1
        first = new - MEMORY_DAYS + 1 if is_back else max(self._today + 1, new - MEMORY_DAYS + 1)
        for day in range(first, new + 1):
            for ring in (self._present, self._on_its_way, self._blocked_until, self._tries):
                ring[:, day % MEMORY_DAYS] = 0
        self._today = new if is_back else max(self._today, new)

    def is_wanted(self, meter: int, day: date) -> bool:
        """True if this slot is owed and neither has a value nor one on its way."""
        cell = (meter, day.toordinal() % MEMORY_DAYS)
        has_value = bool(self._present[cell] or self._on_its_way[cell])
        return self._is_in_memory(day) and day.toordinal() >= self._installed[meter] and not has_value

    def take(self, meter: int, day: date) -> None:
        """A value was read and is on its way to the database: it is not read again, and not counted as present yet."""
        if self._is_in_memory(day):
            self._on_its_way[meter, day.toordinal() % MEMORY_DAYS] = True

    def fill(self, meter: int, day: date) -> None:
        """The slot has a value in the database."""
        if self._is_in_memory(day):
            self._present[meter, day.toordinal() % MEMORY_DAYS] = True

    def rebuild(self, present: Iterable[tuple[int, date]]) -> None:
        """Start from what the database has; a value still on its way there is read once more, which does no harm."""
        self._present[:] = False
        self._on_its_way[:] = False
        for meter, day in present:
            self.fill(meter, day)

    def next(self, now_s: float) -> tuple[int, date] | None:
        """(meter, day) to read now: today's freeze first, then the oldest day; meters take turns."""
        order = self._order()
        ready = self._owed(order) & (self._blocked_until[:, order % MEMORY_DAYS] <= now_s)
        ready &= (self._silent_until <= now_s)[:, None]
        columns = ready.any(axis=0)
        if not columns.any():
            return None
        column = int(columns.argmax())
        meters = np.flatnonzero(ready[:, column])
        meter = int(meters[self._last_asked[meters].argmin()])
        self._last_asked[meter] = now_s
        return meter, date.fromordinal(int(order[column]))

    def next_at(self) -> float | None:
        """The second at which a wanted slot becomes ready; None when nothing is wanted."""
        order = self._order()
        owed = self._owed(order)
        if not owed.any():
            return None
        ready_at = np.maximum(self._blocked_until[:, order % MEMORY_DAYS], self._silent_until[:, None])
        return float(ready_at[owed].min())

    def answered(self, meter: int) -> None:
        """The meter is there."""
        self._misses[meter] = 0
        self._silent_until[meter] = 0

    def silent(self, meter: int, now_s: float, *, first_s: float, longest_s: float) -> int:
        """The meter did not answer: leave it alone for a growing time. Returns how often in a row."""
        self._misses[meter] += 1
        misses = int(self._misses[meter])
        self._silent_until[meter] = now_s + min(longest_s, first_s * 2 ** min(misses - 1, 20))
        return misses

    def not_there(self, meter: int, day: date, now_s: float, *, first_s: float, longest_s: float) -> None:
        """The meter answered but has no freeze of that day (yet): ask again after a growing time."""
        cell = (meter, day.toordinal() % MEMORY_DAYS)
        self._blocked_until[cell] = now_s + min(longest_s, first_s * 2 ** min(int(self._tries[cell]), 20))
        self._tries[cell] += 1

    def unblock(self) -> None:
        """The line came back: whoever was silent is asked at once."""
        self._silent_until[:] = 0

    def counts(self) -> tuple[int, int]:
        """(owed without a value in the database, with one) slots of the memory."""
        order = self._order()
        owed = self._has_memory[:, None] & (self._installed[:, None] <= order[None, :])
        present = int((owed & self._present[:, order % MEMORY_DAYS]).sum())
        return int(owed.sum()) - present, present

    def _order(self) -> NDArray[np.int64]:
        """Day numbers in the order of their urgency: today, then the oldest first."""
        oldest = self._today - self._days + 1
        return np.concatenate(([self._today], np.arange(oldest, self._today))).astype(np.int64)

    def _owed(self, order: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which slots are to be read, in the columns of `order`."""
        columns = order % MEMORY_DAYS
        has_value = self._present[:, columns] | self._on_its_way[:, columns]
        owed: NDArray[np.bool_] = ~has_value & (self._installed[:, None] <= order[None, :])
        owed &= self._has_memory[:, None]
        return owed

    def _is_in_memory(self, day: date) -> bool:
        return self._today - self._days < day.toordinal() <= self._today


def first_day(today: date, days: int) -> date:
    """The oldest day that is owed when `days` midnights are, today's included."""
    return today - timedelta(days=min(days, MEMORY_DAYS) - 1)
