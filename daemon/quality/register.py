"""A cumulative register: what bounds it, and how far it moved between two readings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal

DeltaStatus = Literal["ok", "ok:rollover", "suspect:backward", "suspect:spike"]


@dataclass(frozen=True, slots=True)
class Register:
    """What bounds a register. All in its smallest step; `max_daily` is the most it can advance in a
    day."""

    modulus: int
    max_daily: Decimal
    decimals: int = 2


@dataclass(frozen=True, slots=True)
class ChainPoint:
    """The published register `total` (smallest step) frozen at `day` 00:00 local."""

    day: date
    total: int


def register_delta(
    before: int, after: int, days: Decimal, register: Register
) -> tuple[DeltaStatus, int | None]:
    """The advance between two readings in the register's smallest step, None when it cannot be
    true.

    A step back is a rollover only if the way over the modulus stays within the limit; there is no
    tolerance for a step back of one, because that energy would be billed twice."""
    delta = after - before
    limit = register.max_daily * max(days, Decimal(1) / 24)
    if delta >= 0:
        return ("ok", delta) if delta <= limit else ("suspect:spike", None)
    if delta + register.modulus <= limit:
        return "ok:rollover", delta + register.modulus
    return "suspect:backward", None
