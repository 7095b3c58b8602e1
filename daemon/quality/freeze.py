"""Which moment a freeze belongs to, and how far a clock may be off."""

from __future__ import annotations

from datetime import date, datetime, timedelta

HOST_FREEZE_LIMIT = timedelta(seconds=60)
"""Maximum distance from midnight of a value that the host reads as a freeze.

R04: a meter without memory gets host-stamped readings only within 60 s of midnight."""

CLOCK_LIMIT = timedelta(minutes=5)
"""V05 clock: a meter whose clock is further off froze at a wrong moment; the freezes of that day
are withheld, and no trip is sent, because its expiry would mean nothing."""


MEMORY_DAYS = 62
"""Daily freezes that a DL/T 645-2007 meter keeps (05 06 ii NN, NN = 01 to 3E)."""
UNTRUSTED_DATES = timedelta(hours=12)
"""A clock that is further off may stamp its freezes with wrong days."""


def freeze_day(frozen_at: datetime, host_offset: timedelta | None = None) -> date | None:
    """The day whose 00:00 this freeze belongs to; None if it belongs to no day.

    V04 freeze_time: the stamp is 00:00 exactly, without tolerance. A value that the host read
    instead of the meter was read within HOST_FREEZE_LIMIT of midnight."""
    if host_offset is not None and abs(host_offset) > HOST_FREEZE_LIMIT:
        return None
    # Never the index of the freeze alone: an outage at midnight shifts every index (money, which
    # day a frozen reading belongs to).
    is_midnight = (frozen_at.hour, frozen_at.minute, frozen_at.second) == (0, 0, 0)
    return frozen_at.date() if is_midnight else None


def is_in_service(day: date, installed_on: date) -> bool:
    """Whether a freeze of this day counts for the point that the meter serves.

    The freeze of the day of installation is the first: what the meter kept before belongs to
    another point, or to the store."""
    return day >= installed_on


def is_astray(skew: timedelta | None) -> bool:
    """Whether a clock with this offset may stamp its freezes with wrong days."""
    return skew is not None and abs(skew) > UNTRUSTED_DATES


def skew_at_freeze(
    skew: timedelta | None, frozen_on: date, measured_on: date | None
) -> timedelta | None:
    """The clock offset as far as it says something of a freeze; None where it says nothing.

    `measured_on`: the local day on which the offset was measured, None where that is not known. It
    judges the freezes of that day (V05 clock). Of an older one nothing is known, because the clock
    may have been set since; but one that is off by UNTRUSTED_DATES stamps the wrong days."""
    if is_astray(skew):
        return skew
    is_of_that_day = measured_on is not None and frozen_on >= measured_on
    return skew if is_of_that_day else None
