"""The relay of a simulated meter: its command and its position are two things.

Status word 3 has the command in bit 6 and the position in bit 4."""

from __future__ import annotations

from bisect import bisect_right
from datetime import datetime, timedelta
from enum import Enum
from typing import Final, NamedTuple

# DL/T 645-2007, status word 3 (04000503); bit 12 is of the State Grid addendum.
STATUS_RELAY_OPEN: Final = 1 << 4
STATUS_COMMAND_OPEN: Final = 1 << 6
STATUS_PRE_TRIP_ALARM: Final = 1 << 7
STATUS_KEEP_POWER: Final = 1 << 12


class RelayKind(Enum):
    """Where the relay sits. After *allow close* an internal one waits for the customer's button."""

    INTERNAL = "internal"
    EXTERNAL = "external"
    NONE = "none"


class RelayRefused(Exception):
    """The meter will not do this command now: no relay, keep power, or a duration of zero."""


class Move(NamedTuple):
    """One movement of a relay, at a true site time."""

    at: datetime
    to_open: bool


class Relay:
    """A relay moved by commands, by time and by the customer's button.

    `moves` is its whole life. `trip_delay`: time between a trip and the movement."""

    def __init__(
        self,
        kind: RelayKind = RelayKind.INTERNAL,
        *,
        has_button: bool = True,
        trip_delay: timedelta = timedelta(0),
        is_stuck: bool = False,
        keeps_power: bool = False,
    ) -> None:
        self.kind = kind
        self.has_button = has_button
        self.trip_delay = trip_delay
        self.is_stuck = is_stuck
        self.keeps_power = keeps_power
        self.is_open = False
        self.command_open = False
        self.pre_trip_alarm = False
        self.moves: list[Move] = []
        self._trip_due: datetime | None = None
        self._return_due: datetime | None = None
        self._returns_directly = False

    def status_bits(self) -> int:
        """The relay's bits of status word 3."""
        return (
            STATUS_RELAY_OPEN * self.is_open
            | STATUS_COMMAND_OPEN * self.command_open
            | STATUS_PRE_TRIP_ALARM * self.pre_trip_alarm
            | STATUS_KEEP_POWER * self.keeps_power
        )

    def was_open(self, at: datetime) -> bool:
        """Where it was at any time up to now."""
        moved = bisect_right(
            self.moves,
            at,
            key=lambda move: move.at,
        )
        return moved > 0 and self.moves[moved - 1].to_open

    def settle(self, at: datetime) -> None:
        """Let happen what was due until `at`: a delayed trip, the return of a trip for a time."""
        if self._trip_due and self._trip_due <= at:
            self._move(self._trip_due, to_open=True)
            self._trip_due = None
        if self._return_due is None or self._return_due > at:
            return
        if self._returns_directly:
            self.close(self._return_due)
        else:
            self.allow_close(self._return_due)

    def trip(
        self,
        at: datetime,
        *,
        back_after: timedelta | None = None,
        closes_directly: bool = False,
    ) -> None:
        """Command 1A; with `back_after` 1D (then allow close) or 1E (then close)."""
        self._needs_relay()
        # DL/T 645-2007, control 1D and 1E: a duration of 00 is refused.
        if self.keeps_power or back_after == timedelta(0):
            raise RelayRefused
        self.command_open = True
        self._trip_due = at + self.trip_delay
        self._return_due = self._trip_due + back_after if back_after else None
        self._returns_directly = closes_directly
        self.settle(at)

    def allow_close(self, at: datetime) -> None:
        """Command 1B. A trip that was still to come is off."""
        self._needs_relay()
        self._forget_trip()
        # DL/T 645-2007, control 1B: an internal relay closes when the customer presses the button.
        if self.kind is RelayKind.EXTERNAL or not self.has_button:
            self._move(at, to_open=False)

    def close(self, at: datetime) -> None:
        """Command 1C: the relay closes without the customer."""
        self._needs_relay()
        self._forget_trip()
        self._move(at, to_open=False)

    def keep_power(self, at: datetime, *, on: bool) -> None:
        """Commands 3A and 3B. Keep power on a tripped meter allows it to close."""
        self._needs_relay()
        self.keeps_power = on
        if on and self.command_open:
            self.allow_close(at)

    def press_button(self, at: datetime) -> None:
        """The customer holds the button: closes when the meter was allowed to."""
        self.settle(at)
        if not self.command_open:
            self._move(at, to_open=False)

    def force(self, at: datetime, *, to_open: bool) -> None:
        """Another tool moves the relay, without a command of ours."""
        self._needs_relay()
        self.settle(at)
        self._forget_trip()
        self.command_open = to_open
        self._move(at, to_open=to_open)

    def _forget_trip(self) -> None:
        self.command_open = False
        self._trip_due = None
        self._return_due = None

    def _move(self, at: datetime, *, to_open: bool) -> None:
        # A stuck relay takes the command all the same: an acknowledgement is no movement.
        if to_open != self.is_open and not self.is_stuck:
            self.is_open = to_open
            self.moves.append(Move(at, to_open))

    def _needs_relay(self) -> None:
        if self.kind is RelayKind.NONE:
            raise RelayRefused
