"""Points that one transaction does not judge with the others: marked, and judged some at a time."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from psycopg import AsyncConnection

from daemon.transactions.judging import POINTS_AT_ONCE, rejudge
from daemon.transactions.portions import Clock, in_portions
from storage import judging
from storage.chains import lock_chains
from storage.settling import mark_points

log = structlog.get_logger("quality")


@dataclass
class Found:
    """What judging those that waited showed; the fields are those of `Judged`."""

    recollect: set[tuple[int, date]] = field(default_factory=set)
    is_doubtful: bool = False


async def judge_waiting(
    connection: AsyncConnection[Any],
    zone: ZoneInfo,
    clock: Clock = time.monotonic,
    within_s: float = math.inf,
) -> Found:
    """Judge every point that waits for it, and mark whose money that moves.

    Marks are made with what is to be judged, so a kill in between loses none. A point that cannot
    be judged keeps its mark with the reason."""
    found = Found()

    async def some(most: int, taken: list[int]) -> bool:
        async with connection.transaction():
            await lock_chains(connection)
            waiting = await judging.take_waiting(connection, most)
            taken += waiting
            judged = await rejudge(connection, waiting, zone)
            await mark_points(connection, judged.changed, "judged")
        found.recollect |= judged.recollect
        found.is_doubtful |= judged.is_doubtful
        return bool(waiting)

    async def later(point: int, error: Exception) -> None:
        log.error("point cannot be judged", point_id=point, error=str(error))
        await judging.put_off(connection, point, f"{type(error).__name__}: {error}")

    await in_portions(some, later, POINTS_AT_ONCE, clock, within_s)
    return found
