"""Why slots are still missing: what became of the last try of each.

Pure: times are given. Only what was tried in vain is in here, until it is written down: it grows
with the failures of a line between two drains, not with its meters."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

Cause = Literal[
    "no_answer",
    "no_route",
    "refused",
    "no_freeze",
    "wrong_stamp",
    "meter_clock",
    "bad_answer",
]
"""`no_route`: the carrier refused the request. `no_freeze`: the meter has none of that day.
`wrong_stamp`: what it has is stamped otherwise. `meter_clock`: its clock is wrong by half a day, so
nobody knows of which day its freezes are."""


@dataclass(slots=True)
class Attempt:
    """Tries of one slot since the last drain; cause and time are those of the last one."""

    number: int
    day: date
    cause: str
    tries: int
    last_at: datetime


class Attempts:
    """Meters are numbered from 0."""

    __slots__ = ("_of_slots",)

    def __init__(self) -> None:
        self._of_slots: dict[tuple[int, date], Attempt] = {}

    def note(self, number: int, day: date, cause: Cause, at: datetime) -> None:
        """One more try in vain."""
        known = self._of_slots.get((number, day))
        if known is None:
            self._of_slots[number, day] = Attempt(
                number,
                day,
                cause,
                1,
                at,
            )
            return
        known.cause = cause
        known.tries += 1
        known.last_at = at

    def drain(self) -> list[Attempt]:
        """What was noted since the last time."""
        drained = list(self._of_slots.values())
        self._of_slots.clear()
        return drained

    def put_back(self, attempt: Attempt) -> None:
        """It could not be written down: it counts with the next."""
        later = self._of_slots.get((attempt.number, attempt.day))
        if later is None:
            self._of_slots[attempt.number, attempt.day] = attempt
        else:
            later.tries += attempt.tries
