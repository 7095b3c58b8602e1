"""Where relays are, as lines saw them without a command (A10)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection

from daemon.quality.arrival import RelayRead
from storage import ledger, supply
from storage.supply import RelaySeen


async def take_relays(
    connection: AsyncConnection[Any],
    reads: Sequence[RelayRead],
    host_now: Callable[[], datetime] | None = None,
) -> None:
    """Keep where relays were, by the database's clock. The sweep finds what does not fit.

    The accounts are locked: a command of one of them is before or after, never beside. `host_now`:
    the clock that dated the reads, None where it shows the same."""
    # Of one meter the last word counts.
    last = {it.meter.meter_id: it for it in sorted(reads, key=lambda it: it.at)}
    async with connection.transaction():
        await ledger.lock_accounts(connection, await supply.accounts_of_meters(connection, last))
        ahead = timedelta(0)
        if host_now is not None:
            ahead = host_now() - await supply.database_clock(connection)
        await supply.see_relays(connection, [_seen(it, ahead) for it in last.values()])


def _seen(read: RelayRead, ahead: timedelta) -> RelaySeen:
    return RelaySeen(
        read.meter.meter_id,
        read.relay.relay_open,
        read.relay.command_open,
        read.relay.keep_power,
        read.at - ahead,
    )
