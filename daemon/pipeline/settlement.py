"""Moves the money of what was stored: T2, beside the storing."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import psycopg
import structlog

from daemon.control.authority import Authority
from daemon.pipeline.pauses import Pauses
from daemon.pipeline.portions import LEAST_DRAINED
from daemon.spool.spool import Spool
from daemon.transactions.collect import settle_marked
from daemon.transactions.next_days import usual_pace
from daemon.transactions.right_of_way import RightOfWay
from storage import supply
from storage.blame import is_of_the_whole
from storage.database import LONG_USE_S, Pool

log = structlog.get_logger("pipeline")


FAILURE_SHOWN_S: Final = 24 * 3600.0
"""Most is settled once a day."""


class Settlement:
    """Settles what is marked in the database, so nothing is forgotten by a kill."""

    def __init__(self, pool: Pool, authority: Authority, spool: Spool, pauses: Pauses) -> None:
        self.asked = asyncio.Event()
        """Set when something may be marked."""
        self._pool = pool
        self._authority = authority
        self._spool = spool
        self._pauses = pauses
        self.right_of_way = RightOfWay()
        """Of payments, before the next accounts."""
        self._pace = usual_pace()
        self._failed: tuple[float, str] | None = None
        """When many accounts at once could last not be settled (monotonic), and why."""

    @property
    def condition(self) -> str:
        """`ok`, or why accounts were settled one by one within the last day."""
        if self._failed is None or time.monotonic() - self._failed[0] > FAILURE_SHOWN_S:
            return "ok"
        return f"one by one: {self._failed[1]}"

    async def run(self) -> None:
        """Settle whenever it is asked for, until cancelled."""
        while True:
            await self.asked.wait()
            await self._let_readings_go_first()
            self.asked.clear()
            try:
                async with self._pool.connection(lasts_s=LONG_USE_S) as connection:
                    failures = await settle_marked(
                        connection,
                        self._authority,
                        await supply.database_clock(connection),
                        give_way=self.right_of_way.given,
                        pace=self._pace,
                    )
                for error in failures:
                    self._failed = time.monotonic(), f"{type(error).__name__}: {error}".strip()
            except psycopg.Error as error:
                if not is_of_the_whole(error):
                    raise
                log.debug("settlement waits for the database", error=str(error).strip())
                await asyncio.sleep(self._pauses.settle_again_s)
                self.asked.set()

    async def _let_readings_go_first(self) -> None:
        """What waits on disk is stored before money is moved, which costs the database more."""
        ends_at = time.monotonic() + self._pauses.readings_first_s
        while time.monotonic() < ends_at:
            if self._spool.readings <= LEAST_DRAINED:
                break
            await asyncio.sleep(self._pauses.look_s)
