"""What a meter tells, in the words of the field."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum


class Quantity(Enum):
    """The closed list of measured quantities, each with its unit."""

    COMBINED_ACTIVE_ENERGY = ("combined_active_energy", "kWh")
    FORWARD_ACTIVE_ENERGY = ("forward_active_energy", "kWh")
    REVERSE_ACTIVE_ENERGY = ("reverse_active_energy", "kWh")
    VOLTAGE = ("voltage", "V")
    CURRENT = ("current", "A")
    ACTIVE_POWER = ("active_power", "kW")
    REMAINING_AMOUNT = ("remaining_amount", "yuan")

    def __init__(self, label: str, unit: str) -> None:
        self.label = label
        self.unit = unit


@dataclass(frozen=True, slots=True)
class DailyFreeze:
    """The registers a meter froze at its midnight, proven by the freeze's own time stamp.

    `frozen_at` is the meter's wall clock without zone; `registers` holds total, tariff 1, tariff 2, ... in kWh, None
    where the meter has no data; `arrived_at` is aware UTC; `clock_skew` is meter clock minus host clock when the
    session read it. `host_offset` is set for a meter without memory: the host read it so long after midnight (negative:
    before), and `frozen_at` is that midnight.
    """

    address: str
    quantity: Quantity
    frozen_at: datetime
    registers: tuple[Decimal | None, ...]
    arrived_at: datetime
    clock_skew: timedelta | None = None
    host_offset: timedelta | None = None
