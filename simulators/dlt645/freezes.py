"""What a simulated meter freezes when: the eight kinds of identifier 05, and the settlements."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from heapq import merge
from itertools import islice, takewhile
from operator import attrgetter
from typing import Final

from protocols.dlt645.bcd import decode_time
from protocols.errors import FrameError
from simulators.state.meter import DAILY_FREEZES_KEPT, Freeze, MeterState

FREEZE_TIME: Final = "mm hh DD MM YY"
SCHEDULED: Final = 0x00
INSTANT: Final = 0x01
HOURLY: Final = 0x04
DAILY: Final = 0x06
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
    DAILY: DAILY_FREEZES_KEPT,
    0x07: 2,
}
PATTERN: Final = "04001204"
"""The time of the scheduled freeze, wire order mm hh DD MM; 99 matches all."""
HOURLY_INTERVAL: Final = "04001202"
HALF_AN_HOUR: Final = b"\x30"
SETTLEMENT_DAYS: Final = ("04000B01", "04000B02", "04000B03")
SETTLEMENTS_KEPT: Final = 12
ANY: Final = 0x99
FREEZE_NOW: Final = bytes((ANY,) * 4)
"""The pattern of a freeze command that asks for an instant freeze."""
_NO_HOUR: Final = 0x24

_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)


def freezes(
    state: MeterState,
    kind: int,
    at: datetime,
) -> Iterator[Freeze]:
    """What the meter remembers of a kind (kk of 05kk) at a true site time, newest first."""
    match kind:
        case 0x00:
            found = _scheduled(state, at)
        case 0x01:
            found = reversed(state.instant_freezes)
        case 0x04:
            is_half_hourly = state.parameters.read(HOURLY_INTERVAL) == HALF_AN_HOUR
            found = _each(state, at, _HOUR / 2 if is_half_hourly else _HOUR)
        case 0x06:
            return state.daily_freezes(at)
        case _:
            found = _switched(state, SWITCH_TIMES[kind], at)
    return islice(state.not_cleared(found), KEPT[kind])


def numbered(
    state: MeterState,
    kind: int,
    number: int,
    at: datetime,
) -> Freeze | None:
    """The freeze of a kind with that number (1 is the newest), None when there is none yet."""
    return next(
        islice(
            freezes(state, kind, at),
            number - 1,
            None,
        ),
        None,
    )


def settlements(state: MeterState, at: datetime) -> Iterator[Freeze]:
    """The settlements before a true site time, newest first.

    By the settlement days that are set now."""
    found = []
    for parameter in SETTLEMENT_DAYS:
        value = state.parameters.read(parameter)
        # A day that is changed holds for the past too: no history of settings is kept.
        if value is not None and value[0] < _NO_HOUR:  # wire order hh DD; 9999 is no day
            found.append(
                _on_day(
                    state,
                    at,
                    hour=value[0],
                    day=value[1],
                )
            )
    newest_first = merge(
        *found,
        key=attrgetter("at"),
        reverse=True,
    )
    return state.not_cleared(newest_first)


def can_be_scheduled(pattern: bytes) -> bool:
    """True for mm hh DD MM in BCD, of which all but the minute may be 99 (any)."""
    if len(pattern) != 4 or not pattern.hex().isdigit():
        return False
    minute, hour, day, month = pattern
    return (
        minute <= 0x59
        and (hour == ANY or hour <= 0x23)
        and (day == ANY or 0x01 <= day <= 0x31)
        and (month == ANY or 0x01 <= month <= 0x12)
    )


def has_switched(
    state: MeterState,
    kind: int,
    at: datetime,
) -> bool:
    """True when the second set of some tables has taken effect.

    `kind` is the freeze that is taken then."""
    return (
        next(
            _switched(
                state,
                SWITCH_TIMES[kind],
                at,
            ),
            None,
        )
        is not None
    )


def _scheduled(state: MeterState, at: datetime) -> Iterator[Freeze]:
    """By the pattern that is set now, since it was set."""
    pattern = state.parameters.read(PATTERN)
    if pattern is None or not can_be_scheduled(pattern):
        return iter(())
    minute, hour, day, month = pattern
    step = _HOUR
    after_midnight = timedelta(minutes=_digits(minute))
    if hour != ANY:
        step = _DAY
        after_midnight += timedelta(hours=_digits(hour))
    found = (
        freeze
        for freeze in _each(state, at, step, after_midnight)
        if _matches(day, freeze.stamp.day) and _matches(month, freeze.stamp.month)
    )
    since = state.parameters.written_at(PATTERN)
    if since is None:
        return found
    return takewhile(lambda freeze: freeze.at > since, found)


def _switched(
    state: MeterState,
    parameter: str,
    at: datetime,
) -> Iterator[Freeze]:
    """One freeze, when the clock came to the time that the parameter says.

    At once for one that was past already."""
    value = state.parameters.read(parameter)
    written_at = state.parameters.written_at(parameter)
    if value is None or written_at is None:
        return
    try:
        due = decode_time(value, FREEZE_TIME)
    except FrameError:
        return
    shown = state.clock.shows(at)
    if due is not None and shown >= due:
        # The clock is taken to have been as far ahead then as it is now.
        ahead = shown - at
        yield Freeze(due, max(due - ahead, written_at))


def _on_day(
    state: MeterState,
    at: datetime,
    *,
    hour: int,
    day: int,
) -> Iterator[Freeze]:
    after_midnight = timedelta(hours=_digits(hour))
    each_day = _each(state, at, _DAY, after_midnight)
    return (freeze for freeze in each_day if freeze.stamp.day == _digits(day))


def _each(
    state: MeterState,
    at: datetime,
    step: timedelta,
    after_midnight: timedelta = timedelta(0),
) -> Iterator[Freeze]:
    for moment in state.clock.moments(at, step, after_midnight):
        yield Freeze(moment.stamp, state.clock.true_time(moment))


def _matches(part: int, value: int) -> bool:
    return part == ANY or _digits(part) == value


def _digits(bcd: int) -> int:
    return int(f"{bcd:02x}")
