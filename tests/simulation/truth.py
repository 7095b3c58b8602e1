"""What is true of a simulated point, and what its meter tells of it.

All registers are steps of 0.01 kWh; day 0 is the first of March 2026."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from random import Random
from typing import TypeVar
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from daemon.quality.facts import Fact, Installation, Limit, Read, Registers

FIRST = date(2026, 3, 1)
DAYS = 90
MEMORY_DAYS = 62
DECIMALS = 2
RATES = ("peak", "valley")
HERE_FROM_THE_FIRST = "A"
"""The serial of the meter with which a point begins."""
Steps = TypeVar("Steps", int, NDArray[np.int64])
ZONES = [
    ZoneInfo(name)
    for name in (
        "Asia/Shanghai",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "America/Santiago",
        "Africa/Cairo",
    )
]


@cache
def midnight_utc(zone: ZoneInfo, number: int) -> datetime:
    return datetime.combine(day_of(number), datetime.min.time(), zone).astimezone(UTC)


@cache
def day_of(number: int) -> date:
    return FIRST + timedelta(days=number)


def rates_of(total: Steps) -> tuple[Steps, Steps]:
    """A half and the rest of it."""
    half = total // 2
    return (half, total - half)


@dataclass(frozen=True)
class Answer:
    """What the meter answers for one day; `is_true` tells the simulator, not the judge."""

    steps: int
    is_true: bool = True
    skew_s: int | None = None
    stamp: int | None = None
    """A day other than the one that was asked for."""
    serial: str | None = None
    is_lasting: bool = True
    """Whether the meter says the same when it is asked again; else it was the transmission."""


@dataclass
class SimulatedPoint:
    """A point from day 0 to day 90. `answers[d]` is what is read for day d, `arrives[d]` when.

    `registers[d]` is true of the meter that serves at the midnight of day d, `energy[d]` the use
    since day 0 in steps of kWh, the ratio in it."""

    name: str
    story: str
    random: Random
    zone: ZoneInfo
    modulus: int
    limit: int
    uses: list[int]
    registers: list[int]
    ratios: list[int]
    with_rates: bool
    answers: dict[int, Answer] = field(default_factory=dict)
    arrives: dict[int, int] = field(default_factory=dict)
    facts: dict[int, list[Fact]] = field(default_factory=lambda: defaultdict(list))
    """By day of arrival: what is not a read."""
    extra: dict[int, list[tuple[int, Answer]]] = field(default_factory=lambda: defaultdict(list))
    """By day of arrival: answers for days that were read before."""
    installation: Installation | None = None
    energy: list[int] = field(default_factory=list)
    energy_at: dict[float, int] = field(default_factory=dict)
    """The use since midnight at the moments of documents, in seconds since 1970."""
    first_day: int = 0

    def midnight(self, number: int, hour: int = 0) -> datetime:
        return datetime.combine(day_of(number), datetime.min.time(), self.zone).replace(hour=hour)

    def kwh(self, steps: int) -> Registers:
        total = Decimal(steps).scaleb(-DECIMALS)
        return Registers(total)

    def read(self, number: int, answer: Answer, now: int, hour: float) -> Read:
        """The fact that an answer is."""
        rates = [Decimal(it).scaleb(-DECIMALS) for it in self.rates(answer.steps)]
        return Read(
            day=day_of(number),
            registers=Registers(
                Decimal(answer.steps).scaleb(-DECIMALS), tuple(zip(RATES, rates, strict=False))
            ),
            read_at=midnight_utc(self.zone, now) + timedelta(hours=hour),
            stamp=None
            if answer.stamp is None
            else datetime.combine(day_of(answer.stamp), datetime.min.time()),
            serial=answer.serial,
            skew_s=answer.skew_s,
        )

    def rates(self, steps: int) -> tuple[int, ...]:
        """Of a total, in steps."""
        return rates_of(steps) if self.with_rates else ()

    def arriving(self) -> dict[int, list[tuple[int, Answer]]]:
        """By day of arrival: days and answers, the newest day first."""
        found: dict[int, list[tuple[int, Answer]]] = defaultdict(list)
        for number, answer in sorted(self.answers.items(), reverse=True):
            found[self.arrives[number]].append((number, answer))
        for at, answers in self.extra.items():
            found[at] += answers
        return found

    def told_again(self, number: int) -> Answer:
        """What the meter says when it is asked a second time."""
        answer = self.answers[number]
        if answer.is_lasting:
            return answer
        return Answer(self.registers[number])


def honest_point(
    name: str, story: str, random: Random, zones: Sequence[ZoneInfo] = ZONES
) -> SimulatedPoint:
    """A point whose meter tells the truth on every day, of which some are read a day late."""
    zone = random.choice(zones)
    daily = random.choice([0, 200, 800, 3_000])
    uses = [_use(daily, random) for _ in range(DAYS)]
    modulus = 100_000_000
    initial = random.randrange(10_000, 5_000_000)
    registers = [initial]
    for use in uses:
        registers.append(registers[-1] + use)
    point = SimulatedPoint(
        name=name,
        story=story,
        random=random,
        zone=zone,
        modulus=modulus,
        limit=38_000,
        uses=uses,
        registers=registers,
        ratios=[1] * (DAYS + 1),
        with_rates=random.random() < 0.3,
    )
    for number in range(DAYS):
        point.answers[number] = Answer(registers[number])
        is_delayed = random.random() < 0.03
        point.arrives[number] = number + (random.randint(1, 2) if is_delayed else 0)
    point.installation = Installation(
        at=point.midnight(0),
        serial=HERE_FROM_THE_FIRST,
        modulus=Decimal(modulus).scaleb(-DECIMALS),
        decimals=DECIMALS,
        wire_decimals=DECIMALS,
    )
    point.facts[0] = [Limit(FIRST, Decimal(point.limit).scaleb(-DECIMALS))]
    return point


def count_energy(point: SimulatedPoint) -> None:
    """The use since day 0, when registers and ratios are final."""
    point.energy = [0]
    for use, ratio in zip(point.uses, point.ratios, strict=False):
        point.energy.append(point.energy[-1] + use * ratio)


def exchanged(
    point: SimulatedPoint, at: datetime, serial: str, initial: int, final: int
) -> Installation:
    """The document of an exchange; registers below 0 are lost."""
    assert point.installation is not None
    return replace(
        point.installation,
        at=at,
        serial=serial,
        initial=point.kwh(initial) if initial >= 0 else None,
        old_final=point.kwh(final) if final >= 0 else None,
    )


def _use(daily: int, random: Random) -> int:
    return 0 if daily == 0 else round(daily * random.uniform(0.3, 1.7))
