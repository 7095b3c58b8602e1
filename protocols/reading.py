"""What a meter reports, in the words of the field."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Literal


class Quantity(Enum):
    """The closed list of measured quantities, each with its unit."""

    COMBINED_ACTIVE_ENERGY = ("combined_active_energy", "kWh")
    FORWARD_ACTIVE_ENERGY = ("forward_active_energy", "kWh")
    FORWARD_ACTIVE_ENERGY_T1 = ("forward_active_energy_t1", "kWh")
    FORWARD_ACTIVE_ENERGY_T2 = ("forward_active_energy_t2", "kWh")
    FORWARD_ACTIVE_ENERGY_T3 = ("forward_active_energy_t3", "kWh")
    FORWARD_ACTIVE_ENERGY_T4 = ("forward_active_energy_t4", "kWh")
    REVERSE_ACTIVE_ENERGY = ("reverse_active_energy", "kWh")
    FORWARD_REACTIVE_ENERGY = ("forward_reactive_energy", "kvarh")
    REVERSE_REACTIVE_ENERGY = ("reverse_reactive_energy", "kvarh")
    VOLTAGE = ("voltage", "V")
    VOLTAGE_A = ("voltage_a", "V")
    VOLTAGE_B = ("voltage_b", "V")
    VOLTAGE_C = ("voltage_c", "V")
    CURRENT = ("current", "A")
    CURRENT_A = ("current_a", "A")
    CURRENT_B = ("current_b", "A")
    CURRENT_C = ("current_c", "A")
    ACTIVE_POWER = ("active_power", "kW")
    ACTIVE_POWER_A = ("active_power_a", "kW")
    ACTIVE_POWER_B = ("active_power_b", "kW")
    ACTIVE_POWER_C = ("active_power_c", "kW")
    REACTIVE_POWER = ("reactive_power", "kvar")
    APPARENT_POWER = ("apparent_power", "kVA")
    POWER_FACTOR = ("power_factor", "")
    FREQUENCY = ("frequency", "Hz")
    REMAINING_AMOUNT = ("remaining_amount", "yuan")

    def __init__(self, label: str, unit: str) -> None:
        self.label = label
        self.unit = unit


@dataclass(frozen=True, slots=True)
class DailyFreeze:
    """The registers a meter froze at its midnight, proven by the freeze's own time stamp."""

    address: str
    quantity: Quantity
    frozen_at: datetime
    """The meter's wall clock, without zone."""
    registers: tuple[Decimal | None, ...]
    """Total, tariff 1, tariff 2, ... in kWh; None where the meter has no data."""
    arrived_at: datetime
    """Aware UTC."""
    clock_skew: timedelta | None = None
    """Meter clock minus host clock (rule V05), when the session read it."""
    # A meter without memory freezes nothing: the host reads it at midnight (requirement R04).
    host_offset: timedelta | None = None
    """Time of that reading after midnight (negative: before); `frozen_at` is the midnight."""
    serial: str | None = None
    """Of the meter that told it, where the answer itself holds one; the address it answered with
    is checked before."""


PrepaymentMode = Literal["none", "energy", "money"]
"""What a meter deducts by itself from a balance of its own."""


@dataclass(frozen=True, slots=True)
class MeterIdentity:
    """Who a meter says it is.

    `serial`: what tells it from every other one and stays when its address is changed; None where
    it has none. `prepayment`: None where it cannot be read."""

    serial: str | None
    prepayment: PrepaymentMode | None = None


@dataclass(frozen=True, slots=True)
class RelayState:
    """What a meter reports of its relay.

    `command_open` without `relay_open`: commanded to open, not open yet."""

    relay_open: bool
    command_open: bool
    keep_power: bool = False
    alarm: bool = False
