"""A meter's own wall clock: it drifts, and it jumps when it is set.

Its midnights are when the meter freezes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final, NamedTuple

_DAY: Final = timedelta(days=1)
_DAY_US: Final = 86_400_000_000
_US: Final = timedelta(microseconds=1)


class Moment(NamedTuple):
    """A time on the meter's clock, and the setting of the clock under which it came."""

    stamp: datetime
    set_at: datetime
    showed: datetime


class MeterClock:
    """True site time to what the meter shows, and back. Both are wall times without zone.

    At `set_at` the clock showed `showed`; it gains `drift_us_per_day` (negative: loses)
    microseconds a day, before that moment as after it. It runs since `since`, at the latest since
    `set_at`."""

    def __init__(
        self,
        set_at: datetime,
        showed: datetime,
        drift_us_per_day: int = 0,
        *,
        since: datetime | None = None,
    ) -> None:
        self._settings = [(set_at, showed)]
        self._drift_us_per_day = drift_us_per_day
        self._since = min(since or set_at, set_at)

    def shows(self, true: datetime) -> datetime:
        """What the clock shows at the true time."""
        for set_at, showed in reversed(self._settings):
            if set_at <= true:
                return self._run_on(set_at, showed, true)
        set_at, showed = self._settings[0]
        return self._run_on(set_at, showed, true)

    def set(self, true: datetime, to: datetime) -> None:
        """From the true time on the clock shows `to`; its drift stays."""
        self._settings.append((true, to))

    def midnights(self, true: datetime) -> Iterator[Moment]:
        """Each midnight that the clock ran through since it runs, newest first."""
        return self.moments(true)

    def moments(
        self,
        true: datetime,
        step: timedelta = _DAY,
        after_midnight: timedelta = timedelta(0),
    ) -> Iterator[Moment]:
        """Each time so long after midnight, and every `step` from there, newest first.

        `step` divides a day.

        One that was jumped over did not happen; one that was jumped back over happened twice."""
        until = true
        for set_at, showed in reversed(self._settings):
            first = showed
            # The first setting holds before it was made, too: since the clock runs.
            if set_at is self._settings[0][0]:
                first = self._run_on(set_at, showed, self._since)
            shown = self._run_on(set_at, showed, until)
            begin = midnight_of(shown) + after_midnight
            stamp = begin + (shown - begin) // step * step
            while stamp > first:
                yield Moment(stamp, set_at, showed)
                stamp -= step
            until = set_at

    def true_time(self, moment: Moment) -> datetime:
        """The first microsecond at which the clock showed it: the exact inverse of `shows`."""
        shown_us = (moment.stamp - moment.showed) // _US
        # Two minus signs turn the floor of // into a ceiling: a microsecond less shows less.
        passed_us = -(-shown_us * _DAY_US // (_DAY_US + self._drift_us_per_day))
        return moment.set_at + passed_us * _US

    def _run_on(
        self,
        set_at: datetime,
        showed: datetime,
        true: datetime,
    ) -> datetime:
        passed_us = (true - set_at) // _US
        gained_us = passed_us * self._drift_us_per_day // _DAY_US
        return showed + (passed_us + gained_us) * _US


def midnight_of(at: datetime) -> datetime:
    """The beginning of its day."""
    return at.replace(
        hour=0,
        minute=0,
        second=0,
        microsecond=0,
    )
