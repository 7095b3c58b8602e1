"""One heap and one timer for the deadlines of all lines.

A timer of the event loop for every question costs more than the question. Here moving a deadline
further away, which is what happens to nearly all of them, is one assignment: its entry in the heap
is looked at when it comes up, not before."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from math import inf
from time import monotonic

SLACK_S = 0.004
"""Deadlines that are no further apart are served at once."""
LATE_S = 0.02
"""When the loop itself is later than this, what was waited for may lie unread: each deadline gets
that time once more,"""
MOST_S = 1.0
"""but no more than this: a machine that slept for hours has its lines wait no further hours."""


class Deadline(ABC):
    """Calls `expired` once the monotonic clock has passed `at`; infinite while nothing is waited
    for."""

    __slots__ = ("_deadlines", "at", "filed_at", "prolonged_to")

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self.filed_at = inf
        """Where its entry lies in the heap; infinite while it has none."""
        self.at = inf
        """May be moved behind `filed_at` by assignment; to move it before, it must be `set`."""
        self.prolonged_to = inf
        """The second that it got once more, because the loop was late."""

    def set(self, at: float) -> None:
        """Expire at this second of the monotonic clock, not at the one that was set before."""
        self.at = at
        if at < self.filed_at:
            self._deadlines.file(self)

    def clear(self) -> None:
        """Nothing is waited for any more."""
        self.at = inf

    @abstractmethod
    def expired(self) -> None:
        """The time is over; called from the event loop."""


class Deadlines:
    """Holds the deadlines of one event loop. `now`: seconds of its monotonic clock."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._heap: list[tuple[float, int, Deadline]] = []
        self._number = count()
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = inf

    def file(self, deadline: Deadline) -> None:
        """Look at this deadline when it is reached; for Deadline.set."""
        deadline.filed_at = deadline.at
        heappush(self._heap, (deadline.at, next(self._number), deadline))
        if deadline.at < self._rings_at:
            self._ring(deadline.at)

    def _ring(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = at
        # The loop counts in whole milliseconds, and would be early by a part of one.
        self._timer = asyncio.get_running_loop().call_later(at - self._now() + 0.001, self._sweep)

    def _sweep(self) -> None:
        now = self._now()
        late_s = now - self._rings_at
        self._rings_at = -inf
        self._timer = None
        # Taken out first: what is filed meanwhile for a second that is over has to wait for the
        # next sweep.
        due = []
        while self._heap and self._heap[0][0] <= now:
            due.append(heappop(self._heap))
        due.reverse()
        try:
            while due:
                filed_at, _, deadline = due.pop()
                # Otherwise it was filed anew, for an earlier second.
                if filed_at == deadline.filed_at:
                    deadline.filed_at = inf
                    self._look_at(deadline, now, late_s)
        finally:
            for left in due:
                heappush(self._heap, left)
            self._rings_at = inf
            if self._heap:
                self._ring(max(self._heap[0][0], now + SLACK_S))

    def _look_at(
        self,
        deadline: Deadline,
        now: float,
        late_s: float,
    ) -> None:
        is_over = deadline.at <= now
        is_excused = late_s > LATE_S and deadline.at != deadline.prolonged_to
        if is_over and is_excused:
            deadline.prolonged_to = now + min(late_s, MOST_S)
            deadline.at = deadline.prolonged_to
        elif is_over:
            deadline.at = inf
            deadline.expired()
            return
        if deadline.at < inf:
            self.file(deadline)
