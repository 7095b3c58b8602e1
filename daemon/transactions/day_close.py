"""Closes the days of the site whose end has come, and lets be settled who pays by the day."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from psycopg import AsyncConnection

from daemon.billing.day_close import days_to_close, next_to_close
from storage import terms
from storage.chains import lock_chains

log = structlog.get_logger("billing")


async def close_days(
    connection: AsyncConnection[Any], zone: ZoneInfo, now: datetime
) -> date | None:
    """Close every day that is over, in order; returns the first one that is open then, None where
    no account was ever opened.

    `now`: by the database's clock. Without a day to close it is one statement, whose cost does not
    grow. Several may call it at once, and again: no day is closed twice."""
    known = await terms.known_days(connection)
    if known.opening is None:
        return None
    if days_to_close(now, zone, known.opening, known.closed):
        async with connection.transaction():
            await lock_chains(connection)
            # Somebody else may have closed them while this one waited.
            known = await terms.known_days(connection)
            assert known.opening is not None, "accounts are never deleted"
            due = days_to_close(now, zone, known.opening, known.closed)
            if due:
                marked = await terms.close_days(connection, due)
                log.info("days closed", first=due[0], last=due[-1], days=len(due), accounts=marked)
        known = await terms.known_days(connection)
    return _first_open(known)


async def first_open_day(connection: AsyncConnection[Any]) -> date | None:
    """The first day that is not closed; None where no account was ever opened."""
    return _first_open(await terms.known_days(connection))


def _first_open(known: terms.KnownDays) -> date | None:
    return known.opening and next_to_close(known.opening, known.closed)
