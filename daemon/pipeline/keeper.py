"""Brings readings to the disk: what no meter tells again, and what memory must not hold."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import structlog

from daemon.pipeline.database_state import DatabaseState
from daemon.pipeline.in_memory import InMemory
from daemon.pipeline.outlet import Slot, Told, slots_of
from daemon.pipeline.pauses import Pauses
from daemon.quality.arrival import Arrival, PolledFreeze
from daemon.runtime.supervision import in_thread
from daemon.spool.spool import Spool

log = structlog.get_logger("pipeline")


class Keeper:
    """The one who writes to the spool."""

    def __init__(
        self,
        memory: InMemory,
        spool: Spool,
        database: DatabaseState,
        pauses: Pauses,
        *,
        kept: Told,
        work: asyncio.Event,
    ) -> None:
        """`kept`: told of what is safe on disk. `work`: set when there is more to store."""
        self.asked = asyncio.Event()
        """Set when there may be something to bring to the disk."""
        self._memory = memory
        self._spool = spool
        self._database = database
        self._pauses = pauses
        self._kept = kept
        self._work = work
        self._unsynced: list[Slot] = []
        """What was written to the spool and may not survive a power cut yet."""
        self._is_disk_well = True

    async def run(self) -> None:
        """Keep what is asked for, until cancelled."""
        while True:
            await self.asked.wait()
            self.asked.clear()
            # What comes together is synced together.
            await asyncio.sleep(self._pauses.look_s)
            if self._database.is_spooling:
                self.spill()
            await self._sync()

    async def finish(self) -> None:
        """When nothing more comes: what the database does not take in a moment is kept on disk."""
        ends_at = time.monotonic() + self._pauses.finish_s
        while len(self._memory) and time.monotonic() < ends_at:
            if self._database.is_spooling:
                break
            await asyncio.sleep(self._pauses.look_s)
        # Its outcome may be unknown: kept a second time it does no harm.
        self._memory.queue_batch_again()
        self.spill()
        try:
            async with asyncio.timeout(self._pauses.sync_s):
                await self._sync()
        except TimeoutError:
            log.error("the disk does not answer; a power cut now may lose readings")
        if self._memory.queue:
            log.error("stopped before all readings were kept", readings=len(self._memory.queue))
        if self._spool.readings:
            log.info("readings wait for the next start", readings=self._spool.readings)

    def spill(self) -> None:
        """Memory to disk, as far as the disk takes it."""
        if self._memory.queue and self.to_disk(self._memory.queue):
            self._memory.queue.clear()
            self._work.set()

    def to_disk(self, arrivals: Sequence[Arrival | PolledFreeze]) -> bool:
        """False if the disk does not take them."""
        try:
            self._spool.append(arrivals)
        except OSError as error:
            self._note_disk(error)
            return False
        self._note_disk(None)
        self._unsynced += slots_of(arrivals)
        return True

    async def _sync(self) -> None:
        slots = self._unsynced
        self._unsynced = []
        try:
            await in_thread(self._spool.syncing())
        except OSError as error:
            # Nothing is promised: a broker sends again what is not acknowledged.
            self._note_disk(error)
            return
        self._kept(slots)

    def _note_disk(self, error: OSError | None) -> None:
        if error is None:
            self._is_disk_well = True
        elif self._is_disk_well:
            self._is_disk_well = False
            log.error("spool cannot be written, readings wait in memory", error=str(error))
