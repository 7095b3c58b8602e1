"""What a line has learnt about its meters: how long they take to answer, and which do not answer at
all, or tell nothing that can be used. Pure.

Three states of a meter: well; suspect after a failure, asked again when the others had their turn;
backed off after BACK_OFF_AFTER failures in a row, and probed with growing pauses, so that the dead
cost the living almost nothing. Only what was asked for clears a meter: one that answers another
question well may fail at this one for ever. When all that are asked stay silent, it is the line:
one probe at a time finds out when it is back, and one incident is told."""

from __future__ import annotations

from array import array
from math import inf, nan
from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Delays = TypeVar("Delays", float, NDArray[np.float32])

GUARD_S = 0.1
"""Least that a meter is waited for beyond what it usually takes."""
BACK_OFF_AFTER = 3
SUSPECT_PAUSE_S = 1.0
FIRST_BACKED_OFF_PAUSE_S = 60.0
LINE_SILENT_AFTER = 12
"""Meters (or all, if there are fewer) silent one after another that make a silent line."""
LONGEST_LINE_PAUSE_S = 30.0
BACKED_OFF_REST = 3
"""Longest waits that pass, after a backed off meter stayed silent, before another one is asked: all
the dead together cost a line at most a quarter of its time, however many they are."""
FAILING_SHARE = 1 / 5
"""Of a line's time, at the most, for all meters that failed last, while others are to be read."""
RETURN_HELPS_EVERY_S = 300.0
"""Shortest time between two returns of a backed off meter at which the others are asked at once."""
FORGETS = 0.99
"""What is left of the slowest meter's delay whenever another delay is learnt."""


class Tolerance(NamedTuple):
    """Within what a delay is the usual one, which teaches nothing. `share`: of what is known, below
    it; `slack_s`: beyond it."""

    share: float
    slack_s: float


ON_A_WIRE: Final = Tolerance(0.98, 0.0005)
"""A slow wire has to be kept busy, so that small differences count."""
OVER_A_NETWORK: Final = Tolerance(0.5, 0.02)


def usual_range(known_s: Delays, tolerance: Tolerance) -> tuple[Delays, Delays]:
    """The bounds between which a delay, or each of many, is the usual one; NaN where none is
    known."""
    return tolerance.share * known_s, known_s + tolerance.slack_s


class ReplyTimeouts:
    """Meters are numbered from 0; seconds are of any monotonic clock.

    `longest_wait_s` bounds every wait for an answer, `longest_pause_s` every pause of a silent
    meter."""

    __slots__ = (
        "_backed_off_at",
        "_failing",
        "_failing_at",
        "_helped_at",
        "_longest_pause_s",
        "_longest_wait_s",
        "_missed",
        "_paused",
        "_probe_at",
        "_probes",
        "_silent_in_a_row",
        "_slowest_s",
        "_times",
        "first_wait_s",
        "guard_s",
        "is_troubled",
        "line_is_silent",
    )

    def __init__(self, count: int, *, longest_wait_s: float, longest_pause_s: float) -> None:
        self._longest_wait_s = longest_wait_s
        self._longest_pause_s = longest_pause_s
        self.guard_s = GUARD_S
        """More where the way is long and its delays are not the meters'."""
        self.first_wait_s = longest_wait_s
        """For the first answer on a line of which nothing is known; less where most are quick and
        nothing is lost."""
        self._times = array("f", [nan, nan, 0.0]) * count
        """Of each meter: its usual delay, how long to wait for it, how much its delay swings. Close
        together, because with thousands of lines it is cold memory that costs time."""
        self._slowest_s: float | None = None
        """What the slowest meter usually takes; one that was slow once is forgotten little by
        little."""
        self.is_troubled = False
        """True while a meter fails: each answer must be told by `record_life`, each value by
        `record_reply`."""
        self._missed = array("h", bytes(2 * count))
        """Of each meter: its failures in a row."""
        self._paused = array("d", bytes(8 * count))
        """Of each meter: until when it is not asked."""
        self._backed_off_at = 0.0
        """From when a backed off meter may be asked again."""
        self._failing: set[int] = set()
        """Whose last read came to nothing, be it silence or an answer."""
        self._failing_at = 0.0
        """From when one of them may be read before the others."""
        self._helped_at = -inf
        self._silent_in_a_row: set[int] = set()
        self._probes = 0
        self._probe_at = 0.0
        self.line_is_silent = False

    @property
    def _misses(self) -> NDArray[np.int16]:
        """`_missed` of all, the same memory. It is not kept: an array of numpy takes room, and
        lines are many."""
        return np.frombuffer(self._missed, dtype=np.int16)

    @property
    def _until(self) -> NDArray[np.float64]:
        """`_paused` of all, the same memory."""
        return np.frombuffer(self._paused, dtype=np.float64)

    def expect(self, meter: int) -> tuple[float, float]:
        """(how long to wait until an answer begins, what it usually takes or NaN), in seconds."""
        times = self._times
        at = 3 * meter
        delay_s = times[at]
        wait_s = times[at + 1]
        if self.is_troubled and (self.line_is_silent or self._missed[meter] >= BACK_OFF_AFTER):
            return self._longest_wait_s, delay_s
        if wait_s != wait_s:  # NaN: it never answered
            wait_s = self._wait_for_a_stranger_s()
        return wait_s, delay_s

    def usual_s(self) -> NDArray[np.float32]:
        """What each usually takes to answer; 0 where that is not known."""
        return np.nan_to_num(np.array(self._times[::3], dtype=np.float32))

    def _wait_for_a_stranger_s(self) -> float:
        """A meter that never answered is taken for as slow as the slowest that did.

        If none did, the wait grows with every other that is silent too."""
        if self._slowest_s is not None:
            return self._bounded(self._slowest_s + self.guard_s)
        return self._bounded(self.first_wait_s * 4 ** len(self._silent_in_a_row))

    def record_delay(self, meter: int, delay_s: float) -> None:
        """The meter took so long to answer, the time on the wire not counted."""
        at = 3 * meter
        known, _, swing = self._times[at : at + 3]
        off = delay_s - known
        is_first = off != off
        if is_first or off > 1:
            known = delay_s
            swing = delay_s / 8
        else:
            swing += (abs(off) - swing) / 4
            known += off / 8
        known = max(0.0, known)
        self._times[at] = known
        self._times[at + 1] = self._bounded(known + max(self.guard_s, 4 * swing))
        self._times[at + 2] = swing
        if self._slowest_s is None:
            self._slowest_s = known
        else:
            self._slowest_s = max(known, self._slowest_s * FORGETS)

    def _bounded(self, wait_s: float) -> float:
        return wait_s if wait_s < self._longest_wait_s else self._longest_wait_s

    def record_life(self) -> bool:
        """Somebody answered, whatever it is. True when this ends the silence of the whole line."""
        if self._silent_in_a_row:
            self._silent_in_a_row.clear()
        was_silent = self.line_is_silent
        if was_silent:
            self.line_is_silent = False
            self.unblock()
        return was_silent

    def record_reply(self, meter: int, now_s: float) -> bool:
        """The meter told what was asked for. True when this ends the silence of the whole line."""
        was_silent = self.record_life()
        if meter in self._failing:
            self._failing.remove(meter)
            self.is_troubled = bool(self._failing)
            self._clear(meter, now_s)
        return was_silent

    def record_lack(self, meter: int, now_s: float, took_s: float) -> None:
        """The meter is well and has not what was asked for; finding that out took so long."""
        self._clear(meter, now_s)
        self._note_failing(meter, now_s, took_s)

    def record_refusal(self, meter: int, now_s: float, took_s: float) -> None:
        """The meter answered, with nothing that can be used: it is paused as if it were silent."""
        self._note_failing(meter, now_s, took_s)
        self._pause(meter, now_s)

    def _clear(self, meter: int, now_s: float) -> None:
        was_backed_off = self._missed[meter] >= BACK_OFF_AFTER
        self._missed[meter] = 0
        self._paused[meter] = 0.0
        if was_backed_off:
            self._help_the_others(now_s)

    def _note_failing(self, meter: int, now_s: float, took_s: float) -> None:
        self.is_troubled = True
        self._failing.add(meter)
        self._failing_at = now_s + took_s * (1 / FAILING_SHARE - 1)

    def _help_the_others(self, now_s: float) -> None:
        """What kept one meter silent may have kept others so: they are asked at once."""
        self._backed_off_at = 0.0
        if now_s - self._helped_at > RETURN_HELPS_EVERY_S:
            self._helped_at = now_s
            self._until[:] = 0

    def record_timeout(self, meter: int, now_s: float, took_s: float = 0.0) -> str | None:
        """The meter did not answer. What is to be told: "backed off", "line silent", or None.

        `took_s`: how long it was waited for, where that was not the usual time."""
        took_s = took_s or self.expect(meter)[0]
        self.is_troubled = True
        if self.line_is_silent:
            self._probes += 1
            pause_s = 2.0 ** min(self._probes, 10)
            self._probe_at = now_s + min(self._longest_pause_s, LONGEST_LINE_PAUSE_S, pause_s)
            return None
        self._note_failing(meter, now_s, took_s)
        if self._missed[meter] < BACK_OFF_AFTER:
            self._silent_in_a_row.add(meter)
        misses = self._pause(meter, now_s)
        if self._is_line_silent():
            self.line_is_silent = True
            self._probes = 0
            self._probe_at = now_s + min(self._longest_pause_s, 1.0)
            return "line silent"
        return "backed off" if misses == BACK_OFF_AFTER else None

    def _pause(self, meter: int, now_s: float) -> int:
        """Ask it later, after the more failures in a row the later; returns how many there were."""
        misses = self._missed[meter]
        if misses < 1000:  # more tell nothing, and have no room
            misses += 1
            self._missed[meter] = misses
        pause_s = SUSPECT_PAUSE_S
        if misses >= BACK_OFF_AFTER:
            self._backed_off_at = now_s + BACKED_OFF_REST * self._longest_wait_s
            pause_s = FIRST_BACKED_OFF_PAUSE_S * 2 ** min(misses - BACK_OFF_AFTER, 20)
        self._paused[meter] = now_s + min(self._longest_pause_s, pause_s)
        return misses

    def _is_line_silent(self) -> bool:
        """The silence of a backed off meter is no news: it says nothing of the line."""
        row = self._silent_in_a_row
        if len(row) < 2:
            return False
        others = set(np.flatnonzero(self._misses < BACK_OFF_AFTER).tolist()) - row
        return len(row) >= LINE_SILENT_AFTER or not others

    def ready(self, now_s: float) -> NDArray[np.bool_]:
        """The meters that may be asked now; of a silent line one of them, another each time."""
        return self.ready_at() <= now_s

    def answering(self, now_s: float) -> NDArray[np.bool_]:
        """The meters that may be asked now and were not silent lately."""
        answering: NDArray[np.bool_] = self.ready(now_s) & (self._misses == 0)
        return answering

    def ready_at(self) -> NDArray[np.float64]:
        """The second from which each may be asked."""
        if self.line_is_silent:
            return np.full(len(self._until), self._probe_at)
        if self._backed_off_at:
            held_back = np.maximum(self._until, self._backed_off_at)
            return np.where(self._misses < BACK_OFF_AFTER, self._until, held_back)
        return self._until

    def is_ready(self, meter: int, now_s: float) -> bool:
        """May this one be asked now?"""
        if not self.is_troubled:
            return True
        if self.line_is_silent:
            return self._probe_at <= now_s
        is_held_back = self._missed[meter] >= BACK_OFF_AFTER and self._backed_off_at > now_s
        return self._paused[meter] <= now_s and not is_held_back

    def failing(self) -> NDArray[np.bool_] | None:
        """The meters whose last read came to nothing; None when there are none, or all are."""
        if not self._failing or self.line_is_silent:
            return None
        failing = np.zeros(len(self._missed), dtype=bool)
        failing[list(self._failing)] = True
        return failing

    def may_try_failing(self, now_s: float) -> bool:
        """Have the meters that failed last used up less than their share of the line?"""
        return self._failing_at <= now_s

    def doubtful(self) -> NDArray[np.bool_] | None:
        """The backed off meters, of whom one at a time is enough.

        None when there are none, or the last of them that was asked is back. While the line is
        silent, at every other probe: those that were silent before it was."""
        if self.line_is_silent:
            return None if self._probes % 2 else self._misses > 0
        return self._misses >= BACK_OFF_AFTER if self._backed_off_at else None

    def unblock(self) -> None:
        """The way was opened: each silent meter may be asked at once, of a silent line one.

        Those backed off have one try before their pauses begin anew, or as many dead as make a line
        silent would stop it after each recovery."""
        self._probes = 0
        self._probe_at = 0.0
        self._backed_off_at = 0.0
        self._silent_in_a_row.clear()
        np.minimum(self._misses, BACK_OFF_AFTER, out=self._misses)
        self._until[:] = 0

    @property
    def is_nobody_there(self) -> bool:
        """True while the line is silent, or each of its meters for itself."""
        return self.is_troubled and (self.line_is_silent or self.backed_off == len(self._missed))

    @property
    def backed_off(self) -> int:
        """How many meters are backed off."""
        return int((self._misses >= BACK_OFF_AFTER).sum())
