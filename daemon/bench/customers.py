"""The customers of a bench: what they pay, and when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final


class Pays(StrEnum):
    """When a written or final notice came; when it is dark; or not at all."""

    TOLD = "told"
    DARK = "dark"
    NEVER = "never"


THINKS: Final = timedelta(hours=4)
"""From the moment at which a customer knows to the payment."""


@dataclass(slots=True)
class Customer:
    """One account. Amounts in fen."""

    account: str
    deposit_fen: int
    top_up_fen: int
    pays: Pays
    paid_fen: int = 0
    told_at: datetime | None = None
    """Since the last payment."""
    dark_since: datetime | None = None

    def wants_to_pay(self, now: datetime) -> bool:
        """True some hours after what moves this customer."""
        moved_at = {Pays.TOLD: self.told_at or self.dark_since, Pays.DARK: self.dark_since}
        at = moved_at.get(self.pays)
        return at is not None and now - at >= THINKS

    def has_paid(self, amount_fen: int) -> None:
        """What was told is done with."""
        self.paid_fen += amount_fen
        self.told_at = None
        self.dark_since = None


LEAST_FEN: Final = 4_000
STEP_FEN: Final = 300
"""By which what they pay at first differs: they do not all run out on one day, as nobody's do."""


def moods(accounts: list[str]) -> list[Customer]:
    """Of the example: every second one pays too little at first, and of these one in two pays when
    told, one in four when it is dark, and one in four never."""
    found = []
    little = (Pays.TOLD, Pays.DARK, Pays.TOLD, Pays.NEVER)
    for number, account in enumerate(accounts):
        if number % 2:
            found.append(Customer(account, 40_000, 10_000, Pays.TOLD))
        else:
            deposit_fen = LEAST_FEN + STEP_FEN * (number // 2)
            found.append(Customer(account, deposit_fen, 10_000, little[number // 2 % len(little)]))
    return found
