"""At which index a meter keeps the freeze of a day.

DL/T 645-2007 numbers the daily freezes 05 06 ii NN from the newest: NN = 01 is today's. A meter
without power at midnight skips one, which shifts the indexes of all before: an index is a guess
until the freeze's own stamp (05 06 00 NN) proves it.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from datetime import date, datetime, timedelta

from daemon.acquisition.clocks import (
    CLOCK_LIMIT_S,
    QUIET_AROUND_MIDNIGHT,
    MeterClocks,
    is_near_midnight,
)
from daemon.acquisition.polling.packed_slots import MOST_AGE, entry, plan
from daemon.quality.freeze import CLOCK_LIMIT, MEMORY_DAYS
from protocols.dlt645.prepared.steps import CLOCK, STAMP

MAX_PROBES = 4
"""A meter that skipped freezes has shifted their indexes: maximum number of reads to find a day."""


class FreezeIndexes:
    """What was learnt of the indexes of a line's meters, and the plan of a poll by it."""

    __slots__ = ("_clocks", "_is_pipelined", "_odd_on", "_shift")

    def __init__(self, clocks: MeterClocks, *, is_pipelined: bool) -> None:
        self._clocks = clocks
        self._is_pipelined = is_pipelined
        self._shift: dict[int, int] = {}
        """By meter, where it is not 0: how much its indexes are greater than the calendar's."""
        self._odd_on: dict[int, date] = {}
        """Meters that answered something unexpected on a day: the general way is taken at once."""

    def index(self, number: int, age_days: int) -> int:
        """Where the freeze of a day is expected, 1 = newest; `age_days` 0 = today."""
        return age_days + 1 + self._shift.get(number, 0)

    def learn(
        self,
        number: int,
        age_days: int,
        index: int,
    ) -> None:
        """The freeze of that day was found at this index."""
        shift = index - age_days - 1
        # What was odd about it is explained: the prepared way may be taken again.
        if shift != self._shift.get(number, 0):
            self._shift[number] = shift
            self._odd_on.pop(number, None)

    def note_odd(self, number: int, today: date) -> None:
        """A poll met something unexpected: this day the meter is read in the general way."""
        self._odd_on[number] = today
        self._clocks.forget(number)

    def is_prepared(
        self,
        number: int,
        day: date,
        local_now: datetime,
    ) -> bool:
        """True if the freeze of this day may be read by a prepared poll.

        Not while the meter's own midnight is near or unknown: it would freeze between the stamp
        and the energies.
        """
        today = local_now.date()
        # It would be odd again, and cost a poll each time.
        if self._odd_on.get(number) == today:
            return False
        if self._clocks.read_on[number] == today.toordinal():
            skew = timedelta(seconds=self._clocks.skew_s[number])  # years, if it is not known
            if abs(skew) > CLOCK_LIMIT or is_near_midnight(local_now + skew, QUIET_AROUND_MIDNIGHT):
                return False
        is_kept = 1 <= self.index(number, (today - day).days) <= MEMORY_DAYS
        return day <= today and is_kept

    def planned(self, slots: Sequence[tuple[int, date]], local_now: datetime) -> array[int]:
        """The plan of one poll, up to the first slot that needs the general way.

        The poll is over before anything that depends on the time of day changes. The first slot of
        a meter whose clock is not known yet today begins with its clock.
        """
        is_midnight_near = is_near_midnight(local_now, QUIET_AROUND_MIDNIGHT + CLOCK_LIMIT)
        today = local_now.toordinal()
        clocks = self._clocks
        numbers: set[int] = set()
        entries: list[int] = []
        for number, day in slots:
            age = today - day.toordinal()
            index = self.index(number, age)
            needs_care = is_midnight_near or self._needs_care(number, age, index)
            if needs_care and not self.is_prepared(number, day, local_now):
                break
            if self._is_pipelined and number in numbers:
                break  # its former request may still be under way
            is_clock_known = clocks.read_on[number] == today or number in numbers
            entries.append(
                entry(
                    number,
                    age,
                    index,
                    STAMP if is_clock_known else CLOCK,
                )
            )
            numbers.add(number)
        return plan(entries)

    def _needs_care(
        self,
        number: int,
        age_days: int,
        index: int,
    ) -> bool:
        """False if `is_prepared` need not be looked at: few slots are out of the ordinary."""
        if number in self._odd_on or abs(self._clocks.skew_s[number]) > CLOCK_LIMIT_S:
            return True
        return not (0 <= age_days <= MOST_AGE and 1 <= index <= MEMORY_DAYS)


class FreezeSearch:
    """The indexes to read for one day, each guessed from the stamp at the one before."""

    __slots__ = ("_asked", "index")

    def __init__(self, first_index: int) -> None:
        self.index = first_index
        self._asked: set[int] = set()

    def has_next(self) -> bool:
        """True if `index` is to be read: a meter may have it, and it was not read before."""
        if self.index in self._asked or len(self._asked) >= MAX_PROBES:
            return False
        if not 1 <= self.index <= MEMORY_DAYS:
            return False
        self._asked.add(self.index)
        return True

    def move(self, days: int) -> None:
        """The stamp found there is so many days newer than the day that is looked for."""
        self.index += days
