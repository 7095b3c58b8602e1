"""V26: a month-end freeze against the daily freezes around it. It never votes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time, timedelta
from typing import Final

LAST_DAY: Final = 28
"""DL/T 645-2007: a settlement day is one that every month has."""
MARGIN: Final = timedelta(minutes=10)
"""So soon after a settlement it is not certain whether the meter has made it."""


def settled_at(settles_at: Sequence[tuple[int, int]], now: datetime) -> datetime | None:
    """When a meter settled last that shows the wall clock `now`, by its (day, hour) of each month.

    None where it cannot be said: it settles on no day that every month has, or just now."""
    if not settles_at or any(not _is_moment(*it) for it in settles_at):
        return None
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    before = (first - timedelta(days=1)).replace(day=1)
    moments = [
        month + timedelta(days=day - 1, hours=hour)
        for month in (before, first)
        for day, hour in settles_at
    ]
    newest = max(moment for moment in moments if moment <= now)
    return None if now - newest < MARGIN else newest


def is_at_midnight(settled: datetime) -> bool:
    """Whether it is of the same instant as a daily freeze."""
    return settled.time() == time()


def fits_month_end(
    total: int, modulus: int, *, same: int | None, before: int | None, behind: int | None
) -> bool:
    """Whether it equals the day's freeze, or without one lies between its neighbours.

    In steps of a register that may turn over; None: no published value of that meter is there. What
    fits may serve as substitute S1."""
    if same is not None:
        return total == same
    if before is not None and behind is not None:
        return (total - before) % modulus <= (behind - before) % modulus
    # Beyond an end of the chain less than half a turn is told apart from backward.
    ends = [(total - before) % modulus] if before is not None else []
    ends += [(behind - total) % modulus] if behind is not None else []
    return all(2 * advance < modulus for advance in ends)


def _is_moment(day: int, hour: int) -> bool:
    return 1 <= day <= LAST_DAY and 0 <= hour < 24
