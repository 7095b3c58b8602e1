"""Runs: a chain between two exchanges, each judged alone (judgement.md 1.6)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import zip_longest
from zoneinfo import ZoneInfo

from daemon.quality.facts import Clock, Installation, Registers
from daemon.quality.local_time import day_of, midnight_s, seconds


@dataclass(frozen=True, slots=True)
class Run:
    """What one installed register told, from its installation to the next one."""

    zone: ZoneInfo
    clock: Clock
    installation: Installation
    ended: Installation | None
    """The installation that ended it; None while it lasts."""
    modulus: int
    """Of the register, in its steps."""
    begins_s: int
    ends_s: float
    """In seconds since 1970; infinite while it lasts."""

    def midnight_s(self, day: date) -> int:
        """When the meter froze its value of that day."""
        return midnight_s(self.zone, self.clock, day)

    def day_of(self, at: datetime) -> date:
        """The day of the meter in which a moment lies."""
        return day_of(self.zone, self.clock, at)

    def seconds(self, at: date | datetime) -> int:
        """When a day began on the meter's clock, or a moment was."""
        return seconds(at) if isinstance(at, datetime) else self.midnight_s(at)

    def steps(self, registers: Registers) -> tuple[int, ...] | None:
        """Total and rates in steps of the register; None where one cannot be written in them."""
        decimals = self.installation.decimals
        found = []
        for value in (registers.total, *[rate for _, rate in registers.rates]):
            scaled = value.scaleb(decimals)
            step = int(scaled)
            if step != scaled:
                return None
            found.append(step)
        return tuple(found)

    def holds(self, at: date | datetime) -> bool:
        """Whether it had begun by then, and had not ended."""
        return self.begins_s <= self.seconds(at) < self.ends_s

    def kwh(self, steps: int) -> Decimal:
        """A register's steps as the number it shows."""
        return Decimal(steps).scaleb(-self.installation.decimals)


def runs_of(zone: ZoneInfo, clock: Clock, installations: Iterable[Installation]) -> list[Run]:
    """In order of time; an installation told twice is one."""
    ordered = sorted(set(installations), key=lambda it: (it.at, repr(it)))
    return [
        Run(
            zone=zone,
            clock=clock,
            installation=it,
            ended=ended,
            modulus=int(it.modulus.scaleb(it.decimals)),
            begins_s=seconds(it.at),
            ends_s=math.inf if ended is None else seconds(ended.at),
        )
        for it, ended in zip_longest(ordered, ordered[1:])
    ]


def run_of_day(runs: Iterable[Run], day: date) -> Run | None:
    """The run that began at or before the day's midnight; None before the first installation."""
    for run in runs:
        if run.holds(day):
            return run
    return None
