"""The meter behind a reading, as the rules know it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Protocol


class Meter(Protocol):
    """What the rules need of a meter at its point; the row of the archive is one."""

    @property
    def meter_id(self) -> int:
        """Its number in the database."""

    @property
    def address(self) -> str:
        """12 digits, most significant first."""

    @property
    def point_id(self) -> int:
        """The metering point that it serves."""

    @property
    def point(self) -> str:
        """What persons call that point."""

    @property
    def installed_on(self) -> date:
        """The first day whose freeze counts for the point."""

    @property
    def modulus(self) -> int:
        """The register turns over here, in its smallest step."""

    @property
    def decimals(self) -> int:
        """Of the register: 2 means steps of 0.01 kWh."""

    @property
    def max_daily_kwh(self) -> Decimal:
        """The most that the register can advance in a day, before the ratio (V08)."""
