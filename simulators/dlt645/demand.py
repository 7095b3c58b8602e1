"""The maximum demand of a simulated meter: the greatest mean power over a demand period, found from
its load.

A demand period slides (04000103 and 04000104, both in minutes). The energy is a broken line whose
corners are the full hours and the movements of the relay; so the greatest difference over a period
lies at a corner, or a period behind one."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from simulators.dlt645.freezes import settlements

if TYPE_CHECKING:
    from simulators.state.meter import SimulatedMeter

PERIOD: Final = "04000103"
SLIDE: Final = "04000104"

_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)


class Demand(NamedTuple):
    """Thousandths of a watt, and the true end of the period; None when there was none above 0."""

    mw: int
    ended: datetime | None


NONE: Final = Demand(0, None)
SAME_MW: Final = 10
"""Demands of one hour differ by this, for energy is in whole thousandths of a watt-hour; the
earliest counts."""


def maximum_demands(meter: SimulatedMeter, at: datetime) -> list[Demand]:
    """Of the total and each tariff, at a true site time: since the settlement or clearing before
    it."""
    since = max(meter.demand_cleared_until(at), _settled_before(meter, at))
    best = [NONE] * (1 + meter.tariffs)
    day = _midnight(since)
    while day < at:
        best = list(map(_greater, best, _of_day(meter, day, since, at)))
        day += _DAY
    return best


def present_demand_mw(meter: SimulatedMeter, at: datetime) -> int:
    """The mean power over the last whole demand period."""
    period, slide = _minutes(meter, PERIOD), _minutes(meter, SLIDE)
    return _mean_mw(meter, _floor(at, slide), period)[0]


def _of_day(meter: SimulatedMeter, day: datetime, since: datetime, until: datetime) -> list[Demand]:
    """Of the periods that end on a day; a whole day that is over never changes, so it is kept."""
    period, slide = _minutes(meter, PERIOD), _minutes(meter, SLIDE)
    if since + period > day or day + _DAY > until:
        return _greatest(
            meter,
            max(day, since + period),
            min(day + _DAY, until),
            period,
            slide,
        )
    kept = meter.daily_demands.get((day, period, slide))
    if kept is None:
        kept = meter.daily_demands[day, period, slide] = _greatest(
            meter,
            day,
            day + _DAY,
            period,
            slide,
        )
    return kept


def _greatest(
    meter: SimulatedMeter,
    first: datetime,
    last: datetime,
    period: timedelta,
    slide: timedelta,
) -> list[Demand]:
    """Of the periods that end between `first` and `last`, both included; the earliest of equals."""
    best = [NONE] * (1 + meter.tariffs)
    for ended in sorted(
        set(
            _ends(
                meter,
                first,
                last,
                period,
                slide,
            )
        )
    ):
        best = [
            _greater(it, Demand(mw, ended))
            for it, mw in zip(best, _mean_mw(meter, ended, period), strict=True)
        ]
    return best


def _greater(early: Demand, late: Demand) -> Demand:
    return late if late.mw > early.mw + SAME_MW else early


def _ends(
    meter: SimulatedMeter,
    first: datetime,
    last: datetime,
    period: timedelta,
    slide: timedelta,
) -> Iterable[datetime]:
    """Where a greatest one may end: the ends of sliding periods on both sides of each corner."""
    begin = first - period
    hours = ((last - begin) // _HOUR) + 2
    corners = [_floor(begin, _HOUR) + number * _HOUR for number in range(hours)]
    moves = [moved for moved, _ in meter.relay.moves if begin <= moved <= last]
    corners += moves
    at_corners = (
        corners if moves or period > _HOUR else []
    )  # one between two full hours is found a period behind
    for corner in (first, last, *at_corners, *(corner + period for corner in corners)):
        low = _floor(corner, slide)
        yield from (
            end for end in {low, low if low == corner else low + slide} if first <= end <= last
        )


def _mean_mw(meter: SimulatedMeter, ended: datetime, period: timedelta) -> list[int]:
    after, before = meter.energy_mwh(ended), meter.energy_mwh(ended - period)
    minutes = period // timedelta(minutes=1)
    return [max(0, (end - begin) * 60 // minutes) for end, begin in zip(after, before, strict=True)]


def _settled_before(meter: SimulatedMeter, at: datetime) -> datetime:
    """The last settlement that is truly before: the one of this moment closes what it is asked
    for."""
    found = islice(settlements(meter, at), 2)
    return next((settlement.at for settlement in found if settlement.at < at), meter.installed)


def _minutes(meter: SimulatedMeter, parameter: str) -> timedelta:
    value = meter.parameters.read(parameter) or b"\x01"
    return timedelta(minutes=max(1, int(value.hex())))


def _floor(at: datetime, step: timedelta) -> datetime:
    midnight = _midnight(at)
    return midnight + (at - midnight) // step * step


def _midnight(at: datetime) -> datetime:
    return at.replace(
        hour=0,
        minute=0,
        second=0,
        microsecond=0,
    )
