"""The rules by which a simulated DL/T 645 meter lets its clock be set."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Final

from protocols.dlt645.bcd import decode_time
from protocols.errors import FrameError
from simulators.state.meter import MeterState

BROADCAST_LIMIT: Final = timedelta(minutes=5)
"""A broadcast moves the clock by no more than this, and not that near to midnight."""
_FIRST_DAY: Final = b"\x01\x01\x01"


def with_date(value: bytes, shown: datetime) -> datetime | None:
    """The time that a clock shows after its date was written (WW DD MM YY).

    None for no date; FrameError."""
    written = decode_time(value, "WW DD MM YY")
    if written is None:
        return None
    return datetime.combine(written, shown.time())


def with_time(value: bytes, shown: datetime) -> datetime | None:
    """Likewise after its time was written (ss mm hh)."""
    # Midnight is all zeros; without a day it would be taken for a time that was never set.
    written = decode_time(value + _FIRST_DAY, "ss mm hh DD MM YY")
    if written is None:
        return None
    return datetime.combine(shown, written.time())


def with_date_and_time(value: bytes, shown: datetime) -> datetime | None:
    """Likewise after both were written (ss mm hh WW DD MM YY)."""
    return decode_time(value, "ss mm hh WW DD MM YY")


class BroadcastTime:
    """What one meter makes of the times that are broadcast to it."""

    def __init__(self, state: MeterState) -> None:
        self._state = state
        self._taken_on: date | None = None

    def take(self, data: bytes, at: datetime) -> None:
        """Set the clock to ss mm hh DD MM YY, or do nothing where the rules forbid it."""
        # DL/T 645-2007, broadcast time: at most 5 minutes off, once a day, and not within
        # 5 minutes of midnight. A meter never answers it.
        try:
            to = decode_time(data, "ss mm hh DD MM YY")
        except FrameError:
            return
        shown = self._state.clock.shows(at)
        today = shown.date()
        if to is None or self._taken_on == today:
            return
        is_far_off = abs(to - shown) > BROADCAST_LIMIT
        if is_far_off or _is_near_midnight(shown, to):
            return
        self._taken_on = today
        self._state.set_clock(at, to, how="broadcast")


def _is_near_midnight(shown: datetime, to: datetime) -> bool:
    earliest = min(shown, to) - BROADCAST_LIMIT
    latest = max(shown, to) + BROADCAST_LIMIT
    return earliest.date() != latest.date()
