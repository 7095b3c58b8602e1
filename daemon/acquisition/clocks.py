"""The clocks of a line's meters: how far they are off, which are wrong, which are to be set.

The host's clock is the site's; a freeze is only as good as the clock that stamped it.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from daemon import metrics
from daemon.quality.freeze import CLOCK_LIMIT
from storage.archive import SiteMeter

log = structlog.get_logger("line")

GOOD_CLOCK = timedelta(seconds=30)
"""A clock that is not further off is left alone."""
MIDNIGHT_MARGIN = timedelta(minutes=15)
"""This close to midnight a freeze may move between two reads: its stamp is read again. Nor are
clocks set then: DL/T 645-2007 lets no meter take broadcast time (08H) within 5 min of its own
midnight, which may be another 5 min from ours."""
QUIET_AROUND_MIDNIGHT = timedelta(minutes=1)
"""The freezes get new indexes: none is read, so that no late answer can mean another day."""
MAX_SKEW_S = 2**31 - 1
"""What fits into an array of 32 bits."""
UNKNOWN_SKEW_S = -MAX_SKEW_S - 1
CLOCK_LIMIT_S = int(CLOCK_LIMIT.total_seconds())
GOOD_CLOCK_S = int(GOOD_CLOCK.total_seconds())
QUIET_S = int(QUIET_AROUND_MIDNIGHT.total_seconds())
DAY_S = 86_400


class MeterClocks:
    """Skews are meter clock minus host clock; meters are numbered from 0, days are ordinals."""

    __slots__ = (
        "_line",
        "_meters",
        "_midnight_s",
        "_retry_s",
        "_set_on",
        "_sets_clocks",
        "_standard",
        "_summer_time",
        "_to_set",
        "_wrong",
        "polled_on",
        "read_on",
        "skew_s",
    )

    def __init__(
        self,
        line: str,
        meters: Sequence[SiteMeter],
        *,
        retry_s: float,
        sets_clocks: bool,
        summer_time: Callable[[], timedelta] = timedelta,
    ) -> None:
        """`retry_s`: a wrong clock is read again after this time. `summer_time`: by how much the
        site's clocks are put forward now, and those of meters that keep standard time are not."""
        self._line = line
        self._meters = meters
        self._retry_s = retry_s
        self._sets_clocks = sets_clocks
        self._summer_time = summer_time
        self._standard = frozenset(
            number for number, meter in enumerate(meters) if meter.keeps_standard_time
        )
        # Arrays: a line may have thousands of meters, and a site thousands of lines.
        self.read_on = array("i", [0]) * len(meters)
        """The day on which the clock of each meter was read last."""
        self.skew_s = array("i", [UNKNOWN_SKEW_S]) * len(meters)
        """Its skew as of then; UNKNOWN_SKEW_S of a meter whose clock cannot be read."""
        self._wrong: dict[int, tuple[float, int]] = {}
        """(monotonic second from which the clock is read again, day on which that was logged)."""
        self._to_set: dict[int, None] = {}
        """A dict for its order: the clock that waits longest is set first."""
        self._set_on: dict[int, date] = {}
        self.polled_on = 0
        """The day of the poll that runs or ran last."""
        self._midnight_s = 0.0
        """When that day began by the wall clock, as a monotonic second. Should the wall clock be
        set during a poll, the skews that it reads are wrong by as much, until they are read
        anew."""

    def begin_poll(self, today: int, local_now: datetime) -> None:
        """The times of day that `check_time_of_day` gets from now on belong to this day."""
        self.polled_on = today
        self._midnight_s = time.monotonic() - _second_of_day(local_now)

    def needs_reading(self, number: int, today: int) -> bool:
        """True once a day while a clock is good, each `retry_s` while it is wrong."""
        if self.read_on[number] != today:
            return True
        skew_s = self.skew_s[number]
        behind_s = self.behind(number).total_seconds()
        if skew_s == UNKNOWN_SKEW_S or abs(skew_s + behind_s) <= CLOCK_LIMIT_S:
            return False
        again_s, _ = self._wrong.get(number, (0.0, 0))
        return time.monotonic() >= again_s

    def behind(self, number: int) -> timedelta:
        """By how much this meter's clock is behind the site's when it is right."""
        return self._summer_time() if number in self._standard else timedelta()

    def skew(self, number: int) -> timedelta | None:
        """As it was read last; None when the meter's clock cannot be read."""
        skew_s = self.skew_s[number]
        return None if skew_s == UNKNOWN_SKEW_S else timedelta(seconds=skew_s)

    def skews_s(self) -> NDArray[np.int32]:
        """Of the clocks that were read on the last day on which any was."""
        skews_s: NDArray[np.int32] = np.array(self.skew_s, dtype=np.int32)
        are_known = skews_s != UNKNOWN_SKEW_S
        skews_s[list(self._standard)] += int(self._summer_time().total_seconds())
        read_on: NDArray[np.int32] = np.array(self.read_on, dtype=np.int32)
        is_of_last_day = (read_on > 0) & (read_on == read_on.max(initial=0))
        known: NDArray[np.int32] = skews_s[is_of_last_day & are_known]
        return known

    def record(
        self,
        number: int,
        skew: timedelta | None,
        today: int,
    ) -> None:
        """The skew by a read of date and time, None when the meter did not answer with them."""
        self.read_on[number] = today
        self.skew_s[number] = UNKNOWN_SKEW_S if skew is None else _as_seconds(skew)
        if skew is not None:
            self._judge(number, skew, today)

    def check_time_of_day(self, number: int, seconds: int) -> bool:
        """The second of the day that a poll read; False if the clock must be read with its date.

        Its date is proven by the stamps of its freezes.
        """
        ours_s = int(time.monotonic() - self._midnight_s)
        # The shorter way around the clock: 23:59 and 00:01 are two minutes apart.
        skew_s = (seconds - ours_s + DAY_S // 2) % DAY_S - DAY_S // 2
        is_near_midnight = not QUIET_S <= seconds < DAY_S - QUIET_S
        if abs(skew_s) > CLOCK_LIMIT_S or is_near_midnight:
            return False
        self.read_on[number] = self.polled_on
        self.skew_s[number] = skew_s
        if abs(skew_s) > GOOD_CLOCK_S or number in self._wrong:
            self._judge(number, timedelta(seconds=skew_s), self.polled_on)
        return True

    def forget(self, number: int) -> None:
        """The clock of this meter is to be read anew, with its date."""
        self.read_on[number] = 0

    def forget_all(self) -> None:
        """The host's clock was stepped: what they were compared with is void."""
        for number in range(len(self.read_on)):
            self.read_on[number] = 0
        self._to_set.clear()

    def next_to_set(self, today: date) -> int | None:
        """A meter whose clock may be set now.

        DL/T 645-2007 lets a meter take broadcast time (08H) once a day.
        """
        while self._to_set:
            number = next(iter(self._to_set))
            del self._to_set[number]
            if self._set_on.get(number) != today:
                self._set_on[number] = today
                return number
        return None

    def put_back(self, number: int) -> None:
        """Its clock was not set after all: something more urgent came."""
        del self._set_on[number]
        self._to_set[number] = None

    def was_set(self, number: int, skew: timedelta | None) -> None:
        """The skew as it was read back after the clock was set; None if nothing was."""
        fields: dict[str, Any] = {
            "meter": self._meters[number].address,
            "line": self._line,
            "skew_s": None if skew is None else round(skew.total_seconds()),
        }
        if skew is not None and abs(skew) <= GOOD_CLOCK:
            metrics.CLOCKS_SET.labels("ok").inc()
            log.info("clock set", **fields)
        else:
            metrics.CLOCKS_SET.labels("not_taken").inc()
            log.warning("clock not set", **fields)
        if skew is not None:
            self.skew_s[number] = _as_seconds(skew)

    def _judge(
        self,
        number: int,
        skew: timedelta,
        today: int,
    ) -> None:
        """Log once a day that a clock is wrong, and once that it is right again."""
        behind = self.behind(number)
        skew += behind
        _, logged_on = self._wrong.pop(number, (0.0, 0))
        fields = {
            "meter": self._meters[number].address,
            "line": self._line,
            "skew_s": _as_seconds(skew),
        }
        if abs(skew) > CLOCK_LIMIT:
            again_s = time.monotonic() + self._retry_s
            self._wrong[number] = (again_s, today)
            if logged_on != today:
                log.warning("meter clock is wrong", **fields)
            return
        if logged_on:
            log.info("meter clock is right again", **fields)
        # A clock that is further off than CLOCK_LIMIT is not set: DL/T 645-2007 lets a meter take
        # broadcast time (08H) for a difference of up to 5 min alone.
        # Nor one that is behind on purpose: it would be given the site's time.
        if abs(skew) > GOOD_CLOCK and self._sets_clocks and not behind:
            self._to_set[number] = None


def is_near_midnight(local_now: datetime, margin: timedelta) -> bool:
    """True within `margin` before or after a midnight of the wall clock."""
    return (local_now + margin).date() != (local_now - margin).date()


def _second_of_day(local_now: datetime) -> float:
    since_midnight = local_now - local_now.replace(
        hour=0,
        minute=0,
        second=0,
        microsecond=0,
    )
    return since_midnight.total_seconds()


def _as_seconds(skew: timedelta) -> int:
    """Not more than fits: a meter may think that it is 2099."""
    seconds = round(skew.total_seconds())
    return max(-MAX_SKEW_S, min(MAX_SKEW_S, seconds))
