"""Whether the host's clock can be believed. Where it cannot, nothing is done that its time decides
for ever: no host freeze, no clock is set, nobody is cut.

Intervals do not come here: they are counted on the monotonic clock, which no step reaches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from daemon import metrics
from daemon.runtime.kernel_clock import is_synchronised

log = structlog.get_logger("daemon")

LOOK_S: Final = 1.0
LOOKS_AT_METERS_EVERY: Final = 60
STEP_S: Final = 1.0
"""A wall clock that went so much further than the monotonic one, or less, was stepped: what keeps
it right in small steps moves it by 0.5 ms a second."""
DOUBTED_STEP_S: Final = 60.0
"""As far as a host freeze may be from midnight."""
DOUBTED_FOR_S: Final = 3600.0
"""After such a step nobody knows for so long which of the two times was right."""
BEHIND: Final = timedelta(seconds=60)
FAR_S: Final = 300.0
"""Further a meter's clock may not be off (V05)."""
FEWEST_METERS: Final = 3
"""So many clocks that agree say more than the host's."""


class HostClock:
    """The host's wall clock, and what speaks against it.

    `must_be_synchronised`: the kernel has to say that something keeps it right."""

    def __init__(
        self,
        *,
        must_be_synchronised: bool = False,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.steps = 0
        """How often it was stepped since the start."""
        self._must_be_synchronised = must_be_synchronised
        self._wall = wall
        self._monotonic = monotonic
        self._ahead_s = wall() - monotonic()
        self._stepped: tuple[float, float] | None = None
        """(monotonic second of the last step that is doubted, by how much)."""
        self._newest_arrival = datetime.fromtimestamp(0, UTC)
        self._meters = ""
        self.doubt = ""
        """What speaks against it; empty when nothing does. As of the last look."""

    def look(self) -> float:
        """By how many seconds it was stepped since the last look; 0 when it was not."""
        ahead_s = self._wall() - self._monotonic()
        by_s = ahead_s - self._ahead_s
        self._ahead_s = ahead_s
        if abs(by_s) < STEP_S:
            by_s = 0.0
        else:
            self.steps += 1
        if abs(by_s) >= DOUBTED_STEP_S:
            self._stepped = (self._monotonic(), by_s)
        self._judge()
        return by_s

    def arrived(self, newest: datetime | None) -> None:
        """When the newest reading came that is stored: it is later than that by now."""
        if newest is not None:
            self._newest_arrival = max(self._newest_arrival, newest)

    def compare(self, skews_s: NDArray[np.int32]) -> None:
        """How far the clocks of meters are ahead, as they were read today."""
        self._meters = ""
        if len(skews_s) < FEWEST_METERS:
            return
        middle_s = float(np.median(skews_s))
        alike = int((np.abs(skews_s - middle_s) <= FAR_S).sum())
        if abs(middle_s) > FAR_S and 2 * alike > len(skews_s):
            self._meters = f"{alike} of {len(skews_s)} meters' clocks show {middle_s:+.0f} s"

    def _judge(self) -> None:
        """Log and show once that it is doubted, or is not any more."""
        doubt = self._found()
        metrics.HOST_CLOCK_DOUBTED.set(bool(doubt))
        if doubt and not self.doubt:
            log.error("host clock doubted: no host freeze, clock set or trip", reason=doubt)
        elif self.doubt and not doubt:
            log.warning("host clock is believed again", was=self.doubt)
        self.doubt = doubt

    def _found(self) -> str:
        if self._stepped is not None:
            at_s, by_s = self._stepped
            if self._monotonic() - at_s < DOUBTED_FOR_S:
                return f"it was stepped by {by_s:+.0f} s within the hour"
        if datetime.fromtimestamp(self._wall(), UTC) < self._newest_arrival - BEHIND:
            newest = self._newest_arrival.isoformat(timespec="seconds")
            return f"it is behind a reading that is stored and came at {newest}"
        if self._must_be_synchronised and is_synchronised() is False:
            return "the kernel says that nothing keeps it right (is NTP running?)"
        return self._meters


async def watch(
    clock: HostClock, skews_s: Callable[[], NDArray[np.int32]], on_step: Callable[[], None]
) -> None:
    """Until cancelled. `skews_s`: of all meters whose clocks were read today."""
    if is_synchronised() is False:
        log.warning("the kernel says that nothing keeps the host's clock right (is NTP running?)")
    looks = 0
    while True:
        if looks % LOOKS_AT_METERS_EVERY == 0:
            clock.compare(skews_s())
        looks += 1
        by_s = clock.look()
        if by_s:
            metrics.HOST_CLOCK_STEPS.inc()
            log.warning("host clock stepped, everything is planned anew", by_s=round(by_s, 1))
            on_step()
        await asyncio.sleep(LOOK_S)
