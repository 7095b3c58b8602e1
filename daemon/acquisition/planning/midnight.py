"""Freezing for meters that cannot: which one to read around local midnight.

Pure: the clock is given, as `near_midnight` tells it. DL/T 645-1997 knows no daily freeze, and
neither do Modbus meters.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from zoneinfo import ZoneInfo

from daemon.quality.freeze import HOST_FREEZE_LIMIT

READ_TIME = timedelta(seconds=0.2)
"""What one read takes, roughly."""
LONGEST_LEAD = timedelta(seconds=30)
"""Half of the meters are read before midnight, so that the last is not read later than it must
be."""


class Midnights:
    """The meters without memory on one line, and how far this midnight's round is."""

    def __init__(self, meters: Sequence[int]) -> None:
        self._meters = list(meters)
        self._lead = min(LONGEST_LEAD, READ_TIME * len(self._meters) / 2)
        self._done: dict[int, datetime] = {}
        """The midnight that each was read for last."""
        self._tries: dict[int, tuple[datetime, int]] = {}
        """(midnight, how often it was asked for it)."""
        self._counted: datetime | None = None
        """The midnight whose missed freezes were told last."""

    def next(self, local_now: datetime) -> tuple[int, datetime] | None:
        """(meter, midnight it is read for) while the window is open and one is missing: those with
        the fewest tries first, among them those that answered the night before, so that the dead
        cost the living nothing."""
        midnight = nearest_midnight(local_now)
        if not self._meters or not -self._lead <= local_now - midnight <= HOST_FREEZE_LIMIT:
            return None
        missing = self._missing(midnight)
        if not missing:
            return None
        meter = min(missing, key=partial(self._turn, midnight))
        self._tries[meter] = (midnight, self._tries_for(meter, midnight) + 1)
        return meter, midnight

    def done(self, meter: int, midnight: datetime) -> None:
        """This meter's register of that midnight was read."""
        self._done[meter] = midnight

    def is_done(self, meter: int, midnight: datetime) -> bool:
        """True if this meter's register of that midnight was read."""
        return self._done.get(meter) == midnight

    def undo(self, meter: int) -> None:
        """What was read is lost: the meter is read again while the window is open."""
        self._done.pop(meter, None)

    def missed(self, local_now: datetime) -> list[int] | None:
        """The meters whose freeze of the last midnight is lost for good; once for each midnight,
        None otherwise."""
        midnight = nearest_midnight(local_now)
        is_open = local_now - midnight <= HOST_FREEZE_LIMIT
        if not self._meters or is_open or self._counted == midnight:
            return None
        # A line that starts after midnight has missed nothing of its own.
        is_first = self._counted is None
        self._counted = midnight
        if is_first and not self._tries:
            return None  # it began after that midnight
        return self._missing(midnight)

    def opens_in_s(self, local_now: datetime) -> float:
        """Seconds until the next window opens; infinite without such meters."""
        if not self._meters:
            return float("inf")
        coming = datetime.combine(local_now.date() + timedelta(days=1), time())
        return max(0.01, (coming - self._lead - local_now).total_seconds())

    def _missing(self, midnight: datetime) -> list[int]:
        return [meter for meter in self._meters if self._done.get(meter) != midnight]

    def _turn(self, midnight: datetime, meter: int) -> tuple[int, bool]:
        """Whose turn it is: the lowest goes first."""
        return self._tries_for(meter, midnight), self._was_missed(meter, midnight)

    def _was_missed(self, meter: int, midnight: datetime) -> bool:
        """It was asked on an earlier night, in vain."""
        asked, _ = self._tries.get(meter, (midnight, 0))
        return asked != midnight and self._done.get(meter) != asked

    def _tries_for(self, meter: int, midnight: datetime) -> int:
        last, tries = self._tries.get(meter, (midnight, 0))
        return tries if last == midnight else 0


def near_midnight(now: datetime, zone: ZoneInfo) -> datetime:
    """The wall clock as it counts from the nearest midnight (12 hours at most, give or take the
    change of an hour).

    Where that midnight is skipped or comes twice the clock goes on here as if it did not: a day
    begins once, at the first moment that is not of the day before."""
    midnight = nearest_midnight(now.astimezone(zone).replace(tzinfo=None))
    return midnight + (now - midnight.replace(tzinfo=zone).astimezone(UTC))


def nearest_midnight(local_now: datetime) -> datetime:
    """The midnight that is less than twelve hours away, as wall clock."""
    day: date = (local_now + timedelta(hours=12)).date()
    return datetime.combine(day, time())
