"""The meter behind a reading, as the rules know it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Protocol

from daemon.quality.register import Register


class Meter(Protocol):
    """What the rules need of a meter at its point; the row of the archive is one.

    `modulus` in the register's smallest step, `max_daily_kwh` before the ratio."""

    @property
    def meter_id(self) -> int: ...
    @property
    def address(self) -> str: ...
    @property
    def point_id(self) -> str: ...
    @property
    def installed_on(self) -> date: ...
    @property
    def ratio(self) -> Decimal: ...
    @property
    def modulus(self) -> int: ...
    @property
    def decimals(self) -> int: ...
    @property
    def max_daily_kwh(self) -> Decimal: ...


def register_of(meter: Meter) -> Register:
    """What bounds the meter's registers, in their smallest step."""
    return Register(
        modulus=meter.modulus,
        max_daily=meter.max_daily_kwh.scaleb(meter.decimals),
        decimals=meter.decimals,
    )
