"""The queue between the lines and the database. Start reading meterd here.

Lines hand in what meters told. It becomes raw rows, slots that are published or withheld, links,
postings, credit states and, where the guard allows it, commands. A batch can be repeated without
effect, so a crash between any two steps loses nothing and doubles nothing.

What waits is in one of two places. In memory is what meters can tell again, while the database
stores. In the spool, on disk, is everything else: the freezes of meters without memory from the
moment they are read, and whatever comes while the database cannot store. Both leave through the
same transaction, in turns, so that neither waits for the other."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from functools import partial
from typing import Any, Final

from daemon import metrics
from daemon.control.authority import Authority
from daemon.pipeline.database_state import DatabaseState
from daemon.pipeline.in_memory import InMemory
from daemon.pipeline.keeper import Keeper
from daemon.pipeline.outlet import Outlet
from daemon.pipeline.pauses import USUAL, Pauses
from daemon.pipeline.portions import next_portion
from daemon.pipeline.reading_store import CannotStore, ReadingStore
from daemon.pipeline.settlement import Settlement
from daemon.quality.arrival import Arrival, IdentityRead, PolledFreeze, RelayRead
from daemon.quality.freeze import freeze_day
from daemon.spool.spool import Kind, Spool, kind_of
from daemon.transactions.right_of_way import RightOfWay
from storage.database import USE_S, Pool

QUEUE_READINGS: Final = 10_000
"""Maximum of readings by which the database is behind before lines wait; frozen data stay in the
meters meanwhile."""
MOST_IDENTITIES: Final = 1000
MOST_RELAYS: Final = 200
"""Answers of meters that wait: more are asked for later. As many accounts are locked at once for
what their relays told."""


class Pipeline:
    """What waits for the database, and the tasks that move it: `run`, `keep` and `settle`."""

    def __init__(
        self,
        pool: Pool,
        authority: Authority,
        spool: Spool,
        outlet: Outlet,
        *,
        batch_readings: int,
        stores: bool = True,
        pauses: Pauses = USUAL,
    ) -> None:
        """`stores`: False while the database is known to be away."""
        self._spool = spool
        self._outlet = outlet
        self._pauses = pauses
        self._batch_readings = batch_readings
        self._drain_readings = batch_readings
        self._memory = InMemory()
        self._identities: list[IdentityRead] = []
        self._relays: list[RelayRead] = []
        self._missed = 0
        """How many dropped readings were told of."""
        self._work = asyncio.Event()
        if spool.readings:
            self._work.set()
        self._database = DatabaseState(pauses, stores=stores)
        self._keeper = Keeper(
            self._memory,
            spool,
            self._database,
            pauses,
            kept=outlet.kept,
            work=self._work,
        )
        self._settlement = Settlement(pool, authority, spool, pauses)
        self._store = ReadingStore(pool, authority, outlet, to_settle=self._settlement.asked)

    # --- the way in

    def submit(self, arrival: Arrival | PolledFreeze) -> bool:
        """Take a reading; False when there is no room for it now."""
        is_once = kind_of(arrival) is Kind.ONCE
        # Written before anything else is done: nobody can tell it a second time.
        if is_once and self._keeper.to_disk([arrival]):
            self._work.set()
            self._keeper.asked.set()
            return True
        queue = self._memory.queue
        if len(queue) >= QUEUE_READINGS and not is_once:
            return False
        queue.append(arrival)
        self._work.set()
        if self._database.is_spooling:
            self._keeper.asked.set()
        return True

    def identified(self, read: IdentityRead) -> bool:
        """Take who a meter said it is; False when there is no room for it now."""
        # It can be asked again, and a line that runs without the database knows no row of it.
        if not self._database.stores or len(self._identities) >= MOST_IDENTITIES:
            return False
        self._identities.append(read)
        self._work.set()
        return True

    def relay_seen(self, read: RelayRead) -> bool:
        """Take where a relay was; False when there is no room for it now."""
        if not self._database.stores or len(self._relays) >= MOST_RELAYS:
            return False
        self._relays.append(read)
        self._work.set()
        return True

    @property
    def is_behind(self) -> bool:
        """True while more than half of the room for readings is taken."""
        return 2 * len(self._memory.queue) > QUEUE_READINGS or self._spool.is_half_full

    def waiting(self) -> Iterator[tuple[str, date]]:
        """(address, day) of what waits in the spool. May be iterated in a thread."""
        found = self._spool.unstored()
        dated = ((reading.address, freeze_day(reading.frozen_at)) for reading in found)
        return ((address, day) for address, day in dated if day is not None)

    # --- its tasks

    async def keep(self) -> None:
        """Bring to the disk what memory must not hold, until cancelled."""
        await self._keeper.run()

    async def settle(self) -> None:
        """Move the money of what was stored, until cancelled.

        Beside the storing, because no reading waits for money."""
        await self._settlement.run()

    @property
    def right_of_way(self) -> RightOfWay:
        """Who posts a payment claims it: settlement gives way."""
        return self._settlement.right_of_way

    def settle_soon(self) -> None:
        """Something may be marked by others than the pipeline."""
        self._settlement.asked.set()

    def try_again(self) -> None:
        """The database may store now: do not wait for the end of a pause."""
        self._database.asked_again.set()

    async def finish(self) -> None:
        """When nothing more comes: what the database does not take in a moment is kept on disk."""
        await self._keeper.finish()

    async def run(self) -> None:
        """Store what waits, until cancelled."""
        if self._database.is_spooling:
            # Lines that ran without a database know no row of it: on disk a meter has its address.
            self._keeper.spill()
        while True:
            await self._work.wait()
            if self._database.stores:
                await self._gather()
            # Without anything in the spool only memory can tell whether the database stores.
            if self._database.stores or not self._spool.readings:
                self._fill_batch()
                await self._store_batch()
            if self._spool.readings:
                await self._drain()
            # Without a reading only they can tell whether the database stores.
            is_reading_there = len(self._memory) or self._spool.readings
            if self._identities and (self._database.stores or not is_reading_there):
                await self._is_done(self._store_identities)
            if self._relays and (self._database.stores or not is_reading_there):
                await self._is_done(self._store_relays)
            if not self._database.stores:
                await self._database.pause()
            elif not (
                len(self._memory) or self._spool.readings or self._identities or self._relays
            ):
                self._work.clear()
                self._tell_what_was_missed()

    def _tell_what_was_missed(self) -> None:
        dropped = self._spool.dropped[Kind.AGAIN]
        if dropped != self._missed:
            self._missed = dropped
            self._outlet.missed()

    async def _gather(self) -> None:
        """Wait until there is a batch, but not for long; who has to catch up does not wait."""
        # Monotonic: a step of the host's clock must not hold a batch open (R19).
        closes = time.monotonic() + self._pauses.batch_s
        while (left := closes - time.monotonic()) > 0:
            if len(self._memory.queue) + self._spool.readings >= self._batch_readings:
                break
            await asyncio.sleep(min(left, self._pauses.look_s))

    def _fill_batch(self) -> None:
        self._memory.fill_batch(self._batch_readings)
        metrics.QUEUE.set(len(self._memory.queue))

    async def _store_batch(self) -> None:
        batch = self._memory.batch
        if batch and await self._is_done(partial(self._store.store, batch)):
            batch.clear()

    async def _drain(self) -> None:
        """Store one portion of what waits on disk."""
        portion = self._spool.next(self._drain_readings)
        if portion is None:
            return
        began = time.monotonic()
        is_stored = False
        try:
            is_stored = await self._is_done(partial(self._store.store_waiting, portion.readings))
        finally:
            if is_stored:
                self._spool.forget(portion)
            else:
                self._spool.put_back(portion)
        took_s = time.monotonic() - began
        # A database that refuses says nothing of the size; one that does not end in time may.
        if is_stored or took_s > USE_S / 2:
            drained = len(portion.readings)
            self._drain_readings = next_portion(self._drain_readings, drained, took_s)

    async def _store_identities(self) -> None:
        """All that is there; what is not stored is asked again."""
        reads = self._identities[:MOST_IDENTITIES]
        await self._store.store_identities(reads)
        del self._identities[: len(reads)]

    async def _store_relays(self) -> None:
        """All that are there; what is not stored is seen again."""
        reads = self._relays[:MOST_RELAYS]
        await self._store.store_relays(reads)
        del self._relays[: len(reads)]

    async def _is_done(self, store: Callable[[], Awaitable[None]]) -> bool:
        """Whether the database stores; a change is noted."""
        self._database.begin()
        try:
            await store()
        except CannotStore as error:
            self._database.note_failure(error, self._spool.size)
            self._memory.queue_batch_again()
            self._memory.batch.clear()
            self._keeper.asked.set()
            await self._store.forget_connections()
            return False
        finally:
            self._database.end()
        self._database.note_stored(self._spool.readings)
        return True

    # --- what is shown

    @property
    def stores(self) -> bool:
        """False while the database cannot store."""
        return self._database.stores

    def condition(self) -> Mapping[str, Any]:
        """What those who watch are told: whether work is done, not whether a connection is open."""
        last = self._database.last_stored_at
        return {
            "stores": self._database.stores,
            "oldest_unstored_s": round(self._oldest_age_s(), 1),
            "seconds_since_commit": None if last is None else round(time.monotonic() - last, 1),
            "settlement": self._settlement.condition,
            "batch_s": round(self._database.under_way_s, 1),
            "in_memory": len(self._memory),
            "spooled": self._spool.readings,
            "spool_bytes": self._spool.size,
            "disk_free_bytes": self._spool.free_bytes,
            "dropped": {kind.value: count for kind, count in self._spool.dropped.items()},
        }

    def show(self) -> None:
        """Bring the figures up to date that tell most when nothing moves."""
        free_bytes = self._spool.free_bytes
        metrics.UNSTORED_AGE.set(self._oldest_age_s())
        metrics.SPOOL_BYTES.set(self._spool.size)
        metrics.SPOOL_MOST_BYTES.set(self._spool.max_bytes)
        metrics.SPOOL_READINGS.set(self._spool.readings)
        metrics.DISK_FREE.set(math.nan if free_bytes is None else free_bytes)

    def _oldest_age_s(self) -> float:
        firsts = (self._spool.oldest, self._memory.oldest)
        known = [first for first in firsts if first is not None]
        return (datetime.now(UTC) - min(known)).total_seconds() if known else 0.0
