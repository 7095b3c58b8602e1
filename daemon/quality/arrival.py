"""What a line hands on: what a meter told, and the meter."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as wall_clock
from decimal import Decimal
from typing import NamedTuple

from daemon.quality.meter import Meter
from protocols.dlt645.prepared.one import as_kwh
from protocols.peer import Peer
from protocols.reading import DailyFreeze, MeterIdentity, Quantity, RelayState


@dataclass(eq=False, slots=True)
class Teller:
    """Who tells what comes over a line while it is open: the line, and who was at its far end.

    One for each opening. `id`: in the database, 0 as long as it does not know it."""

    line: str
    peer: Peer
    id: int = 0


@dataclass(frozen=True, slots=True)
class Arrival:
    """A freeze, and the meter that told it.

    One without a total says that the meter refused to tell it a second time."""

    meter: Meter
    freeze: DailyFreeze
    told_by: Teller | None = None


@dataclass(frozen=True, slots=True)
class MonthEndFreeze:
    """What a meter froze at its last settlement, by its own wall clock. Registers in kWh."""

    settled_at: datetime
    registers: tuple[Decimal | None, ...]


@dataclass(frozen=True, slots=True)
class SettingsRead:
    """What is set in a meter: its transformers' ratio and its number of rates; and what it settled
    by its own days."""

    ratio: int | None = None
    month_end: MonthEndFreeze | None = None
    rates: int | None = None


@dataclass(frozen=True, slots=True)
class IdentityRead:
    """Who a meter said it is, and with it what is set in it; `at` aware UTC."""

    meter: Meter
    identity: MeterIdentity
    at: datetime
    settings: SettingsRead = SettingsRead()
    told_by: Teller | None = None


@dataclass(frozen=True, slots=True)
class RelayRead:
    """Where a meter's relay was when somebody looked, not because of a command; `at` aware UTC."""

    meter: Meter
    relay: RelayState
    at: datetime


class PolledFreeze(NamedTuple):
    """An Arrival as a line polls it by the thousand.

    `registers` in 0.01 kWh, frozen at 00:00 of `day`. A tuple, and nothing more is made of it
    before its batch is stored: the line has other answers to listen to."""

    meter: Meter
    day: date
    registers: tuple[int | None, ...]
    arrived_at: datetime
    clock_skew: timedelta | None
    told_by: Teller | None = None

    @property
    def freeze(self) -> DailyFreeze:
        """The same in full."""
        return DailyFreeze(
            self.meter.address,
            Quantity.FORWARD_ACTIVE_ENERGY,
            datetime.combine(self.day, wall_clock()),
            as_kwh(self.registers),
            self.arrived_at,
            self.clock_skew,
        )


def number_of(teller: Teller | None) -> int:
    """What a raw row says of its teller."""
    return 0 if teller is None else teller.id
