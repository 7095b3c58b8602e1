"""Who typed what that changes something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from storage.sql import Connection, load

SQL = load("acts")


class Act(NamedTuple):
    """`actor`: whom it is done for. `by_way_of`: the user and the terminal of the machine where it
    was typed."""

    actor: str
    by_way_of: str
    command: str


async def note_acts(connection: Connection, acts: Sequence[Act]) -> None:
    """Whatever comes of them."""
    actors, ways, commands = map(list, zip(*acts, strict=True))
    values = {"actors": actors, "ways": ways, "commands": commands}
    await connection.execute(SQL["note_acts"].encode(), values)
