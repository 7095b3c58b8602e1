"""What the journal of commands tells to whoever looks at it again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from storage.seals import BEFORE_ALL
from storage.sql import Connection, fetch_records, load

SQL = load("audit")
AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class SentTrip:
    """A trip at the moment that it was sent. `guard`: what was kept of why; None: nothing.

    `is_heard_before`: it was kept of an earlier step of the trip already."""

    place: int
    point: str
    address: str
    command: UUID
    at: datetime
    guard: Any
    is_heard_before: bool


@dataclass(frozen=True, slots=True)
class Unjournalled:
    """A trip whose frames the journal does not tell one by one."""

    point: str
    command: UUID
    sends: int
    told: int


async def sent_trips(connection: Connection) -> AsyncIterator[SentTrip]:
    """All of them in the order of the journal; as many in memory as are asked for at once."""
    behind = BEFORE_ALL
    while True:
        values = {"behind": behind, "most": AT_ONCE}
        trips = await fetch_records(connection, SentTrip, SQL["sent_trips"], values)
        for trip in trips:
            yield trip
        if len(trips) < AT_ONCE:
            return
        behind = trips[-1].place


async def unjournalled(connection: Connection) -> list[Unjournalled]:
    """Trips whose count of frames is not that of the journal."""
    return await fetch_records(connection, Unjournalled, SQL["unjournalled"])
