"""Emergency credit: when it is offered, used, repaid and offered again (R63). Pure.

The ledger knows one balance. What of the credit is used follows from it: it is what the balance
lies below the trip threshold, up to the limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

EmergencyState = Literal["unavailable", "offered", "active", "repaid"]


@dataclass(frozen=True, slots=True)
class EmergencyCredit:
    """What the contract grants; `activation_fen` is the balance at which it is offered."""

    limit_fen: int
    activation_fen: int
    trip_fen: int
    is_automatic: bool = False

    def used_fen(self, state: EmergencyState, balance_fen: int) -> int:
        """What of an active credit is used up."""
        if state != "active":
            return 0
        return min(max(0, self.trip_fen - balance_fen), self.limit_fen)

    def available_fen(self, state: EmergencyState) -> int:
        """How far the ledger's balance may lie below the trip threshold: it lowers the floor."""
        return self.limit_fen if state == "active" else 0


def next_emergency(
    credit: EmergencyCredit,
    state: EmergencyState,
    was_fen: int,
    balance_fen: int,
    *,
    is_accepted: bool = False,
) -> EmergencyState:
    """The state when the balance went from one to another; `is_accepted` by the customer.

    What was used must be repaid in full, and the balance come above the activation threshold and
    fall to it again, before it is offered again."""
    if balance_fen > credit.activation_fen:
        return "unavailable"
    if state == "active":
        was_used = credit.used_fen("active", was_fen) > 0
        is_repaid = credit.used_fen("active", balance_fen) == 0
        return "repaid" if was_used and is_repaid else "active"
    if state == "repaid":
        return "repaid"
    return "active" if is_accepted or credit.is_automatic else "offered"
