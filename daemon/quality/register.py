"""A cumulative register: what bounds it, and how far it moved between two readings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Register:
    """What bounds a register, in its smallest step.

    `max_daily` is the most it can advance in a day."""

    modulus: int
    max_daily: Decimal
    decimals: int = 2


def in_steps(registers: Sequence[Decimal | None], decimals: int) -> tuple[int, tuple[int, ...]]:
    """(total, rates) in the register's smallest step, of registers in kWh.

    A rate without data makes all of them unknown: their sum can not be compared with the total."""
    total, *rates = registers
    assert total is not None, "a freeze without a total was put into the pipeline"
    # A rate that the meter does not keep is no zero: V11 would find a difference that is none.
    known = [rate for rate in rates if rate is not None]
    if len(known) < len(rates):
        known = []
    return _steps(total, decimals), tuple(_steps(rate, decimals) for rate in known)


def _steps(value: Decimal, decimals: int) -> int:
    scaled = value.scaleb(decimals)
    assert scaled == int(scaled), f"{value} kWh has more than {decimals} decimals"
    return int(scaled)
