"""Credit state: a pure function of money, without timers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CreditStatus = Literal["good", "low", "emergency", "exhausted"]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """All in fen. Supply may be cut below the floor = trip - credit_limit; equality belongs to the
    better state."""

    warn: int
    trip: int
    reconnect: int
    credit_limit: int = 0

    @property
    def floor(self) -> int:
        return self.trip - self.credit_limit


def credit_state(balance_fen: int, thresholds: Thresholds) -> CreditStatus:
    """good >= warn > low >= trip > emergency >= floor > exhausted."""
    if balance_fen >= thresholds.warn:
        return "good"
    if balance_fen >= thresholds.trip:
        return "low"
    if balance_fen >= thresholds.floor:
        return "emergency"
    return "exhausted"
