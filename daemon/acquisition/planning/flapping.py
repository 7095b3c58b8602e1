"""A way that is opened and lost again and again is one thing to tell, not two each time. Pure."""

from __future__ import annotations

from math import inf
from typing import Literal

STEADY_S = 60.0
"""A way that stayed open for so long does not flap."""
TOLD_EACH = 2
"""So many short times are told one by one: a cable is plugged in, a converter restarts."""
TOLD_AGAIN_S = 3600.0


class Flapping:
    """Seconds are of any monotonic clock."""

    __slots__ = ("_opened_s", "_told_s", "times")

    def __init__(self) -> None:
        self.times = 0
        """How often in a row the way was lost soon after it was opened."""
        self._opened_s = 0.0
        self._told_s = -inf

    @property
    def is_flapping(self) -> bool:
        """True while neither its openings nor its losses are told one by one."""
        return self.times > TOLD_EACH

    def opened(self, now_s: float) -> bool:
        """The way is open. Whether that is to be told."""
        self._opened_s = now_s
        return not self.is_flapping

    def lost(self, now_s: float) -> Literal["line down", "line flaps", ""]:
        """The way was lost, or could not be opened. What is to be told."""
        if now_s - self._opened_s >= STEADY_S:
            self.steady()
            return "line down"
        self.times += 1
        if not self.is_flapping:
            return "line down"
        if now_s - self._told_s < TOLD_AGAIN_S:
            return ""
        self._told_s = now_s
        return "line flaps"

    def steady(self) -> bool:
        """It stayed open for STEADY_S. Whether that is to be told, because it flapped before."""
        flapped = self.is_flapping
        self.times = 0
        self._told_s = -inf
        return flapped
