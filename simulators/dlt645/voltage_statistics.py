"""The voltage statistics of a simulated meter, 0310pp dd.

One look an hour at the voltage of each phase since a settlement."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from protocols.dlt645.bcd import decode_bcd, encode_bcd, encode_time
from protocols.dlt645.identifiers import BLOCK
from simulators.dlt645.freezes import SETTLEMENTS_KEPT, settlements
from simulators.dlt645.missing_value import missing_value
from simulators.dlt645.variables import volts
from simulators.state.meter import MeterState

UPPER_LIMIT: Final = "04000E03"
LOWER_LIMIT: Final = "04000E04"
_WIDTH: Final = 27
_TIME: Final = "mm hh DD MM"
_HOUR: Final = timedelta(hours=1)
_ALL: Final = 10_000
"""100.00 %."""


def read(
    state: MeterState,
    identifier: bytes,
    at: datetime,
) -> bytes | None:
    """FF is all phases with the total, or all settlements with now. None for *no such data*."""
    _, _, phase, day = identifier
    phases = range(4) if phase == BLOCK else (phase,)
    days = range(1 + SETTLEMENTS_KEPT) if day == BLOCK else (day,)
    found = b""
    for each_phase in phases:
        for each_day in days:
            one = bytes((*identifier[:2], each_phase, each_day))
            data = _of_phase(state, one, at)
            if data is None:
                return None
            found += data
    return found


def _of_phase(
    state: MeterState,
    identifier: bytes,
    at: datetime,
) -> bytes | None:
    """Minutes, rates, minutes above and below the limits, the extremes and when they were."""
    _, _, phase, day = identifier
    if phase > state.spec.phases:
        return b"\xff" * _WIDTH
    hours = _hours(state, day, at)
    if not hours:
        return missing_value(state.spec, identifier)
    voltages = [(volts(state, hour), hour) for hour in hours]
    upper = _limit(state, UPPER_LIMIT)
    lower = _limit(state, LOWER_LIMIT)
    minutes = 60 * len(voltages)
    over = 60 * sum(voltage > upper for voltage, _ in voltages)
    under = 60 * sum(voltage < lower for voltage, _ in voltages)
    outside = _ALL * (over + under) // minutes
    data = b""
    for number in (minutes, _ALL - outside, outside, over, under):
        data += encode_bcd(number % 10**6, 3)
    for extreme in (max, min):
        voltage, hour = extreme(voltages, key=lambda found: found[0])
        shown = state.clock.shows(hour)
        data += encode_bcd(voltage, 2) + encode_time(shown, _TIME)
    return data


def _hours(
    state: MeterState,
    day: int,
    at: datetime,
) -> list[datetime]:
    """The hours between two settlements, at least one; none when there was no such settlement."""
    ends = [at]
    for settlement in islice(settlements(state, at), day + 1):
        ends.append(settlement.at)
    if day >= len(ends):
        return []
    # Before the first settlement it counts from the installation.
    ends.append(state.spec.installed_at)
    since = max(ends[day + 1], state.counter.cleared_at)
    count = max(1, (ends[day] - since) // _HOUR)
    return [since + number * _HOUR for number in range(count)]


def _limit(state: MeterState, parameter: str) -> int:
    return int(decode_bcd(state.parameters.read(parameter) or b""))
