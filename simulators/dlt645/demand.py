"""The maximum demand of a simulated meter, found from its load.

It is the greatest mean power over a demand period.

A demand period slides (04000103 and 04000104, both in minutes). The energy is a broken line whose
corners are the full hours and the movements of the relay; so the greatest difference over a period
lies at a corner, or a period behind one."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice
from typing import Final, NamedTuple

from simulators.dlt645.freezes import settlements
from simulators.state.clock import midnight_of
from simulators.state.meter import Demand, MeterState

PERIOD: Final = "04000103"
SLIDE: Final = "04000104"

_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)

NONE: Final = Demand(0, None)
SAME_MW: Final = 10
"""Demands of one hour differ by this, for energy is in whole thousandths of a watt-hour; the
earliest counts."""


class _Sliding(NamedTuple):
    period: timedelta
    slide: timedelta


def maximum_demands(state: MeterState, at: datetime) -> list[Demand]:
    """Of the total and each tariff, at a true site time.

    Since the settlement or clearing before it."""
    since = max(state.demand_cleared_until(at), _settled_before(state, at))
    sliding = _sliding(state)
    best = _no_demands(state)
    # Day by day, so that the days that are over come from what is known of them.
    day = midnight_of(since)
    while day < at:
        best = list(
            map(
                _greater,
                best,
                _of_day(
                    state,
                    sliding,
                    day,
                    since,
                    at,
                ),
            )
        )
        day += _DAY
    return best


def present_demand_mw(state: MeterState, at: datetime) -> int:
    """The mean power over the last whole demand period."""
    period, slide = _sliding(state)
    return _mean_mw(state, _floor(at, slide), period)[0]


def _of_day(
    state: MeterState,
    sliding: _Sliding,
    day: datetime,
    since: datetime,
    until: datetime,
) -> list[Demand]:
    """Of the periods that end on a day; a whole day that is over never changes, so it is kept."""
    next_day = day + _DAY
    first = since + sliding.period
    if first > day or next_day > until:
        return _greatest(
            state,
            sliding,
            max(day, first),
            min(next_day, until),
        )
    key = (day, sliding.period, sliding.slide)
    known = state.daily_demands.get(key)
    if known is None:
        known = _greatest(state, sliding, day, next_day)
        state.daily_demands[key] = known
    return known


def _greatest(
    state: MeterState,
    sliding: _Sliding,
    first: datetime,
    last: datetime,
) -> list[Demand]:
    """Of the periods that end between `first` and `last`, both included; the earliest of equals."""
    best = _no_demands(state)
    for ended in sorted(_ends(state, sliding, first, last)):
        means_mw = _mean_mw(state, ended, sliding.period)
        found = [Demand(mw, ended) for mw in means_mw]
        best = list(map(_greater, best, found))
    return best


def _greater(early: Demand, late: Demand) -> Demand:
    return late if late.mw > early.mw + SAME_MW else early


def _ends(
    state: MeterState,
    sliding: _Sliding,
    first: datetime,
    last: datetime,
) -> set[datetime]:
    """Where a greatest one may end: the ends of sliding periods on both sides of each corner."""
    period, slide = sliding
    begin = first - period
    moves = [move.at for move in state.counter.breaks if begin <= move.at <= last]
    corners = _full_hours(begin, last) + moves
    candidates = [first, last]
    candidates += [corner + period for corner in corners]
    # Between two full hours the power is the same: a greatest one is found a period behind them.
    if moves or period > _HOUR:
        candidates += corners
    ends = set()
    for candidate in candidates:
        low = _floor(candidate, slide)
        ends.add(low)
        if low != candidate:
            ends.add(low + slide)
    return {end for end in ends if first <= end <= last}


def _full_hours(begin: datetime, last: datetime) -> list[datetime]:
    count = (last - begin) // _HOUR + 2
    first = _floor(begin, _HOUR)
    return [first + number * _HOUR for number in range(count)]


def _mean_mw(
    state: MeterState,
    ended: datetime,
    period: timedelta,
) -> list[int]:
    minutes = period // _MINUTE
    # A register that was set is no power.
    after = state.counter.flowed_mwh(ended)
    before = state.counter.flowed_mwh(ended - period)
    used_mwh = (end - begin for end, begin in zip(after, before, strict=True))
    return [max(0, mwh * 60 // minutes) for mwh in used_mwh]


def _settled_before(state: MeterState, at: datetime) -> datetime:
    """The last settlement that is truly before.

    The one of this moment closes what it is asked for."""
    for settlement in islice(settlements(state, at), 2):
        if settlement.at < at:
            return settlement.at
    return state.spec.installed_at


def _no_demands(state: MeterState) -> list[Demand]:
    return [NONE] * (1 + state.spec.tariffs)


def _sliding(state: MeterState) -> _Sliding:
    return _Sliding(_minutes(state, PERIOD), _minutes(state, SLIDE))


def _minutes(state: MeterState, parameter: str) -> timedelta:
    value = state.parameters.read(parameter) or b"\x01"
    return max(1, int(value.hex())) * _MINUTE


def _floor(at: datetime, step: timedelta) -> datetime:
    midnight = midnight_of(at)
    return midnight + (at - midnight) // step * step
