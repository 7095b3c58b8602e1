"""A meter's own wall clock: it drifts, and it jumps when it is set.

Its midnights are when the meter freezes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final, NamedTuple

_DAY: Final = timedelta(days=1)
_DAY_US: Final = 86_400_000_000
_US: Final = timedelta(microseconds=1)


class Setting(NamedTuple):
    """From `set_at` on, the clock goes on from what it `showed` then, and gains so much a day."""

    set_at: datetime
    showed: datetime
    drift_us_per_day: int

    def shows(self, true: datetime) -> datetime:
        """What it shows at a true time, of before it was made too."""
        passed_us = (true - self.set_at) // _US
        gained_us = passed_us * self.drift_us_per_day // _DAY_US
        return self.showed + (passed_us + gained_us) * _US


class Moment(NamedTuple):
    """A time on the meter's clock, and the setting of the clock under which it came."""

    stamp: datetime
    setting: Setting


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
        self._settings = [Setting(set_at, showed, drift_us_per_day)]
        self._since = min(since or set_at, set_at)

    @property
    def drift_us_per_day(self) -> int:
        """What it gains every day now."""
        return self._settings[-1].drift_us_per_day

    def shows(self, true: datetime) -> datetime:
        """What the clock shows at the true time."""
        made = (setting for setting in reversed(self._settings) if setting.set_at <= true)
        return next(made, self._settings[0]).shows(true)

    def set(
        self,
        true: datetime,
        to: datetime,
        *,
        drift_us_per_day: int | None = None,
    ) -> None:
        """From the true time on the clock shows `to`; its drift stays where none is given."""
        if drift_us_per_day is None:
            drift_us_per_day = self.drift_us_per_day
        self._settings.append(Setting(true, to, drift_us_per_day))

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
        for setting in reversed(self._settings):
            first = setting.showed
            # The first setting holds before it was made, too: since the clock runs.
            if setting is self._settings[0]:
                first = setting.shows(self._since)
            shown = setting.shows(until)
            begin = midnight_of(shown) + after_midnight
            stamp = begin + (shown - begin) // step * step
            while stamp > first:
                yield Moment(stamp, setting)
                stamp -= step
            until = setting.set_at

    def true_time(self, moment: Moment) -> datetime:
        """The first microsecond at which the clock showed it: the exact inverse of `shows`."""
        setting = moment.setting
        shown_us = (moment.stamp - setting.showed) // _US
        # Two minus signs turn the floor of // into a ceiling: a microsecond less shows less.
        passed_us = -(-shown_us * _DAY_US // (_DAY_US + setting.drift_us_per_day))
        return setting.set_at + passed_us * _US


def midnight_of(at: datetime) -> datetime:
    """The beginning of its day."""
    return at.replace(
        hour=0,
        minute=0,
        second=0,
        microsecond=0,
    )
