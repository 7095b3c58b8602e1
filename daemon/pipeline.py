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
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from typing import Any, Final, TypeVar

import psycopg
import structlog
from psycopg import AsyncConnection

from daemon import metrics
from daemon.control.authority import Authority
from daemon.quality.arrival import Arrival, IdentityRead, PolledFreeze
from daemon.quality.freeze import freeze_day
from daemon.quality.meter import Meter
from daemon.runtime.supervision import in_thread
from daemon.spool.record import WaitingReading, as_content, waiting
from daemon.spool.spool import Kind, Spool, kind_of
from daemon.transactions.collect import Collected, collect, settle_marked
from daemon.transactions.dead_letters import UNKNOWN_METER, reason_of
from daemon.transactions.identify import take_identities
from storage import archive, dead_letters
from storage.database import LONG_USE_S, USE_S, Pool, is_of_the_whole

log = structlog.get_logger("pipeline")

BATCH_WAIT_S: Final = 0.3
"""Time after its first reading at which a batch is closed: today's balances should not wait for a
slow line."""
LOOK_S: Final = 0.05
"""Time between two looks into the queue while a batch is open: to be woken for each reading costs
more than the reading."""
QUEUE_READINGS: Final = 10_000
"""Maximum of readings by which the database is behind before lines wait; frozen data stay in the
meters meanwhile."""
MOST_IDENTITIES: Final = 1000
"""Answers of meters that wait: more are asked for later."""
HANGING_S: Final = 5.0
"""A batch that takes longer does not keep others in memory: they go to the spool."""
LEAST_DRAINED: Final = 100
MOST_DRAINED: Final = 10_000
QUICK_S: Final = 0.5
SLOW_S: Final = 1.5
"""What is drained at once grows while a batch is quick and shrinks when it is slow: live readings
wait for one."""
FINISH_S: Final = 1.5
"""Maximum time that the end of the daemon waits for the database; the rest goes to the spool."""
SYNC_S: Final = 1.5
"""Maximum time that the end of the daemon waits for the disk."""
DATABASE_RETRY_S: Final = (0.5, 1, 2, 5)
SETTLE_AGAIN_S: Final = 2.0
READINGS_FIRST_S: Final = 30.0
"""Maximum time that money waits for readings that wait on disk."""
TRIES: Final = 3
"""Attempts of a batch that lost against another transaction (SQLSTATE 40xxx)."""

T = TypeVar("T")
Slot = tuple[int, date]
"""(meter id, day)."""
Told = Callable[[Sequence[Slot]], None]


@dataclass(frozen=True, slots=True)
class Outlet:
    """Who knows the meters, and who is told what became of readings."""

    meters: Callable[[str], Meter | None]
    """By address, the meter that is read now."""
    stored: Told
    """Every slot that has a value in the database now."""
    kept: Told
    """Every slot whose value is safe on disk."""
    missed: Callable[[], None]
    """Readings were dropped that meters can tell again: what is missing is to be looked for."""
    doubted: Callable[[], None] = lambda: None
    """Something is in doubt: what is to be read again is to be looked for."""


class CannotStore(Exception):
    """The database cannot store; it is no reading's fault."""


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
    ) -> None:
        """`stores`: False while the database is known to be away."""
        self._pool = pool
        self._authority = authority
        self._spool = spool
        self._outlet = outlet
        self._batch_readings = batch_readings
        self._drain_readings = batch_readings
        self._memory: deque[Arrival | PolledFreeze] = deque()
        self._identities: list[IdentityRead] = []
        self._batch: list[Arrival] = []
        """What was taken out of memory and is not stored yet."""
        self._unsynced: list[Slot] = []
        """What was written to the spool and may not survive a power cut yet."""
        self._work = asyncio.Event()
        if spool.readings:
            self._work.set()
        self._to_keep = asyncio.Event()
        self._to_settle = asyncio.Event()
        self._stores = stores
        self._is_disk_well = True
        self._missed = 0
        """How many dropped readings were told of."""
        self._failures = 0
        self._cannot_since = time.monotonic()
        self._began: float | None = None
        """When the batch that is under way was begun."""
        self._last_stored_at: float | None = None
        self._watch()

    # --- the way in

    def submit(self, arrival: Arrival | PolledFreeze) -> bool:
        """Take a reading; False when there is no room for it now."""
        is_once = kind_of(arrival) is Kind.ONCE
        # Written before anything else is done: nobody can tell it a second time.
        if is_once and self._to_disk([arrival]):
            self._work.set()
            self._to_keep.set()
            return True
        if len(self._memory) >= QUEUE_READINGS and not is_once:
            return False
        self._memory.append(arrival)
        self._work.set()
        if self._is_spooling:
            self._to_keep.set()
        return True

    def identified(self, read: IdentityRead) -> bool:
        """Take who a meter said it is; False when there is no room for it now."""
        # It can be asked again, and a line that runs without the database knows no row of it.
        if not self._stores or len(self._identities) >= MOST_IDENTITIES:
            return False
        self._identities.append(read)
        self._work.set()
        return True

    @property
    def is_behind(self) -> bool:
        """True while more than half of the room for readings is taken."""
        return 2 * len(self._memory) > QUEUE_READINGS or self._spool.is_half_full

    def waiting(self) -> Iterator[tuple[str, date]]:
        """(address, day) of what waits in the spool. May be iterated in a thread."""
        found = self._spool.unstored()
        dated = ((reading.address, freeze_day(reading.frozen_at)) for reading in found)
        return ((address, day) for address, day in dated if day is not None)

    def condition(self) -> Mapping[str, Any]:
        """What those who watch are told: whether work is done, not whether a connection is open."""
        last = self._last_stored_at
        return {
            "stores": self._stores,
            "oldest_unstored_s": round(self._oldest_age_s(), 1),
            "seconds_since_commit": None if last is None else round(time.monotonic() - last, 1),
            "in_memory": len(self._memory) + len(self._batch),
            "spooled": self._spool.readings,
            "spool_bytes": self._spool.size,
            "dropped": {kind.value: count for kind, count in self._spool.dropped.items()},
        }

    # --- keeping

    async def keep(self) -> None:
        """Bring to the disk what memory must not hold, until cancelled."""
        while True:
            await self._to_keep.wait()
            self._to_keep.clear()
            # What comes together is synced together.
            await asyncio.sleep(LOOK_S)
            if self._is_spooling:
                self._spill()
            await self._sync()

    async def finish(self) -> None:
        """When nothing more comes: what the database does not take in a moment is kept on disk."""
        ends_at = time.monotonic() + FINISH_S
        while (self._memory or self._batch) and time.monotonic() < ends_at:
            if self._is_spooling:
                break
            await asyncio.sleep(LOOK_S)
        # Its outcome may be unknown: kept a second time it does no harm.
        self._memory.extendleft(reversed(self._batch))
        self._spill()
        try:
            async with asyncio.timeout(SYNC_S):
                await self._sync()
        except TimeoutError:
            log.error("the disk does not answer; a power cut now may lose readings")
        if self._memory:
            log.error("stopped before all readings were kept", readings=len(self._memory))
        if self._spool.readings:
            log.info("readings wait for the next start", readings=self._spool.readings)

    @property
    def _is_spooling(self) -> bool:
        is_hanging = self._began is not None and time.monotonic() - self._began > HANGING_S
        return is_hanging or not self._stores

    def _spill(self) -> None:
        """Memory to disk, as far as the disk takes it."""
        if self._memory and self._to_disk(self._memory):
            self._memory.clear()
            self._work.set()

    def _to_disk(self, arrivals: Sequence[Arrival | PolledFreeze]) -> bool:
        """False if the disk does not take them."""
        try:
            self._spool.append(arrivals)
        except OSError as error:
            self._note_disk(error)
            return False
        self._note_disk(None)
        self._unsynced += _slots(arrivals)
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
        self._outlet.kept(slots)

    def _note_disk(self, error: OSError | None) -> None:
        if error is None:
            self._is_disk_well = True
        elif self._is_disk_well:
            self._is_disk_well = False
            log.error("spool cannot be written, readings wait in memory", error=str(error))

    # --- storing

    async def run(self) -> None:
        """Store what waits, until cancelled."""
        if self._is_spooling:
            # Lines that ran without a database know no row of it: on disk a meter has its address.
            self._spill()
        while True:
            await self._work.wait()
            if self._stores:
                await self._gather()
            # Without anything in the spool only memory can tell whether the database stores.
            if self._stores or not self._spool.readings:
                self._fill_batch()
                await self._store_batch()
            if self._spool.readings:
                await self._drain()
            # Without a reading only they can tell whether the database stores.
            is_reading_there = self._memory or self._batch or self._spool.readings
            if self._identities and (self._stores or not is_reading_there):
                await self._is_done(self._store_identities)
            if not self._stores:
                pauses = len(DATABASE_RETRY_S)
                await asyncio.sleep(DATABASE_RETRY_S[min(self._failures, pauses) - 1])
            elif not (self._memory or self._batch or self._spool.readings or self._identities):
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
        closes = time.monotonic() + BATCH_WAIT_S
        while (left := closes - time.monotonic()) > 0:
            if len(self._memory) + self._spool.readings >= self._batch_readings:
                break
            await asyncio.sleep(min(left, LOOK_S))

    def _fill_batch(self) -> None:
        for _ in range(min(len(self._memory), self._batch_readings - len(self._batch))):
            self._batch.append(_in_full(self._memory.popleft()))
        metrics.QUEUE.set(len(self._memory))

    async def _store_batch(self) -> None:
        if self._batch and await self._is_done(partial(self._store, self._batch)):
            self._batch.clear()

    async def _drain(self) -> None:
        """Store one portion of what waits on disk."""
        portion = self._spool.next(self._drain_readings)
        if portion is None:
            return
        began = time.monotonic()
        is_stored = False
        try:
            is_stored = await self._is_done(partial(self._store_waiting, portion.readings))
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
        """All that is there; what the database will never take is logged and asked again."""
        reads = self._identities[:MOST_IDENTITIES]

        async def take(connection: AsyncConnection[Any]) -> None:
            await take_identities(connection, reads, self._authority.zone)

        try:
            await self._with_database(take)
        except CannotStore:
            raise
        except Exception:
            log.exception("who meters are is not stored", meters=len(reads))
        del self._identities[: len(reads)]

    async def _is_done(self, store: Callable[[], Awaitable[None]]) -> bool:
        """Whether the database stores; a change is noted."""
        self._began = time.monotonic()
        try:
            await store()
        except CannotStore as error:
            await self._note_trouble(error)
            return False
        finally:
            self._began = None
        self._note_stored()
        return True

    async def _note_trouble(self, error: CannotStore) -> None:
        if self._stores:
            self._stores = False
            self._cannot_since = time.monotonic()
            log.error(
                "the database cannot store, readings go to the spool",
                error=str(error),
                spool=self._spool.size,
            )
        self._failures += 1
        metrics.BATCHES.labels("database_away").inc()
        self._memory.extendleft(reversed(self._batch))
        self._batch.clear()
        self._to_keep.set()
        # What was open may lead to a server that is gone, or that may only be read now.
        await self._pool.drain()

    def _note_stored(self) -> None:
        self._last_stored_at = time.monotonic()
        metrics.LAST_STORED.set_to_current_time()
        self._failures = 0
        if not self._stores:
            self._stores = True
            log.info(
                "the database stores again",
                away_s=round(time.monotonic() - self._cannot_since, 1),
                readings=self._spool.readings,
            )

    async def _store_waiting(self, waiting_readings: Sequence[WaitingReading]) -> None:
        """What waited on disk; a reading of a meter that nobody knows any more is a dead letter."""
        meters = await self._meters({reading.address for reading in waiting_readings})
        arrivals = []
        for reading in waiting_readings:
            meter = meters.get(reading.address)
            if meter is None:
                await self._bury(reading, UNKNOWN_METER)
            else:
                arrivals.append(Arrival(meter, reading.freeze))
        if arrivals:
            await self._store(arrivals)

    async def _meters(self, addresses: Iterable[str]) -> dict[str, Meter]:
        """By address; a meter that no line reads now as the database knows it."""
        known: dict[str, Meter] = {}
        unread = []
        for address in addresses:
            meter = self._outlet.meters(address)
            if meter is None:
                unread.append(address)
            else:
                known[address] = meter
        if unread:
            ask = partial(archive.site_meters, addresses=unread)
            known |= {meter.address: meter for meter in await self._with_database(ask)}
        return known

    async def _store(self, batch: Sequence[Arrival]) -> None:
        """All or nothing; a reading that the database will never take is a dead letter."""

        async def take(connection: AsyncConnection[Any]) -> Collected:
            with metrics.BATCH_SECONDS.time():
                return await collect(connection, batch, self._authority.zone)

        try:
            collected = await self._with_database(take)
        except CannotStore:
            raise
        except Exception as error:
            await self._isolate(batch, error)
            return
        self._to_settle.set()
        metrics.BATCHES.labels("stored").inc()
        metrics.BATCH_READINGS.observe(len(batch))
        self._outlet.stored(collected.present)
        if collected.is_doubtful:
            self._outlet.doubted()

    async def _with_database(self, do: Callable[[AsyncConnection[Any]], Awaitable[T]]) -> T:
        """What `do` answers, which must be one transaction. CannotStore, or the error of a row."""
        for attempt in range(1, TRIES + 1):
            try:
                async with self._pool.connection() as connection:
                    return await do(connection)
            except Exception as error:
                if not is_of_the_whole(error):
                    raise
                if attempt == TRIES or not isinstance(error, LOST_A_RACE):
                    raise CannotStore(f"{type(error).__name__}: {error}".strip()) from error
        raise AssertionError("the last attempt returns or raises")

    async def _isolate(self, batch: Sequence[Arrival], error: Exception) -> None:
        """Halve a batch that cannot be stored until the row that is to blame stands alone.

        Whatever the error is: one reading must not keep those of other meters from being stored."""
        if len(batch) > 1:
            middle = len(batch) // 2
            await self._store(batch[:middle])
            await self._store(batch[middle:])
            return
        (arrival,) = batch
        log.debug("why it is one", exc_info=error)
        await self._bury(waiting(arrival), reason_of(error))
        # The slot counts as present until the next look for gaps: else it would be read again at
        # once, and fail again.
        self._outlet.stored(_slots(batch))

    async def _bury(self, reading: WaitingReading, reason: str) -> None:
        log.error(
            "reading is a dead letter",
            meter=reading.address,
            frozen_at=reading.frozen_at,
            reason=reason,
        )
        metrics.BATCHES.labels("dead_letter").inc()
        keep = partial(dead_letters.add, content=as_content(reading), reason=reason)
        await self._with_database(keep)

    # --- money

    async def settle(self) -> None:
        """Move the money of what was stored, until cancelled.

        Beside the storing, because no reading waits for money. What is to be settled is marked in
        the database, so nothing is forgotten by a kill."""
        while True:
            await self._to_settle.wait()
            await self._let_readings_go_first()
            self._to_settle.clear()
            try:
                async with self._pool.connection(lasts_s=LONG_USE_S) as connection:
                    await settle_marked(connection, self._authority, datetime.now(UTC))
            except psycopg.Error as error:
                if not is_of_the_whole(error):
                    raise
                log.debug("settlement waits for the database", error=str(error).strip())
                await asyncio.sleep(SETTLE_AGAIN_S)
                self._to_settle.set()

    async def _let_readings_go_first(self) -> None:
        """What waits on disk is stored before money is moved, which costs the database more."""
        ends_at = time.monotonic() + READINGS_FIRST_S
        while time.monotonic() < ends_at:
            if self._spool.readings <= LEAST_DRAINED:
                break
            await asyncio.sleep(LOOK_S)

    # --- what is shown

    def _watch(self) -> None:
        """The figures are taken when they are asked for: they tell most when nothing moves."""
        metrics.UNSTORED_AGE.set_function(self._oldest_age_s)
        metrics.SPOOL_BYTES.set_function(lambda: self._spool.size)
        metrics.SPOOL_READINGS.set_function(lambda: self._spool.readings)

    def _oldest_age_s(self) -> float:
        firsts = [self._spool.oldest]
        firsts += [batch[0].freeze.arrived_at for batch in (self._batch, self._memory) if batch]
        known = [first for first in firsts if first is not None]
        return (datetime.now(UTC) - min(known)).total_seconds() if known else 0.0


LOST_A_RACE: Final = (
    psycopg.errors.SerializationFailure,
    psycopg.errors.DeadlockDetected,
)


def next_portion(portion: int, drained: int, took_s: float) -> int:
    """How many readings are drained at once, after `drained` took so long."""
    if took_s > SLOW_S:
        return max(LEAST_DRAINED, portion // 2)
    is_quick = took_s < QUICK_S and drained == portion
    return min(MOST_DRAINED, portion * 2) if is_quick else portion


def _slots(arrivals: Iterable[Arrival | PolledFreeze]) -> list[Slot]:
    found = []
    for arrival in arrivals:
        freeze = arrival.freeze
        day = freeze_day(freeze.frozen_at, freeze.host_offset)
        if day is not None:
            found.append((arrival.meter.meter_id, day))
    return found


def _in_full(arrival: Arrival | PolledFreeze) -> Arrival:
    return arrival if isinstance(arrival, Arrival) else Arrival(arrival.meter, arrival.freeze)
