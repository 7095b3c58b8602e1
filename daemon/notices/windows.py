"""When a supply may be cut next, by the clock and the calendar alone. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from daemon.control.guard import Policy

LEAST: Final = timedelta(minutes=30)
"""Of a window after the moment that is announced: in less a trip may not be done."""
MOST_DAYS: Final = 60
"""Of days on which nobody is cut, one after the other: no calendar has so many."""
MINUTES: Final = 30
"""A moment that is announced is a round one."""


def next_window(earliest: datetime, policy: Policy, zone: ZoneInfo) -> datetime:
    """The first round moment from `earliest` on at which a cut may begin."""
    first = _rounded_up(earliest.astimezone(zone))
    for n in range(MOST_DAYS):
        day = first.date() + timedelta(days=n)
        start = datetime.combine(day, policy.window_start, zone)
        if policy.window_end == time.max:
            end = datetime.combine(day + timedelta(days=1), time(), zone)
        else:
            end = datetime.combine(day, policy.window_end, zone)
        moment = max(first, start)
        if end - moment >= LEAST and _may_be_cut_on(policy, moment):
            return moment.astimezone(UTC)
    return first + timedelta(days=MOST_DAYS)


def _may_be_cut_on(policy: Policy, moment: datetime) -> bool:
    day = moment.date()
    if policy.working_days_only and not policy.is_working_day(day):
        return False
    return not policy.no_trip_on_eve or policy.is_working_day(day + timedelta(days=1))


def _rounded_up(local: datetime) -> datetime:
    whole = local.replace(minute=0, second=0, microsecond=0)
    steps = -(-(local - whole) // timedelta(minutes=MINUTES))
    return whole + steps * timedelta(minutes=MINUTES)
