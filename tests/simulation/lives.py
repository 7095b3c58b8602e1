"""A site of a hundred points, hour by hour: what comes is judged, and compared with what is true.

A day has four moments at which anything comes: freezes after midnight, second reads an hour later,
what a person does in the evening, the closing of a month. A judgement knows no clock, so what a day
shows cannot change between them; what is owed can, so every hour asks whether all of it is billed
or named."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, time
from random import Random
from zoneinfo import ZoneInfo

from daemon.quality.gap import gap_day
from tests.simulation.life import Life
from tests.simulation.quiet import proved_quiet
from tests.simulation.stories import STORIES, honest, swap_addresses
from tests.simulation.told import Told
from tests.simulation.truth import (
    DAYS,
    FIRST,
    ZONES,
    SimulatedPoint,
    count_energy,
    day_of,
    honest_point,
)

AFTER_DAYS = 8
"""So long is looked on after the last freeze."""
FREEZES_HOUR = 1
SECOND_READS_HOUR = 2
PERSON_HOUR = 20


def simulate(seed: int, points: int = 100) -> Told:
    """All points of a site over 90 days."""
    lives = [Life(point) for point in site(seed, points)]
    for now in range(DAYS + AFTER_DAYS):
        for hour in range(24):
            live_hour(lives, now, hour)
    told = Told()
    for life in lives:
        life.end()
        told.add(life.told)
    return told


def live_hour(lives: list[Life], now: int, hour: int) -> None:
    """What comes by that hour of a day, and what is asked then."""
    newest = (gap_day(datetime.combine(day_of(now), time(hour))) - FIRST).days
    if hour == FREEZES_HOUR:
        _freezes_come(lives, now)
    for life in lives:
        if hour == SECOND_READS_HOUR:
            life.read_again(now)
            life.look_at_untrue(now)
        elif hour == PERSON_HOUR:
            life.person(now)
            life.close(now)
        life.owes_nothing(now, hour, newest)


def site(
    seed: int,
    points: int,
    zones: Sequence[ZoneInfo] = ZONES,
    stories: Collection[str] = tuple(STORIES),
) -> list[SimulatedPoint]:
    """A third of the points has a story."""
    random = Random(seed)
    found: list[SimulatedPoint] = []
    while len(found) < points:
        name = f"seed {seed} point {len(found)}"
        own = Random(random.getrandbits(64))
        draw = own.random()
        if draw < 0.65:
            found.append(_told(name, "honest", own, zones))
        elif draw < 0.67 and len(found) + 1 < points:
            pair = [honest_point(f"{name}/{n}", "swap_addresses", own, zones) for n in (0, 1)]
            swap_addresses(*pair)
            found += pair
        else:
            found.append(_told(name, own.choice(sorted(stories)), own, zones))
    for point in found:
        count_energy(point)
    return found


def _told(name: str, story: str, random: Random, zones: Sequence[ZoneInfo]) -> SimulatedPoint:
    point = honest_point(name, story, random, zones)
    (STORIES | {"honest": honest})[story](point)
    return point


def _freezes_come(lives: list[Life], now: int) -> None:
    """As in the daemon: what arrays prove clean is published, the others are judged one by one."""
    arrived = [life for life in lives if life.arrive(now)]
    quiet = proved_quiet([life for life in arrived if life.is_quiet(now)], now)
    for life in arrived:
        if life in quiet:
            life.publish_arrived(now, quiet[life])
        else:
            life.judge(now)
