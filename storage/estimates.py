"""What an account's balance is estimated from between two freezes (R65)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from zoneinfo import ZoneInfo

from storage.links import LinkRow
from storage.sql import Connection, fetch_rows, load

SQL = load("estimates")


class CurrentRow(NamedTuple):
    """What a meter told of a moment: total and rates in the register's smallest step."""

    meter_id: int
    at: datetime
    registers: Sequence[int]


class SinceBilled(NamedTuple):
    """A point of an account.

    `last`: its newest link, with the register and ratio that are in force where it ends, None: it
    has none. `current`: the newest registers of a moment behind it, None: none were read.
    `is_documented`: a meter or ratio came behind it. `max_daily_kwh`: in register units."""

    point_id: int
    point: str
    last: LinkRow | None
    current: CurrentRow | None
    max_daily_kwh: Decimal
    is_documented: bool


async def since_billed(connection: Connection, account: str, zone: ZoneInfo) -> list[SinceBilled]:
    """The points that an active account has, by number."""
    values = {"account": account, "zone": zone.key}
    found = []
    for row in await fetch_rows(connection, SQL["of_account"], values):
        point_id, point, max_daily_kwh, is_documented, *told = row
        link, current = told[:10], told[10:]
        last = None if link[1] is None else LinkRow._make([point_id, *link, None, None])
        read = None if current[0] is None else CurrentRow(*current)
        found.append(SinceBilled(point_id, point, last, read, max_daily_kwh, bool(is_documented)))
    return found


async def near_real_time_meters(connection: Connection) -> list[int]:
    """The meters of active accounts whose balance is estimated every hour."""
    return [meter for (meter,) in await fetch_rows(connection, SQL["near_real_time_meters"])]
