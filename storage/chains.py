"""What whoever changes the slots of a chain, or what they are judged by, does first."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from storage.sql import Connection, array, load

SQL = load("chains")
CHAIN_LOCK = 0x6D657466
"""Advisory lock of whoever judges, or changes what is judged."""


async def lock_chains(connection: Connection) -> None:
    """Until the transaction ends nobody else judges, or changes what is judged.

    First of all locks: then points, accounts, their marks and ledger accounts, each in order of
    their ids. Whoever marks accounts holds it: a transaction may mark several times, and not in one
    order."""
    await connection.execute(SQL["lock_chains"], {"lock": CHAIN_LOCK})


async def act_as(connection: Connection, actor: str) -> None:
    """Until the transaction ends, journals name `actor` for what changes."""
    await connection.execute(SQL["act_as"], {"actor": actor})


async def begin(connection: Connection, days: Iterable[date], writer: int | None = None) -> None:
    """Lock the chains, and make room for slots and readings of these days.

    `writer`: who puts slots and knows of which points."""
    months = {day.replace(day=1) for day in days}
    values = {
        "lock": CHAIN_LOCK,
        "months": array(sorted(months)),
        "writer": "" if writer is None else str(writer),
    }
    await connection.execute(SQL["begin"], values)
