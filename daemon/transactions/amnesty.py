"""Restore whom an amnesty restores, as fast as its ramp lets them come back."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from daemon.control.ramp import WINDOW, Ramp, amnesty_of, cause_of, next_portion
from daemon.control.restoration import is_locked_off
from daemon.transactions.control_facts import supply_facts
from daemon.transactions.supply import bring_back
from storage import amnesties, ledger
from storage.supply import Command


async def restore_on_ramps(connection: AsyncConnection[Any], now: datetime) -> None:
    """The next portion of each amnesty that holds."""
    for number, *kw in await amnesties.amnesties(connection, now):
        await _restore_some(connection, number, Ramp(*kw), now)


async def is_ramp_full(
    connection: AsyncConnection[Any], command: Command, account: int | None, now: datetime
) -> bool:
    """Whether a reconnect of an amnesty has to wait.

    A line that was down brings many of them at once. Whoever paid meanwhile does not wait. The
    caller has locked the account and the command."""
    number = amnesty_of(command.cause)
    if number is None or account is None:
        return False
    ramps = {mark: Ramp(*kw) for mark, *kw in await amnesties.amnesties(connection, now)}
    if number not in ramps:
        return False
    facts = await supply_facts(connection, [account], now)
    if any(it.point_id == command.point_id and it.balance_fen >= it.reconnect_fen for it in facts):
        return False
    await amnesties.lock_ramps(connection)
    under_way = await amnesties.coming_back(connection, number, now, WINDOW, but=command.id)
    return not next_portion(ramps[number], under_way, [command])


async def _restore_some(
    connection: AsyncConnection[Any], number: int, ramp: Ramp, now: datetime
) -> None:
    # What is asked for on a line that is down waits there, and leaves at once when it is back, also
    # when the amnesty is over by then and has no ramp any more.
    found = await amnesties.still_cut(
        connection, number, ramp.points_per_minute, of_lines_down=False
    )
    if not found:
        return
    async with connection.transaction():
        accounts = {account for account, _ in found}
        await ledger.lock_accounts(connection, accounts)
        await amnesties.lock_ramps(connection)
        # What was found a moment ago may have changed: all is looked at again here.
        under_way = await amnesties.coming_back(connection, number, now, WINDOW, with_unsent=True)
        facts = {it.point_id: it for it in await supply_facts(connection, accounts, now)}
        cut = [
            facts[point]
            for _, point in found
            if point in facts
            and facts[point].supply_state in ("disconnected", "trip_commanded")
            and not is_locked_off(facts[point].said.marks)
        ]
        await bring_back(connection, next_portion(ramp, under_way, cut), cause_of(number), now)
