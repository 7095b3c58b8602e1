"""Where the facts of a point may begin when something of it has changed (judgement.md section 8).

A judgement of the facts from there on says of the days that count what the whole history would say.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, timedelta
from typing import Final

from daemon.quality.marks import NEW_SOURCE_VALUES, UNCHANGED_DAYS
from daemon.quality.verdict import DayState

BEFORE_CHANGE_DAYS: Final = 62
"""What a meter remembers: nothing that was read later can have been read so much late."""
SETTLED_DAYS: Final = UNCHANGED_DAYS + 1
"""From the beginning so many days only lead up to the others: V10 looks back as far."""
OWN_CHECKS: Final = frozenset({"V03", "V04", "V05", "V06", "V11", "V38"})
"""A suspect with one of these takes no part in the choice of a chain."""


def window_start(
    days: Mapping[date, DayState], confirmed: Collection[date], changed_from: date
) -> date | None:
    """The day of the chain's value with which the facts may begin; None: with the point.

    `days`: the verdict before the change. `confirmed`: days of releases and of what closings named.
    `changed_from`: the first day that any fact which is new, or is no longer, speaks of."""
    published = [day for day, it in days.items() if it.state == "published"]
    open_days = [day for day, it in days.items() if _is_open(it)]
    for start in sorted(published, reverse=True):
        if start > changed_from - timedelta(days=BEFORE_CHANGE_DAYS):
            continue
        settled = believed_from(start)
        barrier = max((day for day in confirmed if day <= start), default=date.min)
        # What is open may yet become part of the chain, unless a person's word lies behind it.
        if any(barrier < day < settled for day in open_days):
            continue
        if sum(start <= day < settled for day in published) > NEW_SOURCE_VALUES:
            return start
    return None


def believed_from(start: date) -> date:
    """The first day of which a judgement from `start` on counts; the days before do not change."""
    return start + timedelta(days=SETTLED_DAYS)


def _is_open(state: DayState) -> bool:
    """Whether a day has a value that takes part and is not in the chain."""
    if "V34" in state.codes:
        return True
    return state.state == "suspect" and OWN_CHECKS.isdisjoint(state.codes)
