"""Which withheld or disputed value a line asks its meter for once more: at once, and after an hour.

Pure: seconds are given. What is to be read again is what the database says; here is only kept when
each was asked last, so a restart loses nothing but that."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

AGAIN_AFTER_S = 3600.0
"""Between the first read and the second, and after a try in vain; then it grows."""
LONGEST_PAUSE_S = 86_400.0
SHARE = 1 / 4
"""Of a line's time, at the most, while anything else waits."""
MOST_READS = 3
"""The first one, and one at once and after an hour: more of the same tell nothing new."""


class Doubt(NamedTuple):
    """A value that is to be read again, as the database has it.

    `reads`: how often the day was read until now; `age_s`: how long ago the last time was."""

    number: int
    day: date
    reads: int
    age_s: float


@dataclass(slots=True)
class _Asked:
    """When a value may be asked for, and how often it was in vain or told something else."""

    not_before_s: float
    tries: int = 0


class Rereads:
    """What one line reads again.

    Meters are numbered from 0; seconds are of any monotonic clock."""

    __slots__ = ("_asked", "_rest_until_s")

    def __init__(self) -> None:
        self._asked: dict[tuple[int, date], _Asked] = {}
        self._rest_until_s = 0.0
        """The line has its time for other jobs until then."""

    def __bool__(self) -> bool:
        return bool(self._asked)

    def __contains__(self, slot: tuple[int, date]) -> bool:
        return slot in self._asked

    def refresh(self, doubts: Iterable[Doubt], now_s: float) -> bool:
        """These are all that are open; what was asked for before keeps its pause.

        True if one of them is new."""
        before = self._asked
        self._asked = {}
        for doubt in doubts:
            slot = (doubt.number, doubt.day)
            if doubt.reads < MOST_READS:
                self._asked[slot] = before.get(slot) or _Asked(now_s + _pause_s(doubt))
        return not self._asked.keys() <= before.keys()

    def next(self, now_s: float, is_ready: Callable[[int], bool]) -> tuple[int, date] | None:
        """(meter, day) that waits longest; None while none may be asked, or others have the line.

        `is_ready`: whether a meter may be asked now."""
        if now_s < self._rest_until_s:
            return None
        due = [
            (asked.not_before_s, slot)
            for slot, asked in self._asked.items()
            if asked.not_before_s <= now_s and is_ready(slot[0])
        ]
        return min(due)[1] if due else None

    def tried(self, slot: tuple[int, date], began_s: float, now_s: float) -> None:
        """It was asked for, whatever came of it.

        If the answer settled it, the next `refresh` leaves it out."""
        # What is no answer, and what is another one, may both be different later.
        asked = self._asked.get(slot)
        if asked is not None:
            pause_s = AGAIN_AFTER_S * 2 ** min(asked.tries, 10)
            asked.not_before_s = now_s + min(LONGEST_PAUSE_S, pause_s)
            asked.tries += 1
        self._rest_until_s = now_s + (now_s - began_s) * (1 / SHARE - 1)

    def next_at(self) -> float | None:
        """The second at which one may be asked for; None when there is nothing to be read again."""
        firsts = [asked.not_before_s for asked in self._asked.values()]
        return max(self._rest_until_s, min(firsts)) if firsts else None


def _pause_s(doubt: Doubt) -> float:
    """How long a value that the database tells of for the first time is left alone."""
    if doubt.reads <= 1:
        return 0.0
    return max(0.0, AGAIN_AFTER_S - doubt.age_s)
