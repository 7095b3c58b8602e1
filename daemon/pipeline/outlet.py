"""Whom the pipeline asks about meters, and tells what became of their readings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from daemon.quality.arrival import Arrival, PolledFreeze
from daemon.quality.freeze import freeze_day
from daemon.quality.meter import Meter

Slot = tuple[int, date]
"""(meter id, day)."""
Told = Callable[[Sequence[Slot]], None]


@dataclass(frozen=True, slots=True)
class Outlet:
    """Who knows the meters, and who is told what became of readings."""

    meters: Callable[[str], Meter | None]
    """By address, the meter that is read now."""
    stored: Told
    """Every slot that has a value in the database now."""
    kept: Told
    """Every slot whose value is safe on disk."""
    missed: Callable[[], None]
    """Readings were dropped that meters can tell again: what is missing is to be looked for."""
    doubted: Callable[[], None] = lambda: None
    """Something is in doubt: what is to be read again is to be looked for."""


def slots_of(arrivals: Iterable[Arrival | PolledFreeze]) -> list[Slot]:
    """The slots of those that are stamped with a midnight."""
    found = []
    for arrival in arrivals:
        freeze = arrival.freeze
        day = freeze_day(freeze.frozen_at, freeze.host_offset)
        if day is not None:
            found.append((arrival.meter.meter_id, day))
    return found
