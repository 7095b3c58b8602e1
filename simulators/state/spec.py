"""How a simulated meter was built and installed, as values that never change."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from typing import Literal

from simulators.state.load import RATES, LoadCurve
from simulators.state.seeded import happens

EmptyFreeze = Literal["zeros", "ff", "refuse"]
"""Answer about a day that was not frozen: zero time and FF registers, all FF, or D1 02."""


@dataclass(frozen=True, slots=True)
class Outages:
    """Midnights at which a meter has no power and freezes nothing.

    The `dates` and, by the series `key` of random numbers, `permille` of 1000 others."""

    dates: Collection[date] = ()
    permille: int = 0
    key: int = 0

    def __bool__(self) -> bool:
        return bool(self.dates) or self.permille > 0

    def include(self, midnight: datetime) -> bool:
        """True when the meter is without power at this midnight."""
        if self.permille and happens(
            self.key,
            midnight.toordinal(),
            self.permille,
        ):
            return True
        return midnight.date() in self.dates


@dataclass(frozen=True, slots=True)
class MeterSpec:
    """What a meter is from its installation on."""

    curve: LoadCurve | None = None
    """Use of its customer; None for one of 8 kWh a day that follows from the meter's address."""
    initial_kwh: Decimal = Decimal(0)
    """Register on the day of the installation."""
    installed: date = date(2024, 1, 1)
    tariffs: int = RATES
    """RATES or 0."""
    phases: int = 1
    """1 or 3."""
    voltage_v: Decimal = Decimal("220.0")
    """Without load."""
    meter_type: int = 0
    """0 postpaid, 1 prepaid energy, 2 prepaid money: bits 8-9 of status word 3."""
    remaining_yuan: Decimal | None = None
    remaining_kwh: Decimal | None = None
    """Of a prepaid meter, negative for an overdraft; None for *no such data*."""
    serial: str | None = None
    """12 digits of its maker, which stay when its address is changed; None: those of the address,
    or, where this has no digits, some that follow from it."""
    empty_freeze: EmptyFreeze = "zeros"
    outages: Outages = field(default_factory=Outages)
    wrong_freezes: Mapping[date, Decimal] = field(default_factory=dict)
    """By day, the total in kWh that its freeze tells instead of the true one."""
    refused: Collection[str] = frozenset()
    """Identifiers that it says it has no data for."""

    @property
    def installed_at(self) -> datetime:
        """Site time at which it begins to count."""
        return datetime.combine(self.installed, time.min)
