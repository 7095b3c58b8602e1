"""Which moment a freeze belongs to, and how far a clock may be off."""

from __future__ import annotations

from datetime import date, datetime, timedelta

HOST_FREEZE_LIMIT = timedelta(seconds=60)
"""A value that the host read further from midnight is no freeze."""

CLOCK_LIMIT = timedelta(minutes=5)
"""V05: a meter whose clock is further off than this froze at a wrong moment; that day's freeze is
withheld."""


def freeze_day(frozen_at: datetime, host_offset: timedelta | None = None) -> date | None:
    """The day whose 00:00 this freeze belongs to; None if its time stamp is no midnight (V04,
    tolerance 0).

    A value that the host read instead of the meter must have been read within HOST_FREEZE_LIMIT of
    midnight."""
    if host_offset is not None and abs(host_offset) > HOST_FREEZE_LIMIT:
        return None
    is_midnight = (frozen_at.hour, frozen_at.minute, frozen_at.second) == (0, 0, 0)
    return frozen_at.date() if is_midnight else None
