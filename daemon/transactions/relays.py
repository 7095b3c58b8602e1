"""Where relays are, as lines saw them without a command (A10)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import AsyncConnection

from daemon.quality.arrival import RelayRead
from storage import ledger, supply
from storage.supply import RelaySeen


async def take_relays(connection: AsyncConnection[Any], reads: Sequence[RelayRead]) -> None:
    """Keep where relays were. The sweep finds what does not fit.

    The accounts are locked: a command of one of them is before or after, never beside."""
    # Of one meter the last word counts.
    last = {it.meter.meter_id: it for it in sorted(reads, key=lambda it: it.at)}
    async with connection.transaction():
        await ledger.lock_accounts(connection, await supply.accounts_of_meters(connection, last))
        await supply.see_relays(connection, [_seen(it) for it in last.values()])


def _seen(read: RelayRead) -> RelaySeen:
    return RelaySeen(
        read.meter.meter_id,
        read.relay.relay_open,
        read.relay.command_open,
        read.relay.keep_power,
        read.at,
    )
