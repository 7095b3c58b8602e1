"""Validation rules: which freeze may be published. Pure; the neighbours are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Literal

HOST_FREEZE_LIMIT = timedelta(seconds=60)
"""A value that the host read further from midnight is no freeze."""
DeltaStatus = Literal["ok", "ok:rollover", "suspect:backward", "suspect:spike"]

CLOCK_LIMIT = timedelta(minutes=5)
"""V05: a meter whose clock is further off than this froze at a wrong moment; that day's freeze is withheld."""


@dataclass(frozen=True, slots=True)
class Register:
    """What bounds a register. All in its smallest step; `max_daily` is the most it can advance in a day."""

    modulus: int
    max_daily: Decimal
    decimals: int = 2


@dataclass(frozen=True, slots=True)
class ChainPoint:
    """The published register `total` (smallest step) frozen at `day` 00:00 local."""

    day: date
    total: int


def register_delta(before: int, after: int, days: Decimal, register: Register) -> tuple[DeltaStatus, int | None]:
    """The advance between two readings in the register's smallest step, None when it cannot be true.

    A step back is a rollover only if the way over the modulus stays within the limit; there is no tolerance for a
    step back of one, because that energy would be billed twice.
    """
    delta = after - before
    limit = register.max_daily * max(days, Decimal(1) / 24)
    if delta >= 0:
        return ("ok", delta) if delta <= limit else ("suspect:spike", None)
    if delta + register.modulus <= limit:
        return "ok:rollover", delta + register.modulus
    return "suspect:backward", None


def freeze_day(frozen_at: datetime, host_offset: timedelta | None = None) -> date | None:
    """The day whose 00:00 this freeze belongs to; None if its time stamp is no midnight (V04, tolerance 0).

    A value that the host read instead of the meter must have been read within HOST_FREEZE_LIMIT of midnight.
    """
    if host_offset is not None and abs(host_offset) > HOST_FREEZE_LIMIT:
        return None
    is_midnight = (frozen_at.hour, frozen_at.minute, frozen_at.second) == (0, 0, 0)
    return frozen_at.date() if is_midnight else None


def failing_rules(
    new: ChainPoint,
    rates: Sequence[int],
    register: Register,
    *,
    before: ChainPoint | None,
    after: ChainPoint | None,
    clock_skew: timedelta | None,
) -> list[str]:
    """The hard rules that this freeze breaks, each as `Vnn name`; empty when it may be published.

    `before` and `after` are its published neighbours in time, `rates` the tariff registers (may be empty).
    """
    failing = []
    if clock_skew is not None and abs(clock_skew) > CLOCK_LIMIT:
        failing.append("V05 clock")
    if not 0 <= new.total < register.modulus:
        failing.append("V06 range")
    for earlier, later in ((before, new), (new, after)):
        if earlier is None or later is None:
            continue
        days = Decimal((later.day - earlier.day).days)
        status, _ = register_delta(earlier.total, later.total, days, register)
        if status == "suspect:backward":
            failing.append("V07 backward" if later is new else "V27 monotone")
        elif status == "suspect:spike":
            failing.append("V08 spike")
    if rates and abs(new.total - sum(rates)) > len(rates):
        failing.append("V11 tou_sum")
    return sorted(set(failing))
