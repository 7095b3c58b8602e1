"""What whoever changes the slots of a chain, or what they are judged by, does first."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Final, NamedTuple

from storage.sql import Connection, array, fetch_rows, load

SQL = load("chains")
CHAIN_LOCK = 0x6D657466
"""Advisory lock of whoever judges, or changes what is judged."""
NAMED: Final = 0


async def lock_chains(connection: Connection) -> None:
    """Until the transaction ends nobody else judges, or changes what is judged.

    First of all locks: then points, accounts, their marks and ledger accounts, each in order of
    their ids. Whoever marks accounts holds it: a transaction may mark several times, and not in one
    order."""
    await connection.execute(SQL["lock_chains"], {"lock": CHAIN_LOCK})


async def act_as(connection: Connection, actor: str) -> None:
    """Until the transaction ends, journals name `actor` for what changes."""
    await connection.execute(SQL["act_as"], {"actor": actor})


class Change(NamedTuple):
    """Of a point or of a meter; of neither: `writer` has put slots that nobody names.

    `writer` NAMED: slots of points that are named by changes of their own."""

    id: int
    writer: int | None
    point_id: int | None
    meter_id: int | None


async def begin(
    connection: Connection,
    days: Iterable[date],
    writer: int | None = None,
    seen: int | None = None,
    most: int = 1,
) -> list[Change]:
    """Lock the chains, make room for slots and readings of these days, and look what was changed.

    `writer`: who puts slots and knows of which points. `seen`: the last change it looked at.
    Returns that one and those behind it, at most so many: another first one says that it is not
    there any more. Of nothing seen it is the last one of all."""
    values = {
        "lock": CHAIN_LOCK,
        "months": array(sorted({day.replace(day=1) for day in days})),
        "writer": "" if writer is None else str(writer),
        "seen": seen,
        "most": most,
    }
    return [Change(*row) for row in await fetch_rows(connection, SQL["begin"], values)]
