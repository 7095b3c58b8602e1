"""Whether the database stores, by what became of the last batch."""

from __future__ import annotations

import time

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

    @property
    def is_spooling(self) -> bool:
        """True while what comes belongs on disk."""
        under_way_s = 0.0 if self._began is None else time.monotonic() - self._began
        return under_way_s > self._pauses.hanging_s or not self.stores

    @property
    def retry_s(self) -> float:
        """How long to wait after so many failures."""
        retries_s = self._pauses.retries_s
        return retries_s[min(self._failures, len(retries_s)) - 1]

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
