"""How long the pipeline waits for what."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pauses:
    """Seconds."""

    look_s: float = 0.05
    """Between two looks into the queue while a batch is open: to be woken for each reading costs
    more than the reading."""
    batch_s: float = 0.3
    """From its first reading on, until a batch is closed: today's balances should not wait for a
    slow line."""
    hanging_s: float = 5.0
    """A batch that takes longer does not keep others in memory: they go to the spool."""
    retries_s: tuple[float, ...] = (0.5, 1, 2, 5)
    """After so many failures in a row, until the database is tried again."""
    settle_again_s: float = 2.0
    """Until money is tried again that the database could not store."""
    readings_first_s: float = 30.0
    """Maximum time that money waits for readings that wait on disk."""
    finish_s: float = 1.5
    """Maximum time that the end of the daemon waits for the database; the rest goes to the
    spool."""
    sync_s: float = 1.5
    """Maximum time that the end of the daemon waits for the disk."""


USUAL = Pauses()
