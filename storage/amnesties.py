"""Amnesties: who is still cut, and how many of them are coming back."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from storage.sql import Connection, fetch_row, fetch_rows, load

SQL = load("amnesties")
RAMP_LOCK = 0x6D65746D
"""Advisory lock of whoever decides how many come back.

Not the site's, which a daemon never gives back."""


async def amnesties(connection: Connection, now: datetime) -> list[tuple[int, int, int]]:
    """(number, kW within a minute, kW of a point) of those that hold now, the first one first."""
    return await fetch_rows(connection, SQL["amnesties"], {"now": now})


async def lock_ramps(connection: Connection) -> None:
    """One decides at a time, so that each counts what the others let come back.

    After the accounts and their commands."""
    await connection.execute(SQL["lock_ramps"], {"lock": RAMP_LOCK})


async def still_cut(
    connection: Connection, number: int, most: int, *, of_lines_down: bool
) -> list[tuple[int, int]]:
    """(account, point) of an amnesty's points that are cut and not on their way back.

    `of_lines_down`: also those that no frame can reach now."""
    values = {"number": number, "most": most, "of_lines_down": of_lines_down}
    return await fetch_rows(connection, SQL["still_cut"], values)


async def left_dark(connection: Connection, number: int) -> list[str]:
    """The points of a mark that are cut and not on their way back."""
    found = await fetch_rows(connection, SQL["left_dark"], {"number": number})
    return [point for (point,) in found]


async def coming_back(
    connection: Connection,
    number: int,
    now: datetime,
    window: timedelta,
    *,
    but: UUID | None = None,
    with_unsent: bool = False,
) -> int:
    """How many of an amnesty's points come back: their reconnect was sent within the window or,
    `with_unsent`, is to be sent soon. `but`: without this one."""
    asked = {"number": number, "now": now, "window": window}
    values = {**asked, "but": but, "with_unsent": with_unsent}
    row = await fetch_row(connection, SQL["coming_back"], values)
    assert row is not None, "a count has a row"
    count: int = row[0]
    return count
