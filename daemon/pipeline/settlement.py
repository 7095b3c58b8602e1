"""Moves the money of what was stored: T2, beside the storing."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Final

import psycopg
import structlog

from daemon.control.authority import Authority
from daemon.pipeline.in_memory import LOOK_S
from daemon.pipeline.portions import LEAST_DRAINED
from daemon.spool.spool import Spool
from daemon.transactions.collect import settle_marked
from storage.database import LONG_USE_S, Pool, is_of_the_whole

log = structlog.get_logger("pipeline")

SETTLE_AGAIN_S: Final = 2.0
READINGS_FIRST_S: Final = 30.0
"""Maximum time that money waits for readings that wait on disk."""


class Settlement:
    """Settles what is marked in the database, so nothing is forgotten by a kill."""

    def __init__(self, pool: Pool, authority: Authority, spool: Spool) -> None:
        self.asked = asyncio.Event()
        """Set when something may be marked."""
        self._pool = pool
        self._authority = authority
        self._spool = spool

    async def run(self) -> None:
        """Settle whenever it is asked for, until cancelled."""
        while True:
            await self.asked.wait()
            await self._let_readings_go_first()
            self.asked.clear()
            try:
                async with self._pool.connection(lasts_s=LONG_USE_S) as connection:
                    await settle_marked(connection, self._authority, datetime.now(UTC))
            except psycopg.Error as error:
                if not is_of_the_whole(error):
                    raise
                log.debug("settlement waits for the database", error=str(error).strip())
                await asyncio.sleep(SETTLE_AGAIN_S)
                self.asked.set()

    async def _let_readings_go_first(self) -> None:
        """What waits on disk is stored before money is moved, which costs the database more."""
        ends_at = time.monotonic() + READINGS_FIRST_S
        while time.monotonic() < ends_at:
            if self._spool.readings <= LEAST_DRAINED:
                break
            await asyncio.sleep(LOOK_S)
