"""What was changed of chains, and of what they are judged by, in the order of the changes."""

from __future__ import annotations

from typing import NamedTuple

from storage.sql import Connection, fetch_rows, load

SQL = load("chain_changes")
NAMED = 0
"""The writer of slots whose points are named by other rows."""


class Change(NamedTuple):
    """Of a point or of a meter; of neither: a writer has put slots that nobody names."""

    id: int
    writer: int | None
    point_id: int | None
    meter_id: int | None


async def look(connection: Connection, seen: int | None, most: int) -> list[Change]:
    """The change that was seen last, and those behind it, at most so many.

    The caller holds the lock on the chains. The first one is another where that one is not there
    any more; of None it is the last of all."""
    values = {"seen": seen, "most": most}
    return [Change(*row) for row in await fetch_rows(connection, SQL["look"], values)]
