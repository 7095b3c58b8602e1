"""What is missing now, and why."""

from __future__ import annotations

from datetime import date
from typing import Any

from psycopg import AsyncConnection

from daemon.quality.gap import Causes, Gap, Lacking, Outage, Try, gaps_of
from storage import gaps


async def find_gaps(connection: AsyncConnection[Any], since: date, newest: date) -> list[Gap]:
    """The gaps of all points from `since` to `newest`, by line and point; four statements."""
    points = [Lacking(*row, newest) for row in await gaps.lacking(connection, since, newest)]
    tries = {
        (meter, day): Try(cause, count, last_at, next_at)
        for meter, day, cause, count, last_at, next_at in await gaps.tries_since(connection, since)
    }
    outages = {
        line: Outage(down_since, reason, next_at)
        for line, down_since, reason, next_at in await gaps.outages(connection)
    }
    clocks = set(await gaps.wrong_clocks(connection, since))
    return gaps_of(points, Causes(tries, outages, clocks))
