"""What a line hands on: a freeze and the meter that told it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as clock
from typing import NamedTuple

from protocols.dlt645.prepared.one import as_kwh
from protocols.reading import DailyFreeze, Quantity
from storage.archive import SiteMeter


@dataclass(frozen=True, slots=True)
class Arrival:
    """What a line hands on: a freeze and the meter that told it."""

    meter: SiteMeter
    freeze: DailyFreeze


class PolledFreeze(NamedTuple):
    """An Arrival as a line polls it by the thousand: `registers` in 0.01 kWh, frozen at 00:00 of
    `day`. Nothing more is made of it before its batch is: the line has other answers to listen
    to."""

    meter: SiteMeter
    day: date
    registers: tuple[int | None, ...]
    arrived_at: datetime
    clock_skew: timedelta | None

    @property
    def freeze(self) -> DailyFreeze:
        """The same in full."""
        return DailyFreeze(
            self.meter.address,
            Quantity.FORWARD_ACTIVE_ENERGY,
            datetime.combine(self.day, clock()),
            as_kwh(self.registers),
            self.arrived_at,
            self.clock_skew,
        )
