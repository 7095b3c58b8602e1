"""What control must know of accounts, asked in one look with their rows locked."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from daemon.control.facts import PointFacts
from daemon.control.sources import PROBATION
from storage import supply


async def control_facts(
    connection: AsyncConnection[Any], accounts: Iterable[int], now: datetime
) -> list[PointFacts]:
    """The facts of every point of these accounts, whose rows the caller has locked."""
    return await supply.control_facts(
        connection, accounts, now, PointFacts, sources_since=now - PROBATION
    )
