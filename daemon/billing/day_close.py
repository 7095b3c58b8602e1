"""Which days of the site are over, and are to be closed next (money.md 15a, `day_close`). Pure."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

LEAST_AGE: Final = timedelta(minutes=30)
"""A day is closed when it has been over for so long."""
LATE_AGE: Final = timedelta(hours=2)
"""A day that has been over for so long and is not closed is late."""
DAY: Final = timedelta(days=1)


Closed = tuple[date, date]
"""The first and the last day that is closed; so are all between them."""


def days_to_close(
    now: datetime, zone: ZoneInfo, opening: date, closed: Closed | None
) -> list[date]:
    """In order, from the day on which the first account was opened; no day is skipped."""
    last_over = _last_over(now, zone, LEAST_AGE)
    if closed is None:
        return _days(opening, last_over)
    first, last = closed
    # An account may be opened from an earlier day on than all before it.
    return _days(opening, first - DAY) + _days(last + DAY, last_over)


def next_to_close(opening: date, closed: Closed | None) -> date:
    """The first day since the first opening that is not closed."""
    if closed is None:
        return opening
    first, last = closed
    return opening if opening < first else last + DAY


def late_days(now: datetime, zone: ZoneInfo, next_day: date) -> int:
    """How many days are late, where `next_day` is the first one that is not closed."""
    return len(_days(next_day, _last_over(now, zone, LATE_AGE)))


def _last_over(now: datetime, zone: ZoneInfo, age: timedelta) -> date:
    """The last day of the zone that had ended so long before that moment."""
    # Instants, not wall times: where clocks change, a day ends all the same when the next begins.
    return (now - age).astimezone(zone).date() - DAY


def _days(first: date, last: date) -> list[date]:
    return [first + number * DAY for number in range((last - first).days + 1)]
