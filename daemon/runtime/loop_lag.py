"""How late the event loop is: what is urgent must not wait behind what is not."""

from __future__ import annotations

import asyncio

TICK_S = 0.1
LATE_S = 0.05
WEIGHT = 0.1
"""Of the newest tick: about a second decides, not one batch."""
SUSPENDED_S = 60.0
"""No batch blocks the loop for so long: the machine stood still, and nothing waits behind anything
now."""


class LoopLag:
    """The mean lateness of a tick, in `run`."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @property
    def is_late(self) -> bool:
        """True while a task that is woken has to wait noticeably."""
        return self.seconds > LATE_S

    async def run(self) -> None:
        """Measure until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + TICK_S
            await asyncio.sleep(TICK_S)
            # Exponentially weighted, so that no history is kept.
            late_s = clock() - due
            if late_s < SUSPENDED_S:
                self.seconds += WEIGHT * (late_s - self.seconds)
