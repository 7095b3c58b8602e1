"""Freezing for meters that cannot: which one to read around local midnight.

Pure: the clock is given, as `near_midnight` counts it. DL/T 645-1997 knows no daily freeze, and
neither do Modbus meters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from math import inf
from zoneinfo import ZoneInfo

from daemon.quality.freeze import HOST_FREEZE_LIMIT, is_in_service

READ_TIME = timedelta(seconds=0.2)
"""What one read takes, roughly."""
LONGEST_LEAD = timedelta(seconds=30)
"""Half of the meters are read before midnight, so that the last is not read later than it must
be."""
RETRY_PAUSE = timedelta(seconds=1)
"""Between the first two tries of one meter, whatever came back; then it doubles: one that refuses
at once would refuse again, and again."""
DAY = timedelta(days=1)
CLOCKS_AGREE = timedelta(seconds=60)
"""A device's time that is further from the host's proves nothing: its message was kept on the way,
or its clock is wrong."""
MIN_WAIT_S = 0.01
"""A window that is open and could not be used yet does not make its line spin."""


@dataclass(frozen=True, slots=True)
class _Tries:
    """How often a meter was asked for its register of one midnight."""

    midnight: datetime
    count: int
    last_at: datetime


class Midnights:
    """The meters without memory on one line, and how far this midnight's round is."""

    def __init__(self, installed_on: Mapping[int, date]) -> None:
        """`installed_on`: by meter, the first midnight that is its own."""
        self._installed_on = dict(installed_on)
        self._lead = min(LONGEST_LEAD, READ_TIME * len(installed_on) / 2)
        """The window opens this long before midnight."""
        self._done: dict[int, datetime] = {}
        """The midnight that each was read for last."""
        self._tries: dict[int, _Tries] = {}
        """For the midnight that each was asked for last."""
        self._told: dict[int, datetime] = {}
        """The midnight of which it was told last that a meter was read in vain."""
        self._counted: datetime | None = None
        """The midnight whose missed freezes were counted last."""

    def next(self, local_now: datetime) -> tuple[int, datetime] | None:
        """(meter, midnight it is read for) while the window is open and one may be asked.

        Those with the fewest tries go first, among them those that answered the night before, so
        that the dead cost the living nothing."""
        midnight = nearest_midnight(local_now)
        if not self._is_open(midnight, local_now):
            return None
        ready = [
            meter
            for meter in self._missing(midnight)
            if not self._pause(meter, midnight, local_now)
        ]
        if not ready:
            return None
        meter = min(ready, key=partial(self._turn, midnight))
        self._tries[meter] = _Tries(
            midnight,
            self._tries_for(meter, midnight) + 1,
            last_at=local_now,
        )
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

    def failed(self, meter: int, midnight: datetime) -> bool:
        """This meter was read in vain; True for the first time that midnight."""
        is_first = self._told.get(meter) != midnight
        self._told[meter] = midnight
        return is_first

    def missed(self, local_now: datetime) -> list[int] | None:
        """The meters whose freeze of the last midnight is lost for good.

        Once for each midnight, None otherwise."""
        midnight = nearest_midnight(local_now)
        is_over = local_now - midnight > HOST_FREEZE_LIMIT
        if not is_over or self._counted == midnight:
            return None
        is_first = self._counted is None
        self._counted = midnight
        # A line that starts after midnight has missed nothing of its own.
        if is_first and not self._tries:
            return None
        return self._missing(midnight)

    def due_in_s(self, local_now: datetime) -> float:
        """Seconds until a meter may be asked; infinite without such meters."""
        if not self._installed_on:
            return inf
        midnight = nearest_midnight(local_now)
        wait = midnight - self._lead - local_now
        if wait <= timedelta():
            pauses = []
            if self._is_open(midnight, local_now):
                pauses = [
                    self._pause(meter, midnight, local_now) for meter in self._missing(midnight)
                ]
            # This midnight's round is over: the next window is tomorrow's.
            wait = min(pauses, default=wait + DAY)
        return max(MIN_WAIT_S, wait.total_seconds())

    def _is_open(self, midnight: datetime, local_now: datetime) -> bool:
        return -self._lead <= local_now - midnight <= HOST_FREEZE_LIMIT

    def _missing(self, midnight: datetime) -> list[int]:
        """The meters in service that were not read for it."""
        day = midnight.date()
        return [
            meter
            for meter, installed_on in self._installed_on.items()
            if is_in_service(day, installed_on) and not self.is_done(meter, midnight)
        ]

    def _pause(
        self,
        meter: int,
        midnight: datetime,
        local_now: datetime,
    ) -> timedelta:
        """How long this meter is not asked again."""
        tries = self._tries.get(meter)
        if tries is None or tries.midnight != midnight:
            return timedelta()
        pause = RETRY_PAUSE * 2 ** (tries.count - 1)
        since = local_now - tries.last_at
        # A clock that was set back must not make the pause longer.
        is_over = since < timedelta() or since >= pause
        return timedelta() if is_over else pause - since

    def _turn(self, midnight: datetime, meter: int) -> tuple[int, bool]:
        """Whose turn it is: the lowest goes first."""
        return self._tries_for(meter, midnight), self._was_missed(meter, midnight)

    def _was_missed(self, meter: int, midnight: datetime) -> bool:
        """True if it was asked on an earlier night, in vain."""
        tries = self._tries.get(meter)
        if tries is None or tries.midnight == midnight:
            return False
        return not self.is_done(meter, tries.midnight)

    def _tries_for(self, meter: int, midnight: datetime) -> int:
        tries = self._tries.get(meter)
        return tries.count if tries is not None and tries.midnight == midnight else 0


def frozen_midnight(
    device_time: datetime, now: datetime, installed_on: date
) -> tuple[datetime, timedelta] | None:
    """(midnight, distance from it) of which registers are the freeze that a device told then.

    None where they are the freeze of none. The distance is the worse of the two clocks'."""
    midnight = nearest_midnight(device_time)
    offset = max(device_time - midnight, now - midnight, key=abs)
    if not is_in_service(midnight.date(), installed_on):
        return None
    # V04: a host freeze is as good as its distance from midnight, by either clock.
    if abs(offset) > HOST_FREEZE_LIMIT or abs(now - device_time) > CLOCKS_AGREE:
        return None
    return midnight, offset


def near_midnight(now: datetime, zone: ZoneInfo) -> datetime:
    """The wall clock as it counts from the nearest midnight.

    That one is 12 hours away at most, give or take the change of an hour. Where it is skipped or
    comes twice the clock goes on here as if it did not: a day begins once, at the first moment that
    is not of the day before."""
    midnight = nearest_midnight(now.astimezone(zone).replace(tzinfo=None))
    return midnight + (now - midnight.replace(tzinfo=zone).astimezone(UTC))


def nearest_midnight(local_now: datetime) -> datetime:
    """The midnight that is less than twelve hours away, as wall clock."""
    day: date = (local_now + timedelta(hours=12)).date()
    return datetime.combine(day, time())
