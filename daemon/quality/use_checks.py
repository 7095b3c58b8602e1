"""Soft reports about the use that a finished chain shows: V09, V12, V14, V15 (R21, R23, R24).

They withhold nothing; each is a reason to look. Uses are kWh, by the day in which they fell."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

from daemon.quality.verdict import Link

Uses = Mapping[date, Decimal]

STOPPED_LOAD: Final = Decimal("0.05")
"""Of the basic current: with such a load a register that stands still is broken."""
WEEKS: Final = 4
LEAST_WEEKS: Final = 2
"""Of fewer earlier weeks no mean is made."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From where on use is worth a look, and no judgement: a site may set them otherwise.

    V09: so many days without use, of a point that used more a day before. V12: for so many days
    one rate took all. V14: above or below the mean by a factor, and so much from it. V15: by a
    factor either way."""

    stopped_days: int = 7
    stopped_mean_kwh: int = 1
    share_days: int = 3
    high_factor: int = 3
    low_factor: int = 4
    difference_kwh: int = 5
    season_factor: int = 3

    @property
    def looked_back(self) -> timedelta:
        """V09 compares its days with four weeks before; V14 looks at four weeks."""
        return timedelta(days=self.stopped_days + 7 * WEEKS + 1)


USUAL: Final = Thresholds()


def daily_uses(links: Iterable[Link], zone: ZoneInfo) -> dict[date, Decimal]:
    """The use of each day; that of a longer link in equal parts."""
    uses: dict[date, Decimal] = defaultdict(Decimal)
    for link in links:
        if link.kwh is None:
            continue
        first = _day(link.start, zone)
        last = _day(link.end, zone)
        # A link that ends at a document within a day belongs to that day.
        count = (last - first).days + (isinstance(link.end, datetime) and last == first)
        if count == 1:
            uses[first] += link.kwh
            continue
        for number in range(count):
            uses[first + timedelta(days=number)] += link.kwh / count
    return dict(uses)


def has_stopped(
    uses: Uses, day: date, than: Thresholds = USUAL, load: Decimal | None = None
) -> bool:
    """V09: days without use up to `day`, of a point that used more than 1 kWh a day before.

    `load`: current now, as a part of the basic current; more than 5 % is reason enough."""
    lately = _before(uses, day + timedelta(days=1), than.stopped_days)
    if len(lately) < than.stopped_days or any(lately):
        return False
    if load is not None and load > STOPPED_LOAD:
        return True
    earlier = _before(uses, day - timedelta(days=than.stopped_days - 1), 7 * WEEKS)
    return bool(earlier) and _mean(earlier) > than.stopped_mean_kwh


def takes_one_rate(lately: Sequence[int], earlier: Sequence[int]) -> bool:
    """V12: all use of some days fell into one rate, while others were used before.

    By rate, in steps of the register: the use of those days, and of the four weeks before."""
    used = [rate for rate, use in enumerate(lately) if use > 0]
    return len(used) == 1 and any(use > 0 for rate, use in enumerate(earlier) if rate not in used)


def is_unusual(uses: Uses, day: date, than: Thresholds = USUAL) -> bool:
    """V14: against the mean of the same weekday of four weeks, by a factor and by some kWh."""
    weeks = [uses.get(day - timedelta(weeks=week)) for week in range(1, WEEKS + 1)]
    known = [use for use in weeks if use is not None]
    if day not in uses or len(known) < LEAST_WEEKS:
        return False
    use = uses[day]
    mean = _mean(known)
    is_high = use > than.high_factor * mean and use - mean > than.difference_kwh
    is_low = than.low_factor * use < mean and mean - use > than.difference_kwh
    return is_high or is_low


def is_out_of_season(month_kwh: Decimal, last_year_kwh: Decimal, than: Thresholds = USUAL) -> bool:
    """V15: against the same month of last year, by a factor either way."""
    if not last_year_kwh:
        return False
    factor = than.season_factor
    return month_kwh > factor * last_year_kwh or factor * month_kwh < last_year_kwh


def _before(uses: Uses, day: date, days: int) -> list[Decimal]:
    """The known uses of so many days before `day`."""
    wanted = (day - timedelta(days=number) for number in range(1, days + 1))
    return [uses[it] for it in wanted if it in uses]


def _mean(uses: list[Decimal]) -> Decimal:
    return sum(uses, Decimal(0)) / len(uses)


def _day(at: date | datetime, zone: ZoneInfo) -> date:
    return at.astimezone(zone).date() if isinstance(at, datetime) else at
