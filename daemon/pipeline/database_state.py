"""Whether the database stores, by what became of the last batch."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import structlog

from daemon import metrics
from daemon.pipeline.pauses import Pauses

log = structlog.get_logger("pipeline")


class DatabaseState:
    """What is known of it now, and how long it is left in peace after a failure."""

    def __init__(self, pauses: Pauses, *, stores: bool) -> None:
        self.stores = stores
        self.last_stored_at: float | None = None
        """Monotonic."""
        self._pauses = pauses
        self._failures = 0
        """In a row."""
        self._cannot_since = time.monotonic()
        self._began: float | None = None
        """When the batch that is under way was begun."""
        self.asked_again = asyncio.Event()
        """Set when there is a reason to try it at once."""

    @property
    def is_spooling(self) -> bool:
        """True while what comes belongs on disk."""
        return self.under_way_s > self._pauses.hanging_s or not self.stores

    @property
    def under_way_s(self) -> float:
        """How long the batch has taken that is under way; 0 without one."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    async def pause(self) -> None:
        """Leave it in peace, the longer the more often it failed, up to the last of `retries_s`."""
        retries_s = self._pauses.retries_s
        with suppress(TimeoutError):
            async with asyncio.timeout(retries_s[min(self._failures, len(retries_s)) - 1]):
                await self.asked_again.wait()
        self.asked_again.clear()

    def begin(self) -> None:
        """A batch is under way."""
        self._began = time.monotonic()

    def end(self) -> None:
        """It is not any more, whatever became of it."""
        self._began = None

    def note_failure(self, error: Exception, spool_bytes: int) -> None:
        """It cannot store."""
        if self.stores:
            self.stores = False
            self._cannot_since = time.monotonic()
            log.error(
                "the database cannot store, readings go to the spool",
                error=str(error),
                spool=spool_bytes,
            )
        self._failures += 1
        metrics.BATCHES.labels("database_away").inc()

    def note_stored(self, spooled: int) -> None:
        """It stores. `spooled`: readings that wait on disk."""
        self.last_stored_at = time.monotonic()
        metrics.LAST_STORED.set_to_current_time()
        self._failures = 0
        if not self.stores:
            self.stores = True
            log.info(
                "the database stores again",
                away_s=round(time.monotonic() - self._cannot_since, 1),
                readings=spooled,
            )
