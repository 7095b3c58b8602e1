"""What a line has learnt about its meters: how long they take to answer, and which do not answer at all. Pure.

Three states of a meter: well; suspect after a silence, asked again when the others had their turn; parked after
PARK_AFTER silences in a row, and probed with growing pauses, so that the dead cost the living almost nothing. When all
that are asked stay silent, it is the line: one probe at a time finds out when it is back, and one incident is told.
"""

from __future__ import annotations

from array import array
from math import inf, nan

import numpy as np
from numpy.typing import NDArray

GUARD_S = 0.1
"""Nobody is waited for less than so much longer than it usually takes."""
FINE_S = 0.0005
"""Smaller differences teach nothing."""
PARK_AFTER = 3
SUSPECT_PAUSE_S = 1.0
FIRST_PARKED_PAUSE_S = 60.0
LINE_SILENT_AFTER = 12
"""So many meters (or all, if there are fewer) silent one after another: it is the line."""
LONGEST_LINE_PAUSE_S = 30.0
RETURN_HELPS_EVERY_S = 300.0
"""When a parked meter comes back, the other parked ones are asked at once, but not more often than this."""


class Patience:
    """Meters are numbered from 0; seconds are of any monotonic clock.

    `longest_wait_s` bounds every wait for an answer, `longest_pause_s` every pause of a silent meter.
    """

    def __init__(self, count: int, *, longest_wait_s: float, longest_pause_s: float) -> None:
        self._longest_wait_s, self._longest_pause_s = longest_wait_s, longest_pause_s
        self._delay = array("f", [nan]) * count
        self._swing = array("f", [0.0]) * count
        self._slowest = nan
        self.is_troubled = False
        """True while somebody is silent: who is heard must be told by `answered`."""
        self._misses = np.zeros(count, dtype=np.int16)
        self._until = np.zeros(count)
        self._helped_at = -inf
        self._silent_in_a_row: set[int] = set()
        self._probes = 0
        self._probe_at = 0.0
        self._probed = 0
        self.line_is_silent = False

    def wait_s(self, meter: int) -> float:
        """How long to wait until an answer of this meter begins."""
        if self.is_troubled and (self.line_is_silent or self._misses[meter] >= PARK_AFTER):
            return self._longest_wait_s
        delay = self._delay[meter]
        if delay != delay:
            delay = self._slowest
        if delay != delay:
            return self._longest_wait_s
        swing = 4 * self._swing[meter]
        wait_s = delay + (swing if swing > GUARD_S else GUARD_S)
        return wait_s if wait_s < self._longest_wait_s else self._longest_wait_s

    def expect(self, meter: int) -> tuple[float, float]:
        """(how long to wait, what it usually takes to begin its answer or NaN)."""
        return self.wait_s(meter), self._delay[meter]

    def took(self, meter: int, delay_s: float) -> None:
        """It answered after so long (the time on the wire not counted)."""
        known = self._delay[meter]
        off = delay_s - known
        if -FINE_S < off < FINE_S:
            return
        if off != off or off > 1:
            self._delay[meter] = max(0.0, delay_s)
            self._swing[meter] = max(0.0, delay_s) / 8
        else:
            self._swing[meter] += (abs(off) - self._swing[meter]) / 4
            self._delay[meter] = max(0.0, known + off / 8)
        if not self._slowest >= delay_s:
            self._slowest = delay_s

    def answered(self, meter: int, now_s: float) -> bool:
        """The meter is there. True when this ends the silence of the whole line."""
        self._silent_in_a_row.clear()
        if self.line_is_silent:
            self.line_is_silent = False
            self.unblock()
            return True
        if self._misses[meter]:
            was_parked = self._misses[meter] >= PARK_AFTER
            self._misses[meter] = 0
            self._until[meter] = 0
            self.is_troubled = bool(self._misses.any())
            if was_parked and now_s - self._helped_at > RETURN_HELPS_EVERY_S:
                self._helped_at = now_s
                self._until[:] = 0
        return False

    def silent(self, meter: int, now_s: float) -> str | None:
        """The meter did not answer. What there is to tell: "parked", "line silent", or None."""
        self.is_troubled = True
        if self.line_is_silent:
            self._probes += 1
            self._probe_at = now_s + min(self._longest_pause_s, LONGEST_LINE_PAUSE_S, 2.0 ** min(self._probes, 10))
            return None
        self._silent_in_a_row.add(meter)
        count = len(self._until)
        if count > 1 and len(self._silent_in_a_row) >= min(count, LINE_SILENT_AFTER):
            self.line_is_silent, self._probes, self._probed = True, 0, meter
            self._probe_at = now_s + min(self._longest_pause_s, 1.0)
            return "line silent"
        self._misses[meter] += self._misses[meter] < 1000
        misses = int(self._misses[meter])
        pause = SUSPECT_PAUSE_S if misses < PARK_AFTER else FIRST_PARKED_PAUSE_S * 2 ** min(misses - PARK_AFTER, 20)
        self._until[meter] = now_s + min(self._longest_pause_s, pause)
        return "parked" if misses == PARK_AFTER else None

    def ready(self, now_s: float) -> NDArray[np.bool_]:
        """Who may be asked now. Of a silent line one meter, another each time."""
        if not self.line_is_silent:
            return self._until <= now_s
        one = np.zeros(len(self._until), dtype=bool)
        if self._probe_at <= now_s:
            one[(self._probed + self._probes) % len(one)] = True
        return one

    def ready_at(self) -> NDArray[np.float64]:
        """The second from which each may be asked."""
        return np.full(len(self._until), self._probe_at) if self.line_is_silent else self._until

    def unblock(self) -> None:
        """The line came back: whoever was silent is asked at once."""
        self.line_is_silent = self.is_troubled = False
        self._silent_in_a_row.clear()
        self._misses[:] = 0
        self._until[:] = 0

    @property
    def parked(self) -> int:
        """How many meters are parked."""
        return int((self._misses >= PARK_AFTER).sum())
