"""Look again at every account whose money and supply do not fit together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import structlog
from psycopg import AsyncConnection

from daemon.control.authority import Authority
from daemon.control.restoration import is_opened_by_others, is_to_be_restored
from daemon.control.trips import guard_trip, is_trip_due
from daemon.transactions.amnesty import restore_on_ramps
from daemon.transactions.breaker import watch
from daemon.transactions.control_facts import control_facts
from daemon.transactions.supply import request_trips, restore
from storage import field_jobs, ledger, supply

log = structlog.get_logger("control")
ACCOUNTS_AT_ONCE: Final = 1000
CAUSE: Final = "balance is good, or protected"


async def sweep(connection: AsyncConnection[Any], authority: Authority, now: datetime) -> None:
    """Look again at every account whose money and supply do not fit together.

    It heals whatever an event missed. Hundreds are looked at together and without a lock; where
    there is something to do, one transaction an account, so that no payment waits for the whole
    sweep."""
    # A line that is down takes no step: what waits for it would wait as long as it is.
    await supply.expire_trips(connection, now)
    # In shadow mode it could only wait: whoever opened it is another, and still has it in hand.
    of_others = not authority.shadow_mode
    # Before anybody is looked at: what emptied them may be a mistake of all.
    async with connection.transaction():
        await watch(connection, authority, now)
    accounts = await supply.accounts_to_look_at(connection)
    for start in range(0, len(accounts), ACCOUNTS_AT_ONCE):
        some = accounts[start : start + ACCOUNTS_AT_ONCE]
        for account in await _to_act_on(connection, authority, some, now):
            async with connection.transaction():
                # What was found a moment ago may have changed: all is looked at again here.
                await ledger.lock_accounts(connection, [account])
                await restore(connection, [account], CAUSE, now, of_others=of_others)
                await request_trips(connection, authority, [account], now)
    await restore_on_ramps(connection, now)
    # R89a, A12: what is overdue is seen from here, whatever became of its line.
    for number in await field_jobs.open_restore_jobs(connection):
        log.error("reconnect is overdue, somebody has to go there", job=number)


async def _to_act_on(
    connection: AsyncConnection[Any], authority: Authority, accounts: Sequence[int], now: datetime
) -> list[int]:
    """Those to be restored or cut, or of which the guard says something new."""
    points = await control_facts(connection, accounts, now)
    found = {
        point.account_id
        for point in points
        if is_to_be_restored(point) and not (authority.shadow_mode and is_opened_by_others(point))
    }
    trips = [guard_trip(point, authority, now) for point in points if is_trip_due(point)]
    last = await supply.last_verdicts(connection, [trip.point.point_id for trip in trips])
    found |= {
        trip.point.account_id
        for trip in trips
        if trip.is_allowed
        or last.get(trip.point.point_id) != (trip.verdict.decision, trip.verdict.reasons)
    }
    return sorted(found)
