"""Whose relay a line looks at next without a command: each at first contact, then every day.

And at once where somebody wants to know it. Pure: days and seconds are given."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from math import inf

import numpy as np
from numpy.typing import NDArray

from daemon.acquisition.planning.first_contacts import FirstContacts

EVERY_DAYS = 1
SHARE = 1 / 4
"""Of a line's time, at the most, while anything else waits."""
AGAIN_S = 60.0
"""Before a relay that was not told is looked at again, however often somebody asks for it."""
NO_ROOM_S = 60.0
"""Before the next look, when what was seen found no room."""


class RelayLooks:
    """Meters are numbered from 0 in the order given; seconds are of any monotonic clock."""

    __slots__ = ("_contacts", "_full_until_s", "_in_vain_s", "_rest_until_s", "_wanted")

    def __init__(self, seen_on: Sequence[date | None]) -> None:
        """`seen_on`: the day on which each relay was seen last; None for one that never was."""
        self._contacts = FirstContacts(seen_on, EVERY_DAYS)
        self._wanted: dict[int, None] = {}
        """Those that somebody waits for, in order."""
        self._in_vain_s: dict[int, float] = {}
        """When each was asked in vain last, until it tells."""
        self._rest_until_s = 0.0
        """The line has its time for other jobs until then."""
        self._full_until_s = 0.0
        """There is no room for what is seen until then."""

    @property
    def is_asked(self) -> bool:
        """True while somebody waits for a look."""
        return bool(self._wanted)

    def ask(self, number: int, now_s: float) -> None:
        """Look at this one at once, before any slot; not if it was asked in vain just now."""
        if now_s - self._in_vain_s.get(number, -inf) < AGAIN_S:
            return
        self._contacts.ask(number)
        self._wanted[number] = None

    def next_asked(self) -> int | None:
        """The one that somebody waits for longest."""
        return next(iter(self._wanted), None)

    def next_due(
        self, today: date, now_s: float, ready: NDArray[np.bool_], *, others_wait: bool
    ) -> int | None:
        """The one that was not seen for longest; None when none is due.

        `others_wait`: for the line, of which looks have a share then."""
        until_s = max(self._full_until_s, self._rest_until_s if others_wait else 0.0)
        return None if now_s < until_s else self._contacts.next(today, now_s, ready)

    def seen(self, number: int, today: date) -> None:
        """The meter told where its relay is."""
        self._wanted.pop(number, None)
        self._in_vain_s.pop(number, None)
        self._contacts.told(number, today)

    def put_off(self, number: int, now_s: float) -> bool:
        """It was asked in vain: it is asked again after a growing pause. True the first time."""
        self._wanted.pop(number, None)
        self._in_vain_s[number] = now_s
        return self._contacts.put_off(number, now_s)

    def give_up(self, number: int) -> None:
        """It has no relay that could be looked at."""
        self._wanted.pop(number, None)
        self._contacts.give_up(number)

    def no_room(self, number: int, now_s: float) -> None:
        """What it told found no room: it is due again."""
        self._wanted.pop(number, None)
        self._full_until_s = now_s + NO_ROOM_S

    def rest(self, began_s: float, now_s: float) -> None:
        """A look took so long."""
        self._rest_until_s = now_s + (now_s - began_s) * (1 / SHARE - 1)
