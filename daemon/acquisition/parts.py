"""What a line of any kind is built of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from daemon.acquisition.commands import CommandSource
from daemon.acquisition.order_source import OrderSource
from daemon.acquisition.site_clock import SiteClock
from daemon.quality.arrival import Arrival, IdentityRead, PolledFreeze, RelayRead
from protocols.channels.backoff import reconnect_pause_s
from storage.archive import SiteMeter


class ReadingSink(Protocol):
    """Where readings go."""

    def submit(self, arrival: Arrival | PolledFreeze) -> bool:
        """Take a reading, without waiting; False when there is no room for it now."""

    def identified(self, read: IdentityRead) -> bool:
        """Take who a meter said it is; False when there is no room for it now."""

    def relay_seen(self, read: RelayRead) -> bool:
        """Take where a relay was; False when there is no room for it now."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient a line is.

    `retry_s` bounds the growing pauses of silent meters and missing freezes, `reconnect_s` those of
    a line that is down; `pause_s` makes these out of how often it failed and that bound."""

    retry_s: float
    reconnect_s: float
    pause_s: Callable[[int, float], float] = reconnect_pause_s


@dataclass(frozen=True, slots=True)
class LineParts:
    """What a line of any kind is built of.

    `shown_as`: its name in metrics; the lines of a listener's terminals share one.
    """

    name: str
    shown_as: str
    meters: Sequence[SiteMeter]
    pace: Pace
    backfill_days: int
    clock: SiteClock
    commands: CommandSource
    sink: ReadingSink
    orders: OrderSource | None = None
    """What is to be set in its meters beside their relays; None where it can set nothing."""
    may_control: bool = False
    """False in shadow mode: no control frame leaves."""
    is_traced: bool = False
    """True if its live bytes go into the log."""
