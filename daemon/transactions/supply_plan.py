"""Whom the guard would let be cut now, and why not the others. Nothing is written."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from psycopg import AsyncConnection

from daemon.control.authority import Authority
from daemon.control.trips import GuardedTrip, guard_trip, is_trip_due
from daemon.transactions.control_facts import control_facts
from storage import supply

ACCOUNTS_AT_ONCE: Final = 1000


async def supply_plan(
    connection: AsyncConnection[Any], authority: Authority, now: datetime
) -> list[GuardedTrip]:
    """Every point for which money asks for a trip, with what the guard says of it now.

    No row is locked: a moment later it may say something else."""
    accounts = await supply.accounts_to_ask_about(connection)
    found: list[GuardedTrip] = []
    for start in range(0, len(accounts), ACCOUNTS_AT_ONCE):
        some = accounts[start : start + ACCOUNTS_AT_ONCE]
        points = await control_facts(connection, some, now)
        found += [guard_trip(it, authority, now) for it in points if is_trip_due(it)]
    return found
