"""A person restores those who are cut, whatever they owe, and holds them so."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, NamedTuple

import structlog
from psycopg import AsyncConnection

from daemon.transactions.control_facts import control_facts
from daemon.transactions.supply import bring_back
from daemon.transactions.supply_marks import Marked, set_mark
from storage import amnesties, ledger
from storage.documents import Said

log = structlog.get_logger("control")
AT_ONCE: Final = 200
"""Points of one transaction, behind which no payment waits for long."""


class Restored(NamedTuple):
    """`mark`: the hold that keeps them on. `points`: how many are on their way back. `left_dark`:
    those that are not, because they are kept off, or a reconnect failed just now."""

    mark: int
    points: int
    left_dark: list[str]


async def restore_by_hand(
    connection: AsyncConnection[Any], marked: Marked, said: Said, now: datetime
) -> Restored:
    """Hold a part of the site, or all of it, and restore whoever is cut there.

    Without the hold they would be cut again in the next moment. MarkRefused: there is nobody of
    that name."""
    mark = await set_mark(connection, "hold", marked, said)
    cause = f"restored by {said.actor}: {said.reason}"
    seen: set[int] = set()
    restored = 0
    while found := [
        it
        for it in await amnesties.still_cut(
            connection, mark, len(seen) + AT_ONCE, of_lines_down=True
        )
        if it[1] not in seen
    ]:
        seen |= {point for _, point in found}
        async with connection.transaction():
            accounts = {account for account, _ in found}
            await ledger.lock_accounts(connection, accounts)
            meant = {point for _, point in found}
            cut = [
                it
                for it in await control_facts(connection, accounts, now)
                if it.point_id in meant
                and it.supply_state in ("disconnected", "trip_commanded")
                and it.ordered is None
            ]
            restored += len(await bring_back(connection, cut, cause, now))
    left_dark = await amnesties.left_dark(connection, mark)
    log.warning(
        "restored by hand",
        actor=said.actor,
        points=restored,
        mark=mark,
        left_dark=len(left_dark),
    )
    return Restored(mark, restored, left_dark)
