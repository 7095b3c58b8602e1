"""Supply that is not as we hold it: whose case a person has to look into (A10). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Literal

USED: Final = Decimal("0.1")
"""kWh before the ratio; a register that was half a step from the next one may still make it."""
CASE_LASTS: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class HeldSupply:
    """A point that is cut, or whose relay was seen open although we hold it closed.

    The fields are the columns of the statement that loads them. `used`: in steps of the register
    with `decimals`, from the first published freeze since it was cut (and since its last case was
    closed) to the newest, None where there are not two of one meter."""

    point_id: int
    point: str
    account_id: int | None
    address: str
    line: str
    supply_state: str
    relay_observed: str
    relay_observed_at: datetime | None
    relay_evidence: str | None
    decimals: int
    used: int | None

    @property
    def used_kwh(self) -> Decimal | None:
        """Before the ratio."""
        return None if self.used is None else Decimal(self.used).scaleb(-self.decimals)


@dataclass(frozen=True, slots=True)
class Case:
    """What a person has to look into. `seen_at`: None where registers told it."""

    kind: Literal["foreign_open", "foreign_closed"]
    cause: str
    seen_at: datetime | None


def case_of(held: HeldSupply) -> Case | None:
    """What does not fit between the point as we hold it and as its meter tells it."""
    seen_at = held.relay_observed_at
    if held.supply_state == "energised" and held.relay_observed == "open":
        return Case("foreign_open", "the relay is open, and not by us", seen_at)
    if held.supply_state != "disconnected":
        return None
    if held.relay_observed == "closed":
        return Case("foreign_closed", "the relay is closed although we hold it open", seen_at)
    used = held.used_kwh
    if used is not None and used > USED:
        return Case("foreign_closed", f"{used} kWh were used while it is cut", None)
    return None


def is_proven_dark(held: HeldSupply) -> bool:
    """Evidence of grade A: the relay tells that it is open, and nothing was counted since."""
    is_cut = held.supply_state == "disconnected" and held.relay_observed == "open"
    used = held.used_kwh
    return is_cut and used is not None and used <= USED and held.relay_evidence != "A"
