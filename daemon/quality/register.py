"""A cumulative register: what bounds it, and how far it moved between two readings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_CEILING, Decimal
from typing import Literal

DeltaStatus = Literal["ok", "ok:rollover", "suspect:backward", "suspect:spike"]


@dataclass(frozen=True, slots=True)
class Register:
    """What bounds a register, in its smallest step.

    `max_daily` is the most it can advance in a day."""

    modulus: int
    max_daily: Decimal
    decimals: int = 2


@dataclass(frozen=True, slots=True)
class ChainPoint:
    """The published register `total` (smallest step) frozen at `day` 00:00 local."""

    day: date
    total: int


def register_delta(
    before: int,
    after: int,
    days: Decimal,
    register: Register,
) -> tuple[DeltaStatus, int | None]:
    """The advance between two readings in the register's smallest step, None if it cannot be true.

    Money, register arithmetic: the limit grows with the time between. A step back is a rollover
    only if the way over the modulus stays within the limit."""
    delta = after - before
    # It grows with the gap, else every catch-up after an outage would be a spike; and it is never
    # less than an hour's worth.
    limit = register.max_daily * max(days, Decimal(1) / 24)
    if delta >= 0:
        return ("ok", delta) if delta <= limit else ("suspect:spike", None)
    if delta + register.modulus <= limit:
        return "ok:rollover", delta + register.modulus
    # No tolerance for a step back of one: that energy would be billed twice.
    return "suspect:backward", None


def error_bound(register: Register, offset: timedelta) -> int:
    """The most that the register can have moved in `offset`, in its smallest step, rounded up.

    It is kept with a value that the host read beside midnight: limit of a day x offset."""
    moved = register.max_daily * (offset // timedelta(microseconds=1)) / 86_400_000_000
    return int(moved.to_integral_value(ROUND_CEILING))


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
