"""Days of which something is to be said: withheld, disputed, or with use that is not billed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple

from storage.sql import Connection, fetch_records, load

SQL = load("doubts")


@dataclass(frozen=True, slots=True)
class DoubtRow:
    """One day of one point. Registers in the smallest step, of `decimals`.

    `held_from`: where the use begins that ends here and is held. `before`, `behind`: what stands
    next to it. `waiting`: the decision about it that waits for somebody else. `said_day`,
    `said_total`: the nearest value that a person released. `found`: the command of a finding about
    the meter. `limit_basis`: what the limit follows from that holds now, of a spike. `document`:
    the last one that told a register inside use that is held as a spike. What stands behind `since`
    is known where a person has to act."""

    point: str
    account: str | None
    meter: str | None
    line: str | None
    day: date
    state: str
    total: int | None
    decimals: int | None
    codes: Sequence[str]
    next_step: str | None
    hold: str | None
    held_from: date
    since: datetime
    before_day: date | None
    before: int | None
    before_is_substitute: bool | None
    behind_day: date | None
    behind: int | None
    behind_is_substitute: bool | None
    waiting: int | None
    waiting_maker: str | None
    waiting_action: str | None
    waiting_total: int | None
    skew_s: int | None
    said_day: date | None
    said_total: int | None
    found: str | None
    limit_basis: str | None
    document: int | None

    def kwh(self, steps: int | None) -> str | None:
        """A register as persons write it."""
        return None if steps is None else f"{Decimal(steps).scaleb(-(self.decimals or 0)):f}"


class Wanted(NamedTuple):
    """Which days are asked for; None: whatever it is. `code`: a rule's, or a reason of holds."""

    until: date
    points: Sequence[str] | None = None
    account: str | None = None
    state: str | None = None
    code: str | None = None


async def doubts(connection: Connection, wanted: Wanted) -> list[DoubtRow]:
    """By point and day. A point that is not doubted costs nothing."""
    return await fetch_records(connection, DoubtRow, SQL["doubts"], wanted._asdict())
