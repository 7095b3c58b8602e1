"""The time of a site: the host's clock, and the wall clock of the site's zone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from daemon.acquisition.planning.midnight import near_midnight
from daemon.acquisition.planning.wanted import due_day
from daemon.quality.local_time import summer_time_s


@dataclass(frozen=True, slots=True)
class SiteClock:
    """One for all lines of a site.

    `now` is aware; what is local is without zone, as meters show it."""

    zone: ZoneInfo
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    doubt: Callable[[], str] = lambda: ""
    """What speaks against the host's clock; empty when nothing does."""

    def local_now(self) -> datetime:
        """The wall clock."""
        local = self.now().astimezone(self.zone)
        return local.replace(tzinfo=None)

    def night_time(self) -> datetime:
        """The wall clock as it counts from the nearest midnight; see near_midnight."""
        return near_midnight(self.now(), self.zone)

    def due_day(self) -> date:
        """The newest day whose freeze is due."""
        return due_day(self.local_now())

    def summer_time(self) -> timedelta:
        """By how much the zone's clocks are put forward now."""
        return timedelta(seconds=summer_time_s(self.zone, self.now()))

    def as_local(self, at: datetime) -> datetime:
        """A device's time, counted like `night_time`; one without zone is the site's."""
        if at.tzinfo is None:
            return at
        return near_midnight(at, self.zone)
