"""Whether the database stores, by what became of the last batch."""

from __future__ import annotations

import time
from typing import Final

import structlog

from daemon import metrics

log = structlog.get_logger("pipeline")

HANGING_S: Final = 5.0
"""A batch that takes longer does not keep others in memory: they go to the spool."""
DATABASE_RETRY_S: Final = (0.5, 1, 2, 5)


class DatabaseState:
    """What is known of it now, and how long it is left in peace after a failure."""

    def __init__(self, *, stores: bool) -> None:
        self.stores = stores
        self.last_stored_at: float | None = None
        """Monotonic."""
        self._failures = 0
        """In a row."""
        self._cannot_since = time.monotonic()
        self._began: float | None = None
        """When the batch that is under way was begun."""

    @property
    def is_spooling(self) -> bool:
        """True while what comes belongs on disk."""
        is_hanging = self._began is not None and time.monotonic() - self._began > HANGING_S
        return is_hanging or not self.stores

    @property
    def retry_s(self) -> float:
        """How long to wait after so many failures."""
        return DATABASE_RETRY_S[min(self._failures, len(DATABASE_RETRY_S)) - 1]

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
