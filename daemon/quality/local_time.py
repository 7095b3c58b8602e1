"""When the days of a meter begin, in the time that its clock keeps."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from datetime import time as wall_clock
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from daemon.quality.facts import Clock

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
DAY_S: Final = 86_400


@lru_cache(maxsize=1024)
def standard_offset(zone: ZoneInfo, year: int) -> timedelta:
    """The zone's offset from UTC outside summer time.

    The lesser of January's and July's: tzdata tells Ireland's winter as the exception, and Lord
    Howe moves by half an hour."""
    offsets = [datetime(year, month, 1, 12, tzinfo=zone).utcoffset() for month in (1, 7)]
    return min(offset for offset in offsets if offset is not None)


def summer_time_s(zone: ZoneInfo, at: datetime) -> int:
    """By how many seconds the zone's clocks were put forward at that moment."""
    local = at.astimezone(zone)
    ahead = (local.utcoffset() or timedelta()) - standard_offset(zone, local.year)
    return max(0, int(ahead.total_seconds()))


@lru_cache(maxsize=65536)
def midnight_s(zone: ZoneInfo, clock: Clock, day: date) -> int:
    """00:00 of `day` on a meter's clock, in seconds since 1970 UTC."""
    local = datetime.combine(day, wall_clock(), tzinfo=zone)
    if clock == "standard":
        naive = local.replace(tzinfo=UTC)
        return seconds(naive) - int(standard_offset(zone, day.year).total_seconds())
    return seconds(local)


def seconds(at: datetime) -> int:
    """Whole seconds since 1970 UTC."""
    return (at - EPOCH) // timedelta(seconds=1)


def day_of(zone: ZoneInfo, clock: Clock, at: datetime) -> date:
    """The day of the meter's calendar in which a moment lies."""
    day = at.astimezone(zone).date()
    return day if midnight_s(zone, clock, day) <= seconds(at) else day - timedelta(days=1)
