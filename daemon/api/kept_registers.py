"""Registers that somebody collects are kept before they are told."""

from __future__ import annotations

import asyncio
from typing import Final
from zoneinfo import ZoneInfo

import psycopg

from daemon.acquisition.on_demand import CurrentRegisters, Keep
from daemon.transactions.raw_rows import keep_current
from storage.database import Pool

AT_ONCE: Final = 2
"""Connections that they use, however many are collected: the pool has other work."""


def keeping(pool: Pool, zone: ZoneInfo) -> Keep:
    """What keeps each as a raw reading of its own; it says why one was not kept."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def keep(current: CurrentRegisters) -> str:
        if current.registers[0] is None:
            return ""
        try:
            async with turns, pool.connection() as connection:
                await keep_current(connection, current, zone)
        except (psycopg.Error, OSError) as error:
            reason = str(error).strip().partition("\n")[0]
            return f"not kept, the database cannot be used: {reason}"
        return ""

    return keep
