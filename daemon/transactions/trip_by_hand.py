"""A person asks that an account be cut now: the guard is heard as for any other trip."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from daemon.control.authority import Authority
from daemon.control.trips import GuardedTrip
from daemon.transactions.supply import request_trips
from protocols.errors import MeterdError
from storage import archive, ledger
from storage.documents import Said


class TripRefused(MeterdError):
    """An account that cannot be cut so. Who typed it acts."""


async def trip_by_hand(
    connection: AsyncConnection[Any],
    authority: Authority,
    account: str,
    said: Said,
    now: datetime,
) -> list[GuardedTrip]:
    """Ask for trips of an account's points; returns what the guard said of each.

    No person's word takes the place of a rule: it is heard once more when the frame leaves.
    TripRefused: there is nothing to be cut."""
    number = await archive.account_id(connection, account)
    if number is None:
        raise TripRefused(f"no account {account}")
    async with connection.transaction():
        await ledger.lock_accounts(connection, [number])
        cause = f"asked for by {said.actor}: {said.reason}"
        trips = await request_trips(connection, authority, [number], now, cause)
    if not trips:
        raise TripRefused(
            f"nothing of account {account} can be cut: it is not exhausted, is cut, or was tried a "
            f"moment ago: meterd supply show --account {account}"
        )
    return trips
