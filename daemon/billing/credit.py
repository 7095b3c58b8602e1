"""Credit state: a pure function of money, without timers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

CreditStatus = Literal["good", "low", "emergency", "exhausted"]
STATES: Final[tuple[CreditStatus, ...]] = ("exhausted", "emergency", "low", "good")
"""By how many thresholds (floor, trip, warn) a balance reaches: good >= warn > low >= trip >
emergency >= floor > exhausted. Equality belongs to the better state."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The balances at which an account's credit changes."""

    warn_fen: int
    trip_fen: int
    reconnect_fen: int
    credit_limit_fen: int = 0

    @property
    def floor_fen(self) -> int:
        """Supply may be cut below it; equality never trips.

        Money, prepaid account: a credit limit only lowers the floor."""
        return self.trip_fen - self.credit_limit_fen


@dataclass(frozen=True, slots=True)
class Credit:
    """The credit state of an account.

    `episode_started_at`: start of its arrears episode, None outside of one."""

    status: CreditStatus
    episode_started_at: datetime | None


def credit_state(balance_fen: int, thresholds: Thresholds) -> CreditStatus:
    """Which of STATES."""
    reached = (thresholds.floor_fen, thresholds.trip_fen, thresholds.warn_fen)
    return STATES[sum(balance_fen >= it for it in reached)]


def next_credit(
    balance_fen: int,
    thresholds: Thresholds,
    episode_started_at: datetime | None,
    now: datetime,
) -> Credit:
    """The credit of an account with this balance, whose episode (if any) started then.

    An arrears episode starts when the account becomes exhausted and ends at the reconnect
    threshold; a part payment does not end it."""
    status = credit_state(balance_fen, thresholds)
    # Notices count for the episode in which they were delivered: a new start would void them.
    if status == "exhausted":
        return Credit(status, episode_started_at or now)
    if balance_fen >= thresholds.reconnect_fen:
        return Credit(status, None)
    return Credit(status, episode_started_at)
