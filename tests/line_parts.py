"""What a line of a test is built of: a sink that is a function, and no commands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from math import inf
from typing import Any
from zoneinfo import ZoneInfo

from daemon.acquisition.commands import CommandStep
from daemon.acquisition.parts import LineParts, Pace
from daemon.acquisition.site_clock import SiteClock
from daemon.control.sources import FarEnd
from daemon.quality.arrival import Arrival, IdentityRead, PolledFreeze, RelayRead
from storage.archive import SiteMeter

ZONE = ZoneInfo("Asia/Shanghai")


class NoCommands:
    """A CommandSource that never has one."""

    def wake(self) -> None: ...

    def due_in_s(self) -> float:
        return inf

    def is_due(self) -> bool:
        return False

    async def serve(
        self,
        execute: Callable[[CommandStep], Awaitable[None]],
        far_end: FarEnd | None = None,
    ) -> bool:
        return False


class Sink:
    """A ReadingSink; its `submit` may be replaced."""

    def __init__(self, submit: Callable[[Arrival | PolledFreeze], bool]) -> None:
        self.submit = submit
        self.identities: list[IdentityRead] = []
        self.refused: list[IdentityRead] = []
        """Those that found no room."""
        self.relays: list[RelayRead] = []
        self.has_room = True

    def identified(self, read: IdentityRead) -> bool:
        (self.identities if self.has_room else self.refused).append(read)
        return self.has_room

    def relay_seen(self, read: RelayRead) -> bool:
        if self.has_room:
            self.relays.append(read)
        return self.has_room


def line_parts(
    name: str,
    meters: Sequence[SiteMeter],
    submit: Callable[[Arrival | PolledFreeze], bool] = lambda arrival: True,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    **changes: Any,
) -> LineParts:
    """Parts of a line of a site in Shanghai."""
    how: dict[str, Any] = {
        "shown_as": name,
        "pace": Pace(1.0, 1.0),
        "backfill_days": 1,
        "clock": SiteClock(ZONE, now),
        "commands": NoCommands(),
        "sink": Sink(submit),
    }
    return LineParts(name=name, meters=meters, **{**how, **changes})
