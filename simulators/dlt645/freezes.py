"""What a simulated meter freezes when: the eight kinds of identifier 05, and the settlements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import merge
from itertools import islice, takewhile
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from protocols.dlt645.bcd import decode_time
from protocols.errors import FrameError

if TYPE_CHECKING:
    from simulators.state.meter import SimulatedMeter

FREEZE_TIME: Final = "mm hh DD MM YY"
SCHEDULED, INSTANT, HOURLY, DAILY = 0x00, 0x01, 0x04, 0x06
SWITCH_TIMES: Final = {
    0x02: "04000106",
    0x03: "04000107",
    0x05: "04000108",
    0x07: "04000109",
}
"""Freezes taken when the second set of a table takes effect: kind -> the parameter that says
when."""
KEPT: Final = {
    SCHEDULED: 60,
    INSTANT: 3,
    0x02: 2,
    0x03: 2,
    HOURLY: 254,
    0x05: 2,
    DAILY: 62,
    0x07: 2,
}
PATTERN: Final = "04001204"
"""The time of the scheduled freeze, wire order mm hh DD MM; 99 matches all."""
HOURLY_INTERVAL: Final = "04001202"
SETTLEMENT_DAYS: Final = ("04000B01", "04000B02", "04000B03")
SETTLEMENTS_KEPT: Final = 12
ANY: Final = 0x99
FREEZE_NOW: Final = bytes((ANY,) * 4)

_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Freeze:
    """One freeze: `stamp` is its time by the meter's clock, `at` the true site time of it."""

    stamp: datetime
    at: datetime


def freezes(meter: SimulatedMeter, kind: int, at: datetime) -> Iterator[Freeze]:
    """What the meter remembers of a kind (kk of 05kk) at a true site time, newest first."""
    match kind:
        case 0x00:
            found = _scheduled(meter, at)
        case 0x01:
            found = reversed(meter.instant_freezes)
        case 0x04:
            interval = _number(meter.parameters.read(HOURLY_INTERVAL), 0)
            found = _each(meter, at, timedelta(minutes=30) if interval == 0x30 else _HOUR)
        case 0x06:
            found = meter.midnight_freezes(at)
        case _:
            found = _switched(meter, SWITCH_TIMES[kind], at)
    return islice(_not_cleared(meter, found), KEPT[kind])


def numbered(meter: SimulatedMeter, kind: int, number: int, at: datetime) -> Freeze | None:
    """The freeze of a kind with that number (1 is the newest), None when there is none yet."""
    return next(islice(freezes(meter, kind, at), number - 1, None), None)


def settlements(meter: SimulatedMeter, at: datetime) -> Iterator[Freeze]:
    """The settlements before a true site time, newest first, by the settlement days that are set
    now."""
    days = [value for it in SETTLEMENT_DAYS if (value := meter.parameters.read(it)) is not None]
    found = (
        _on_day(
            meter,
            at,
            hour=value[0],
            day=value[1],
        )
        for value in days
        if value[0] < 0x24
    )
    return _not_cleared(meter, merge(*found, key=attrgetter("at"), reverse=True))


def can_be_scheduled(pattern: bytes) -> bool:
    """True for mm hh DD MM of which each may be 99 (any); any minute and any month of no day is no
    schedule."""
    if len(pattern) != 4 or not pattern.hex().isdigit() or pattern == FREEZE_NOW:
        return False
    minute, hour, day, month = pattern
    return minute < 0x60 and all(
        it == ANY or low <= it <= high
        for it, low, high in ((hour, 0, 0x23), (day, 1, 0x31), (month, 1, 0x12))
    )


def has_switched(meter: SimulatedMeter, kind: int, at: datetime) -> bool:
    """True when the second set of the tables has taken effect that a freeze of this kind is taken
    for."""
    return next(_switched(meter, SWITCH_TIMES[kind], at), None) is not None


def _scheduled(meter: SimulatedMeter, at: datetime) -> Iterator[Freeze]:
    """By the pattern that is set now, since it was set."""
    pattern = meter.parameters.read(PATTERN)
    if pattern is None or not can_be_scheduled(pattern):
        return iter(())
    minute, hour, day, month = (int(f"{it:02x}") for it in pattern)
    step = _HOUR if pattern[1] == ANY else _DAY
    after = (
        timedelta(minutes=minute) if pattern[1] == ANY else timedelta(hours=hour, minutes=minute)
    )
    since = meter.parameters.written_at(PATTERN)
    return takewhile(
        lambda freeze: since is None or freeze.at > since,
        (
            freeze
            for freeze in _each(meter, at, step, after)
            if (pattern[2] == ANY or freeze.stamp.day == day)
            and (pattern[3] == ANY or freeze.stamp.month == month)
        ),
    )


def _switched(meter: SimulatedMeter, parameter: str, at: datetime) -> Iterator[Freeze]:
    """One freeze, when the clock came to the time that the parameter says; at once for one that was
    past already."""
    value, written_at = meter.parameters.read(parameter), meter.parameters.written_at(parameter)
    if value is None or written_at is None:
        return
    try:
        due = decode_time(value, FREEZE_TIME)
    except FrameError:
        return
    if due is not None and meter.clock.shows(at) >= due:
        ahead = meter.clock.shows(at) - at
        yield Freeze(due, max(due - ahead, written_at))


def _on_day(meter: SimulatedMeter, at: datetime, *, hour: int, day: int) -> Iterator[Freeze]:
    after = timedelta(hours=int(f"{hour:02x}"))
    moments = meter.clock.moments(at, _DAY, after)
    return (
        Freeze(it.stamp, meter.clock.true_time(it))
        for it in moments
        if it.stamp.day == int(f"{day:02x}")
    )


def _each(
    meter: SimulatedMeter, at: datetime, step: timedelta, after_midnight: timedelta = timedelta(0)
) -> Iterator[Freeze]:
    moments = meter.clock.moments(at, step, after_midnight)
    return (Freeze(moment.stamp, meter.clock.true_time(moment)) for moment in moments)


def _not_cleared(meter: SimulatedMeter, found: Iterator[Freeze]) -> Iterator[Freeze]:
    return takewhile(lambda freeze: freeze.at > meter.cleared_at, found)


def _number(value: bytes | None, place: int) -> int:
    return value[place] if value else 0
