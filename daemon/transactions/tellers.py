"""Who tells readings, as the database numbers them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from psycopg import AsyncConnection

from daemon.quality.arrival import Teller
from storage import tellers


async def number(connection: AsyncConnection[Any], told_by: Iterable[Teller | None]) -> None:
    """Let the database know those that it does not know yet; each knows its number then.

    A session tells thousands of readings: nearly always there is nothing to ask."""
    new = [teller for teller in told_by if teller is not None and not teller.id]
    if not new:
        return
    # What waited on disk may name one session in many readings.
    asked = list(dict.fromkeys((teller.line, teller.peer) for teller in new))
    known = dict(zip(asked, await tellers.number(connection, asked), strict=True))
    for teller in new:
        teller.id = known[teller.line, teller.peer]
