"""The mass-disconnect breaker: when too much happens at once to be true. Pure.

While one is open nobody of its group is cut, and trips that wait are cancelled; reconnects go on.
Two persons reset it. What was before a reset does not open it again, but for trips that were sent:
no reset makes more of them leave within an hour (I10)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Final, Literal, NamedTuple

Cause = Literal[
    "trips_in_an_hour",
    "trips_in_a_day",
    "exhausted_today",
    "payments_silent",
    "commands_fail",
    "wrongful_trips",
    "wrong_password",
]


class Group(NamedTuple):
    """Of what a breaker is: `scope` is site, area, line or tariff; the site has no name."""

    scope: str
    name: str = ""


SITE: Final = Group("site")
DAYS: Final = 30
"""So many days before today tell what is usual."""
COMMANDS: Final = 50


@dataclass(frozen=True, slots=True)
class Limits:
    """More than these open it. The larger of a number and its share of the fleet, or group."""

    hour: int = 20
    hour_permille: int = 5
    day: int = 100
    day_permille: int = 20
    group_hour: int = 3
    group_permille: int = 100
    exhausted_times: int = 5
    silence_times: int = 3
    failed_commands: int = COMMANDS // 5
    """Of the last 50."""
    wrongful_trips: int = 2
    days_with_payments: int = 7
    """On fewer of the days before nothing is usual."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What the breaker looks at, each without what was before its group's last reset.

    `trips`: by group how many were asked for or sent within an hour and within a day.
    `exhausted`: accounts whose money ran out, today and on each day before on which there were any.
    `paid_hours`: the hours in which somebody paid, 0 for the present one, of the days before.
    `silent_hours`: for how long nobody paid; None where nobody ever did. `failed_commands`: of the
    last 50 that ended, those that the meter refused or whose relay did not follow."""

    trips: Mapping[Group, tuple[int, int]]
    exhausted_today: int = 0
    exhausted_before: Sequence[int] = ()
    paid_hours: Collection[int] = ()
    silent_hours: float | None = None
    failed_commands: int = 0
    wrongful_trips: int = 0


class Opening(NamedTuple):
    """A breaker that has to open: `found` is above `allowed`."""

    group: Group
    cause: Cause
    found: float
    allowed: float


def groups_to_count(figures: Figures, limits: Limits) -> list[Group]:
    """The groups whose sizes have to be known, the site among them; mostly none."""
    crowded = [
        group
        for group, (hour, _) in figures.trips.items()
        if group != SITE and hour > limits.group_hour
    ]
    hour, day = figures.trips.get(SITE, (0, 0))
    if crowded or hour > limits.hour or day > limits.day or figures.exhausted_today > limits.hour:
        return [SITE, *crowded]
    return []


def openings(figures: Figures, sizes: Mapping[Group, int], limits: Limits) -> Iterator[Opening]:
    """What has to open. `sizes`: points with an account, of each of `groups_to_count`."""
    for asked in (
        _trips_of_site(figures, sizes, limits),
        _trips_of_groups(figures, sizes, limits),
        _of_money(figures, sizes, limits),
        _of_commands(figures, limits),
    ):
        yield from (it for it in asked if it.found > it.allowed)


def _trips_of_site(
    figures: Figures, sizes: Mapping[Group, int], limits: Limits
) -> Iterator[Opening]:
    hour, day = figures.trips.get(SITE, (0, 0))
    fleet = sizes.get(SITE, 0)
    yield Opening(SITE, "trips_in_an_hour", hour, _most(limits.hour, limits.hour_permille, fleet))
    yield Opening(SITE, "trips_in_a_day", day, _most(limits.day, limits.day_permille, fleet))


def _trips_of_groups(
    figures: Figures, sizes: Mapping[Group, int], limits: Limits
) -> Iterator[Opening]:
    for group, (hour, _) in figures.trips.items():
        size = sizes.get(group, 0)
        # A group that is all of the fleet is the site, which has its own limit.
        if group != SITE and size < sizes.get(SITE, 0):
            allowed = _most(limits.group_hour, limits.group_permille, size)
            yield Opening(group, "trips_in_an_hour", hour, allowed)


def _of_money(figures: Figures, sizes: Mapping[Group, int], limits: Limits) -> Iterator[Opening]:
    # R86: a wrong tariff empties many accounts at once. So few that they may be cut prove nothing.
    usual = median([*figures.exhausted_before, *[0] * (DAYS - len(figures.exhausted_before))])
    few = _most(limits.hour, limits.hour_permille, sizes.get(SITE, 0))
    allowed = max(limits.exhausted_times * usual, few)
    yield Opening(SITE, "exhausted_today", figures.exhausted_today, allowed)
    pause = usual_pause(figures.paid_hours, limits.days_with_payments)
    if pause is not None and figures.silent_hours is not None:
        yield Opening(SITE, "payments_silent", figures.silent_hours, limits.silence_times * pause)


def _of_commands(figures: Figures, limits: Limits) -> Iterator[Opening]:
    yield Opening(SITE, "commands_fail", figures.failed_commands, limits.failed_commands)
    yield Opening(SITE, "wrongful_trips", figures.wrongful_trips, limits.wrongful_trips)


def usual_pause(paid_hours: Iterable[int], least_days: int) -> float | None:
    """The longest pause between payments of a usual day, in hours: nights are no silence.

    None where too few days had payments to say what is usual."""
    hours = sorted(set(paid_hours))
    if len({hour // 24 for hour in hours}) < least_days:
        return None
    longest: dict[int, int] = {}
    for later, earlier in pairwise(hours):
        day = later // 24
        longest[day] = max(longest.get(day, 1), earlier - later)
    return float(median(longest.values()))


def _most(number: int, permille: int, size: int) -> float:
    return max(number, permille * size / 1000)
