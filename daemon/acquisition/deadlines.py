"""One heap and one timer for the deadlines of all lines.

A timer of the event loop for every question costs more than the question. Here moving a deadline further away, which is
what happens to nearly all of them, is one assignment: its entry in the heap is looked at when it comes up, not before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from math import inf

SLACK_S = 0.004
"""Deadlines so close together are served at once."""


class Deadline:
    """Calls `expired` once the loop's clock has passed `at`; infinite while nobody waits."""

    __slots__ = ("_deadlines", "at", "expired", "filed_at")

    def __init__(self, deadlines: Deadlines, expired: Callable[[], None]) -> None:
        self._deadlines, self.expired = deadlines, expired
        self.at = self.filed_at = inf

    def set(self, at: float) -> None:
        """Expire at this second of the loop's clock, not at the one that was set before."""
        self.at = at
        if at < self.filed_at:
            self._deadlines.file(self)

    def clear(self) -> None:
        """Nobody waits any more."""
        self.at = inf


class Deadlines:
    """Holds the deadlines of one event loop."""

    def __init__(self) -> None:
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
        self._timer = asyncio.get_running_loop().call_at(at, self._sweep)

    def _sweep(self) -> None:
        now = asyncio.get_running_loop().time()
        self._rings_at, self._timer = inf, None
        while self._heap and self._heap[0][0] <= now:
            filed_at, _, deadline = heappop(self._heap)
            if filed_at != deadline.filed_at:
                continue  # it was filed anew, for an earlier second
            deadline.filed_at = inf
            if deadline.at <= now:
                deadline.at = inf
                deadline.expired()
            elif deadline.at < inf:
                self.file(deadline)
        if self._heap and self._rings_at > (at := max(self._heap[0][0], now + SLACK_S)):
            self._ring(at)
