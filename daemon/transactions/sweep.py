"""Look again at every account whose money and supply do not fit together."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import structlog
from psycopg import AsyncConnection

from daemon.control.authority import Authority
from daemon.transactions.supply import request_trips, restore
from storage import field_jobs, ledger, supply

log = structlog.get_logger("control")


async def sweep(connection: AsyncConnection[Any], authority: Authority, now: datetime) -> None:
    """Look again at every account whose money and supply do not fit together.

    It heals whatever an event missed. One transaction an account, so that no payment waits for
    the whole sweep."""
    for account in await supply.accounts_to_look_at(connection):
        async with connection.transaction():
            # What was found a moment ago may have changed: everything is looked at again here.
            await ledger.lock_accounts(connection, [account])
            await restore(connection, [account], "balance is back, or protected", now)
            await request_trips(connection, authority, [account], now)
    # R89a, A12: what is overdue is seen from here, whatever became of its line.
    for number in await field_jobs.open_restore_jobs(connection):
        log.error("reconnect is overdue, somebody has to go there", job=number)
