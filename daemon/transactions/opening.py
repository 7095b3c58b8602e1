"""Bill accounts that were opened after their opening freeze had been collected."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from daemon.billing.links import END_OF_TIME, BilledPoint
from daemon.transactions.settle import settle_points
from storage import ledger


async def open_accounts(
    connection: AsyncConnection[Any],
    points: Mapping[str, BilledPoint],
    zone: ZoneInfo,
    now: datetime,
) -> None:
    """Bill accounts that were opened after their opening freeze had been collected.

    The others wait for it (R41: no opening reading, no active account)."""
    async with connection.transaction():
        # Whatever day the account is opened from: its whole chain after that day is linked at once.
        waiting = await ledger.points_to_open(connection)
        await settle_points(
            connection,
            {point: (day, END_OF_TIME) for point, day in waiting.items()},
            points,
            zone,
            now,
        )
