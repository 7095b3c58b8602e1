"""Which slot a line wants next: what is owed, due and not present.

Pure: days and seconds are given.

Presence is a bitmap of each meter's memory, one bit a day, today the lowest. A first read after
midnight, a retry, and the re-collection of a week after a cable is mended are the same act: filling
a wanted slot."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from daemon.quality.freeze import MEMORY_DAYS

TODAY = np.uint64(1)
FEW = 16
"""Up to this number meters are looked at faster one by one than as an array."""
FREEZE_IS_DUE = timedelta(minutes=5)
"""After midnight: meters with a slow clock must have frozen before they are read."""


def due_day(local_now: datetime) -> date:
    """The newest day whose freeze is due, from the site's wall clock."""
    return (local_now - FREEZE_IS_DUE).date()


class Wanted:
    """The plan of one line.

    Meters are numbered from 0 in the order given; seconds are of any monotonic clock."""

    __slots__ = (
        "_days",
        "_in_vain_once",
        "_installed",
        "_last_asked",
        "_mask",
        "_not_there",
        "_on_its_way",
        "_present",
        "_taken",
        "_taken_in",
        "_today",
        "_window",
    )

    def __init__(
        self,
        installed_on: Sequence[date],
        *,
        days: int,
        today: date,
        has_memory: Sequence[bool] | None = None,
        taken_in_on: Sequence[date] | None = None,
    ) -> None:
        """`has_memory`: False for a meter that keeps no freezes.

        Nothing of it can be asked for afterwards. `taken_in_on`: what is older is read as well, and
        no loss if it cannot be had; None: that is so of no day."""
        count = len(installed_on)
        self._installed = _day_numbers(installed_on)
        self._taken_in = _day_numbers(taken_in_on or installed_on)
        if has_memory is not None:
            forgets = ~np.array(has_memory, dtype=bool)
            self._installed[forgets] = date.max.toordinal()
        self._days = min(days, MEMORY_DAYS)
        every_day = (1 << self._days) - 1
        self._window = np.uint64(every_day)
        self._taken = array("Q", bytes(8 * count))
        """One bitmap for each meter: the days that are on their way. The same memory as
        `_on_its_way`."""
        self._on_its_way = np.frombuffer(self._taken, dtype=np.uint64)
        self._present = np.zeros(count, dtype=np.uint64)
        self._in_vain_once = np.zeros(count, dtype=np.uint64)
        """The days that were asked for in vain, whatever became of them later."""
        self._last_asked = np.zeros(count)
        self._not_there: dict[tuple[int, int], tuple[float, int]] = {}
        """(meter, day number): (second until which it is not asked for again, how often it was)."""
        self._today = today.toordinal()
        self._mask = self._owed_mask()

    def roll(self, today: date) -> list[int] | None:
        """Midnight passed: the slots of the new days are owed, the oldest fall out of the memory.

        Returns the meters of those that never had a value, one for each; None while it is the same
        day. A step back over one midnight is waited out. A clock that was further ahead
        is followed back: everything is wanted anew, until `rebuild` gives what is there."""
        days = today.toordinal() - self._today
        # A clock that was corrected around midnight is in both days for a while.
        if days in (0, -1):
            return None
        lost = self._missing_from(max(0, self._days - days)) if days > 0 else []
        self._today += days
        if 0 < days < MEMORY_DAYS:
            self._present <<= np.uint64(days)
            self._on_its_way <<= np.uint64(days)
            self._in_vain_once <<= np.uint64(days)
        else:
            self._present[:] = self._on_its_way[:] = self._in_vain_once[:] = 0
        known = self._not_there.items() if days > 0 else ()
        self._not_there = {(meter, day): pause for (meter, day), pause in known if self._bit(day)}
        self._mask = self._owed_mask()
        return lost

    def leaving(self, within_days: int) -> list[int]:
        """The meters of the missing slots that fall out of the memory in so many days or less.

        One for each slot; none where the memory is that short."""
        return self._missing_from(max(1, self._days - within_days))

    def _missing_from(self, age: int) -> list[int]:
        """The meters of the missing slots that are so old or older, one for each slot.

        Not of what a meter froze before it was taken in: nobody was promised that."""
        oldest = np.uint64(((1 << self._days) - 1) >> age << age)
        missing = self._mask & self._days_since(self._taken_in) & ~self._present & oldest
        meters = np.flatnonzero(missing)
        counts = np.bitwise_count(missing[meters])
        of_slots: list[int] = np.repeat(meters, counts).tolist()
        return of_slots

    def is_wanted(self, meter: int, day: date) -> bool:
        """True if this slot is owed and neither has a value nor one on its way."""
        there = self._present[meter] | self._on_its_way[meter]
        missing = int(self._mask[meter]) & ~int(there)
        return bool(missing & self._bit(day.toordinal()))

    def take(self, meter: int, day: date) -> None:
        """A value was read and is on its way to the database.

        It is not read again, and not counted as present yet."""
        self._taken[meter] |= self._bit(day.toordinal())

    def fill(self, meter: int, day: date) -> None:
        """The slot has a value in the database."""
        bit = self._bit(day.toordinal())
        self._present[meter] |= np.uint64(bit)

    def rebuild(self, present: Sequence[int], newest: date) -> None:
        """Start from what the database has.

        `present`: of each meter a bitmap, bit n for the day n before `newest`. A value still on its
        way there is read once more, which does no harm."""
        bits = np.array(present, dtype=np.uint64)
        # The bits are of the database's newest day, which may not be ours.
        later = self._today - newest.toordinal()
        if later >= 0:
            bits <<= np.uint64(later)
        else:
            bits >>= np.uint64(-later)
        self._present[:] = bits
        self._on_its_way[:] = 0

    def jobs(
        self,
        now_s: float,
        ready: NDArray[np.bool_],
        most: int,
        *,
        only_today: bool = False,
        doubtful: NDArray[np.bool_] | None = None,
        in_turn: bool = False,
    ) -> list[tuple[int, date]]:
        """(meter, day) to read now, `most` of them at the most.

        Today's freezes come first, then the oldest day, which falls out of the meter's memory
        soonest; meters take turns.

        Older days that a meter was asked for in vain come last: else what it never had would keep
        the line from what others have. `ready`: which meters may be asked; `doubtful`: of which one
        is enough. `in_turn`: whatever the day, the doubtful last, because the silence of those that
        lack today's freeze means nothing for the others.
        """
        is_simple = doubtful is None and not in_turn and not self._not_there
        if is_simple and len(self._mask) <= FEW:
            return self._few_jobs(
                now_s,
                ready,
                most,
                only_today=only_today,
            )
        missing, again = self._askable(now_s, ready, only_today=only_today)
        if doubtful is not None and not in_turn:
            in_doubt = doubtful & ((missing | again) != 0)
            others = self._longest_asked(in_doubt)[1:]
            missing[others] = 0
            again[others] = 0
        meters = self._longest_asked((missing | again) != 0)
        if in_turn:
            meters = _doubtful_last(meters, doubtful)[:most]
        found = self._first(meters, missing, most)
        found += self._first(meters, again, most - len(found))
        asked = [meter for meter, _ in found]
        self._last_asked[asked] = now_s
        return found

    def waiting(
        self, now_s: float, ready: NDArray[np.bool_], *, only_today: bool = False
    ) -> NDArray[np.bool_]:
        """Those of the meters that may be asked of which a slot can be read now."""
        missing, again = self._askable(now_s, ready, only_today=only_today)
        waiting: NDArray[np.bool_] = (missing | again) != 0
        return waiting

    def _first(
        self,
        meters: NDArray[np.intp],
        bits: NDArray[np.uint64],
        most: int,
    ) -> list[tuple[int, date]]:
        """The first slots of these bitmaps, day by day."""
        found: list[tuple[int, date]] = []
        for age, several in _columns(meters, bits[meters]):
            if len(found) >= most:
                break
            day = date.fromordinal(self._today - age)
            room = most - len(found)
            found += [(meter, day) for meter in several[:room]]
        return found

    def _longest_asked(self, which: NDArray[np.bool_]) -> NDArray[np.intp]:
        """These meters, the one that was asked longest ago first."""
        meters = np.flatnonzero(which)
        order = np.argsort(self._last_asked[meters], kind="stable")
        return meters[order]

    def _askable(
        self, now_s: float, ready: NDArray[np.bool_], *, only_today: bool
    ) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """(the slots that may be read now, those of older days that were so in vain before)."""
        missing = np.where(ready, self._missing(), np.uint64(0))
        if only_today:
            missing &= TODAY
        again = np.zeros_like(missing)
        for (meter, number), (until, _) in self._not_there.items():
            bit = np.uint64(self._bit(number))
            if until > now_s or bit != TODAY:
                if until <= now_s:
                    again[meter] |= missing[meter] & bit
                missing[meter] &= ~bit
        return missing, again

    def _few_jobs(
        self,
        now_s: float,
        ready: NDArray[np.bool_],
        most: int,
        *,
        only_today: bool,
    ) -> list[tuple[int, date]]:
        """The same one by one: for a few meters arrays are slow."""
        bits = self._missing_of_each(1 if only_today else -1)
        last_asked = self._last_asked.tolist()
        meters = np.flatnonzero(ready).tolist()
        meters.sort(key=last_asked.__getitem__)
        columns = 0
        for meter in meters:
            columns |= bits[meter]
        found: list[tuple[int, date]] = []
        for age in _ages(columns):
            if len(found) >= most:
                break
            day = date.fromordinal(self._today - age)
            several = [meter for meter in meters if bits[meter] >> age & 1]
            room = most - len(found)
            found += [(meter, day) for meter in several[:room]]
        for meter, _ in found:
            self._last_asked[meter] = now_s
        return found

    def _missing_of_each(self, window: int) -> list[int]:
        columns = zip(
            self._mask.tolist(),
            self._present.tolist(),
            self._taken,
            strict=True,
        )
        return [mask & ~(present | taken) & window for mask, present, taken in columns]

    def next_at(self, ready_at: NDArray[np.float64]) -> float | None:
        """The second at which a wanted slot becomes ready; None when nothing is wanted.

        `ready_at`: from when each meter may be asked."""
        missing = self._missing()
        seconds = []
        for (meter, number), (until, _) in self._not_there.items():
            bit = np.uint64(self._bit(number))
            if missing[meter] & bit:
                missing[meter] &= ~bit
                meter_ready_at = float(ready_at[meter])
                seconds.append(max(until, meter_ready_at))
        of_missing = ready_at[missing != 0]
        if len(of_missing):
            seconds.append(float(of_missing.min()))
        return min(seconds, default=None)

    def not_there(
        self,
        meter: int,
        day: date,
        now_s: float,
        *,
        first_s: float,
        longest_s: float,
    ) -> None:
        """The meter answered but has no freeze of that day yet: ask again after a growing time."""
        cell = (meter, day.toordinal())
        _, tries = self._not_there.get(cell, (0.0, 0))
        # 2 ** 20 pauses are longer than any that is configured; more would overflow some day.
        doublings = min(tries, 20)
        pause_s = min(longest_s, first_s * 2**doublings)
        self._not_there[cell] = (now_s + pause_s, tries + 1)

    def paused_until(self, meter: int, day: date) -> float:
        """The second until which a slot is not asked for; 0 where it may be."""
        until, _ = self._not_there.get((meter, day.toordinal()), (0.0, 0))
        return until

    def has_today(self, now_s: float, ready: NDArray[np.bool_]) -> bool:
        """True if one of these meters can be asked for today's freeze now."""
        lacking = ready & ((self._missing() & TODAY) != 0)
        for (meter, number), (until, _) in self._not_there.items():
            if number == self._today and until > now_s:
                lacking[meter] = False
        return bool(lacking.any())

    def counts(self) -> tuple[int, int]:
        """(owed without a value in the database, with one) slots of the memory."""
        owed = _count_bits(self._mask)
        present = _count_bits(self._mask & self._present)
        return owed - present, present

    def day_counts(self, age: int) -> tuple[int, int, int]:
        """(owed, with a value in the database, with one that was never asked for in vain) slots of
        one day; 0: the newest."""
        owed = self._mask & np.uint64(1 << age)
        present = owed & self._present
        at_first = present & ~self._in_vain_once
        return _count_bits(owed), _count_bits(present), _count_bits(at_first)

    def missing_since(self, ages: Sequence[int]) -> list[int]:
        """How many owed slots lack a value, by age: of the days from each of these to the next."""
        missing = self._mask & ~self._present
        ends = [*ages[1:], MEMORY_DAYS]
        return [
            _count_bits(missing & np.uint64((1 << end) - (1 << age)))
            for age, end in zip(ages, ends, strict=True)
        ]

    def tried_in_vain(self, meter: int, day: date) -> None:
        """It was asked for, and did not come."""
        self._in_vain_once[meter] |= np.uint64(self._bit(day.toordinal()))

    def late_meters(self) -> NDArray[np.intp]:
        """The meters that lack a freeze which is due."""
        return np.flatnonzero(self._mask & ~self._present)

    def newest_late(self, meter: int) -> date | None:
        """The newest day of which this meter lacks a freeze that is due."""
        late = int(self._mask[meter] & ~self._present[meter])
        if not late:
            return None
        newest_bit = late & -late
        age = newest_bit.bit_length() - 1
        return date.fromordinal(self._today - age)

    def _missing(self) -> NDArray[np.uint64]:
        """The bits of the slots that are to be read."""
        there = self._present | self._on_its_way
        missing: NDArray[np.uint64] = self._mask & ~there
        return missing

    def _owed_mask(self) -> NDArray[np.uint64]:
        # quality.freeze.is_in_service for all days at once: the day of installation is the first.
        return self._days_since(self._installed)

    def _days_since(self, first: NDArray[np.int32]) -> NDArray[np.uint64]:
        owned = np.clip(self._today + 1 - first, 0, self._days).astype(np.uint64)
        days: NDArray[np.uint64] = (TODAY << owned) - TODAY
        return days & self._window

    def _bit(self, day: int) -> int:
        """The bit of a day number; 0 outside the window."""
        age = self._today - day
        return 1 << age if 0 <= age < self._days else 0


def _day_numbers(days: Sequence[date]) -> NDArray[np.int32]:
    return np.array([day.toordinal() for day in days], dtype=np.int32)


def _count_bits(bitmaps: NDArray[np.uint64]) -> int:
    return int(np.bitwise_count(bitmaps).sum())


def _columns(
    meters: NDArray[np.intp],
    missing: NDArray[np.uint64],
) -> Iterator[tuple[int, list[int]]]:
    """(age of a day, the meters that lack it), today's first, then the oldest."""
    columns = int(np.bitwise_or.reduce(missing)) if len(meters) else 0
    for age in _ages(columns):
        bit = np.uint64(1 << age)
        lack_it = (missing & bit) != 0
        yield age, meters[lack_it].tolist()


def _doubtful_last(
    meters: NDArray[np.intp],
    doubtful: NDArray[np.bool_] | None,
) -> NDArray[np.intp]:
    if doubtful is None:
        return meters
    order = np.argsort(doubtful[meters], kind="stable")
    return meters[order]


def _ages(columns: int) -> Iterator[int]:
    """The days of a bitmap by their ages: today, then the oldest, which is lost soonest."""
    while columns:
        age = 0 if columns & 1 else columns.bit_length() - 1
        columns &= ~(1 << age)
        yield age


def first_day(today: date, days: int) -> date:
    """The oldest day that is owed when `days` midnights are, today's included."""
    owed = min(days, MEMORY_DAYS)
    return today - timedelta(days=owed - 1)
