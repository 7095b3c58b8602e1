"""Runs of owed days that are not published, and why. Pure.

A gap is found by comparing what is owed with what is there, never by counting failed reads: a job
that never ran leaves no failure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, Literal, NamedTuple

from daemon.quality.freeze import MEMORY_DAYS

KEPT_DAYS: Final = {
    "dlt645-2007": MEMORY_DAYS,
    "dlt645-1997": 0,
    "modbus-rtu": 0,
    "modbus-tcp": 0,
}
"""By protocol; what is behind a gateway is for that to say."""
GAP_AFTER: Final = timedelta(hours=6)
"""After its midnight a freeze that is not there is a gap; until then it is only not there yet."""

State = Literal["missing", "withheld", "lost"]


class Lacking(NamedTuple):
    """A point with owed days that are not published.

    `published` and `withheld`: bit n is the day n before `newest`; `first_day`: owed from then
    on."""

    point_id: int
    point: str
    meter_id: int
    address: str
    line: str
    protocol: str
    first_day: date
    published: int
    withheld: int
    newest: date


class Try(NamedTuple):
    """What became of a day when it was asked for last, and how often it was."""

    cause: str
    tries: int
    last_at: datetime
    next_at: datetime


class Outage(NamedTuple):
    """A line that is down; `next_at` None where it waits for a call."""

    since: datetime
    reason: str
    next_at: datetime | None


class Gap(NamedTuple):
    """A run of days. `lost`: the meter has forgotten the last of them too.

    `kept_until`: the midnight at which it forgets the first, None if nobody knows."""

    point: str
    meter: str
    line: str
    first_day: date
    last_day: date
    days: int
    state: State
    cause: str
    detail: str
    tries: int
    last_at: datetime | None
    next_at: datetime | None
    kept_until: date | None


@dataclass(frozen=True, slots=True)
class Causes:
    """What is known of reasons.

    `tries` by (meter, day), `outages` by line, `wrong_clocks`: (point, day) withheld because of the
    meter's clock."""

    tries: Mapping[tuple[int, date], Try]
    outages: Mapping[str, Outage]
    wrong_clocks: Collection[tuple[int, date]]


def gap_day(local_now: datetime) -> date:
    """The newest day whose freeze is a gap if it is not there."""
    return (local_now - GAP_AFTER).date()


def first_gap_day(local_now: datetime, days: int) -> date:
    """The oldest of so many days that are collected. Before 06:00 there is one less that may be a
    gap: at midnight the oldest has gone."""
    return min(gap_day(local_now), local_now.date() - timedelta(days=days - 1))


def gaps_of(points: Iterable[Lacking], causes: Causes) -> list[Gap]:
    """The gaps of these points, each with the oldest first."""
    tried = {meter for meter, _ in causes.tries}
    alike: dict[tuple[object, ...], list[tuple[Any, ...]]] = {}
    found = []
    for point in points:
        if point.withheld or point.meter_id in tried:
            found += _gaps(point, causes)
            continue
        # Thousands lack the same days of one outage: but for their names the same is to be said.
        line_and_days = point[4:]
        if line_and_days not in alike:
            alike[line_and_days] = [gap[2:] for gap in _gaps(point, causes)]
        found += [Gap(point.point, point.address, *rest) for rest in alike[line_and_days]]
    return found


def _gaps(point: Lacking, causes: Causes) -> list[Gap]:
    gaps = [_missing(point, *run, causes) for run in _runs(point, withheld=False)]
    if point.withheld:
        gaps += [_withheld(point, *run, causes) for run in _runs(point, withheld=True)]
        gaps.sort(key=attrgetter("first_day"))
    return gaps


def _runs(point: Lacking, *, withheld: bool) -> tuple[tuple[date, date], ...]:
    """(first, last day) of the longest runs of days that are withheld, or that are not there."""
    owed = (1 << (point.newest - point.first_day).days + 1) - 1
    bits = point.withheld if withheld else ~(point.published | point.withheld)
    return _runs_of(bits & owed, point.newest)


@lru_cache(1024)
def _runs_of(bits: int, newest: date) -> tuple[tuple[date, date], ...]:
    """Of many points the same days are lacking: those of one outage."""
    runs = []
    while bits:
        oldest = bits.bit_length() - 1
        # The run ends at the next day below that is not in it.
        there = ~bits & ((1 << oldest) - 1)
        youngest = there.bit_length()
        runs.append((newest - timedelta(days=oldest), newest - timedelta(days=youngest)))
        bits &= (1 << youngest) - 1
    return tuple(runs)


def _missing(
    point: Lacking,
    first_day: date,
    last_day: date,
    causes: Causes,
) -> Gap:
    tries = _tries(point.meter_id, first_day, last_day, causes.tries)
    # The newest freeze is asked for first, and is no gap before 06:00: a meter that does not tell
    # it is asked for no other.
    newest = causes.tries.get((point.meter_id, point.newest + timedelta(days=1)))
    last = max(tries, key=lambda tried: tried.last_at, default=newest)
    outage = causes.outages.get(point.line)
    cause = "not_asked" if last is None else last.cause
    if outage is not None and (last is None or last.last_at < outage.since):
        cause = "no_route"
    if cause == "no_answer" and not point.published | point.withheld:
        cause = "never_answered"
    next_at = None if last is None else last.next_at
    if outage is not None:
        next_at = outage.next_at
    kept_days = KEPT_DAYS.get(point.protocol)
    is_lost = kept_days is not None and last_day + timedelta(days=kept_days) <= point.newest
    return Gap(
        point=point.point,
        meter=point.address,
        line=point.line,
        first_day=first_day,
        last_day=last_day,
        days=(last_day - first_day).days + 1,
        state="lost" if is_lost else "missing",
        cause=cause,
        detail="" if outage is None else outage.reason,
        tries=sum(tried.tries for tried in tries),
        last_at=None if last is None else last.last_at,
        next_at=None if is_lost else next_at,
        kept_until=None if kept_days is None else first_day + timedelta(days=kept_days),
    )


def _tries(
    meter_id: int, first_day: date, last_day: date, tries: Mapping[tuple[int, date], Try]
) -> list[Try]:
    if not tries:
        return []
    found = (tries.get((meter_id, day)) for day in _days(first_day, last_day))
    return [tried for tried in found if tried is not None]


def _withheld(
    point: Lacking,
    first_day: date,
    last_day: date,
    causes: Causes,
) -> Gap:
    """What was collected is kept for ever; that it is not published is what is wrong with it."""
    days = _days(first_day, last_day)
    is_clock = any((point.point_id, day) in causes.wrong_clocks for day in days)
    return Gap(
        point=point.point,
        meter=point.address,
        line=point.line,
        first_day=first_day,
        last_day=last_day,
        days=(last_day - first_day).days + 1,
        state="withheld",
        cause="meter_clock" if is_clock else "suspect",
        detail="",
        tries=0,
        last_at=None,
        next_at=None,
        kept_until=None,
    )


def _days(first_day: date, last_day: date) -> Iterator[date]:
    for number in range((last_day - first_day).days + 1):
        yield first_day + timedelta(days=number)
