"""What a bench of daemon and meters asks the database that the daemon has."""

from __future__ import annotations

from datetime import date, datetime
from typing import NamedTuple

from storage.sql import Connection, fetch_rows, load

SQL = load("bench")


class Outcome(NamedTuple):
    """What became of an account. `billed_to`: all its points are billed up to 00:00 of this day."""

    account: str
    balance_fen: int
    billed_to: date | None
    days_withheld: int


class WorkLeft(NamedTuple):
    """What the daemon has to do now, and how many statements it is at. Neither: it waits for time
    to pass."""

    waiting: int
    running: int


async def work_left(connection: Connection) -> WorkLeft:
    """Asked as the role that the daemon is."""
    (row,) = await fetch_rows(connection, SQL["work_left"])
    return WorkLeft._make(row)


async def clock(connection: Connection) -> datetime:
    """What the database takes for the time."""
    ((now,),) = await fetch_rows(connection, SQL["clock"])
    assert isinstance(now, datetime)
    return now


async def outcomes(connection: Connection) -> list[Outcome]:
    """Of every account, in the order of their numbers."""
    return list(map(Outcome._make, await fetch_rows(connection, SQL["outcomes"])))
