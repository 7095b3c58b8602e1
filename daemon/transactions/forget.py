"""What was kept long enough goes, a little at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

from storage import retention
from storage.database import LONG_USE_S, Pool

PORTION = 2000
"""Rows deleted in one transaction."""


async def forget(pool: Pool, now: datetime) -> AsyncIterator[tuple[str, int]]:
    """Delete everything whose time is over at `now`: table and rows of each portion that is gone.

    Each has a connection of its own, so that whoever else wants one comes between. psycopg.Error
    ends it; the next time goes on with the rest."""
    for table in retention.BY_ROWS:
        while True:
            async with pool.connection() as connection:
                rows = await retention.forget_rows(connection, table, now, PORTION)
            yield table, rows
            if rows < PORTION:
                break
    while True:
        async with pool.connection(lasts_s=LONG_USE_S) as connection:
            month = await retention.forget_month(connection, now)
        if not month:
            break
        for table, rows in month.items():
            yield table, rows
