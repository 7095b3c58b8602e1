"""How much a customer uses: energy as an exact integer function of the calendar.

The energy up to any instant is found without adding up the days before it, so a simulated meter
needs no history and shows the same past whenever it is started."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, datetime
from itertools import accumulate
from typing import Final

from simulators.state.seeded import below

MWH_PER_KWH: Final = 1_000_000
"""Energy is counted in thousandths of a watt-hour; a register shows whole 0.01 kWh of it."""
MWH_PER_DIGIT: Final = MWH_PER_KWH // 100
"""The last digit of a register: 0.01 kWh."""
REGISTER_WRAPS: Final = 10**8
"""After 999999.99 a register shows 0."""
DAY_ZERO: Final = date(2020, 1, 1).toordinal()
"""Where every curve counts from; the days before it count backwards."""
RATE_OF_HOUR: Final = tuple(map(int, "444444433222333332211133"))
"""Which rate counts in each hour of the day: 1 sharp, 2 peak, 3 flat, 4 valley."""
RATES: Final = 4

_HOUR_US: Final = 3_600_000_000
_FOUR_YEARS: Final = 1461


@dataclass(frozen=True, slots=True)
class Shape:
    """How use is spread over a day, a week and a year, as tables of running sums.

    `hour_weight`: 24 weights. `used_before_hour[rate][hour]`: weights of the earlier hours of that
    rate (rate 0: all). `weekday_sum`, `season_sum`: permille above or below the mean, summed over
    the days before."""

    name: str
    hour_weight: tuple[int, ...]
    used_before_hour: tuple[tuple[int, ...], ...]
    weekday_sum: tuple[int, ...]
    season_sum: tuple[int, ...]

    def thousandths_before(self, day: int) -> int:
        """Mean days' worth of use before day number `day`, in thousandths."""
        weeks, weekday = divmod(day, 7)
        terms, season_day = divmod(day, _FOUR_YEARS)
        return (
            1000 * day
            + weeks * self.weekday_sum[7]
            + self.weekday_sum[weekday]
            + terms * self.season_sum[_FOUR_YEARS]
            + self.season_sum[season_day]
        )


def _shape(
    name: str,
    hours: str,
    weekdays: tuple[int, ...],
    season_permille: int,
    peaks_per_year: int,
) -> Shape:
    """`weekdays` begins with Wednesday: day zero was one.

    A season peaks in mid July, with two peaks also in January."""
    weights = tuple(map(int, hours.split()))
    of_rate = [weights] + [
        tuple(weight * (RATE_OF_HOUR[hour] == rate) for hour, weight in enumerate(weights))
        for rate in range(1, RATES + 1)
    ]
    season = (
        round(season_permille * math.cos(2 * math.pi * peaks_per_year * (day - 196) / 365.25))
        for day in range(_FOUR_YEARS)
    )
    return Shape(
        name=name,
        hour_weight=weights,
        used_before_hour=tuple(tuple(accumulate(part, initial=0)) for part in of_rate),
        weekday_sum=tuple(accumulate(weekdays, initial=0)),
        season_sum=tuple(accumulate(season, initial=0)),
    )


SHAPES: Final = {
    shape.name: shape
    for shape in (
        _shape(
            "home",
            "2 2 2 2 2 2 4 6 5 3 3 4 5 4 3 3 3 5 8 10 10 9 6 3",
            (-40, -40, -40, 100, 100, -40, -40),
            200,
            2,
        ),
        _shape(
            "office",
            "1 1 1 1 1 1 2 6 10 11 11 10 8 10 11 11 10 8 4 2 1 1 1 1",
            (120, 120, 120, -300, -300, 120, 120),
            150,
            1,
        ),
        _shape(
            "flat",
            "1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
            (0, 0, 0, 0, 0, 0, 0),
            0,
            1,
        ),
    )
}


@dataclass(frozen=True, slots=True)
class LoadCurve:
    """The use of one customer: a mean, a shape, and a random difference from day to day.

    `key` is the customer's series of random numbers; above 500
    `daily_spread_permille` of the mean a day's energy could become negative."""

    mwh_per_day: int
    shape: Shape = SHAPES["home"]
    key: int = 0
    daily_spread_permille: int = 200

    def energy_mwh(self, at: datetime, rates: int = 0) -> tuple[int, ...]:
        """Energy since day zero at site time `at`: the total, then each of `rates` rates.

        It never falls."""
        day = at.toordinal() - DAY_ZERO
        before = self._at_midnight(day)
        of_day = self._at_midnight(day + 1) - before
        into_hour_us = (at.minute * 60 + at.second) * 1_000_000 + at.microsecond
        weight = self.shape.hour_weight[at.hour]
        used = self.shape.used_before_hour
        whole = used[0][24]
        energies = [
            before
            + of_day * (used[0][at.hour] * _HOUR_US + weight * into_hour_us) // (whole * _HOUR_US)
        ]
        for rate in range(1, rates + 1):
            now_us = weight * into_hour_us if RATE_OF_HOUR[at.hour] == rate else 0
            so_far = used[rate][at.hour] * _HOUR_US + now_us
            energies.append(
                before * used[rate][24] // whole + of_day * so_far // (whole * _HOUR_US)
            )
        return tuple(energies)

    def power_mw(self, at: datetime) -> int:
        """Active power at site time `at`, in thousandths of a watt: the slope of the energy."""
        day = at.toordinal() - DAY_ZERO
        of_day = self._at_midnight(day + 1) - self._at_midnight(day)
        return of_day * self.shape.hour_weight[at.hour] // self.shape.used_before_hour[0][24]

    def _at_midnight(self, day: int) -> int:
        # What is random moves the midnight, not the day: so no sum over days is needed.
        steady = self.mwh_per_day * self.shape.thousandths_before(day) // 1000
        return steady + below(
            self.key, day, self.mwh_per_day * self.daily_spread_permille // 1000 + 1
        )
