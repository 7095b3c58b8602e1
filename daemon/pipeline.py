"""The queue between the lines and the database. Start reading meterd here.

Lines put what meters told into a bounded queue. Here it becomes raw rows, slots that are published
or withheld, links, postings, credit states and, where the guard allows it, commands. A batch can be
repeated without effect, so a crash between any two steps loses nothing: what was not committed is
still missing, and what is missing is read again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from functools import partial
from typing import Any, TypeVar

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from daemon import metrics
from daemon.control.authority import Authority
from daemon.quality.arrival import Arrival, IdentityRead, PolledFreeze
from daemon.quality.freeze import freeze_day
from daemon.transactions.collect import process
from storage import readings

log = structlog.get_logger("pipeline")

BATCH_WAIT_S = 0.3
"""Time after its first reading at which a batch is closed: today's balances should not wait for a
slow line."""
LOOK_S = 0.05
"""Time between two looks into the queue while a batch is open: to be woken for each reading costs
more than the reading."""
QUEUE_READINGS = 10_000
"""Maximum of readings by which the database is behind before lines wait; frozen data stay in the
meters meanwhile."""
FINISH_S = 30.0
"""Maximum time that the end of the daemon waits for what is queued; systemd waits for 60 s."""
DATABASE_RETRY_S = (0.5, 1, 2, 5, 10)

T = TypeVar("T")
Stored = Callable[[Sequence[tuple[int, date]]], None]


class Pipeline:
    """The queue between the lines and the database, and the task that empties it batch by batch."""

    def __init__(
        self,
        pool: AsyncConnectionPool[Any],
        authority: Authority,
        *,
        batch_readings: int,
        stored: Stored,
    ) -> None:
        """`stored` is told (meter id, day) of every slot that has a value now."""
        self._pool = pool
        self._authority = authority
        self._stored = stored
        self._batch_readings = batch_readings
        self._queue: asyncio.Queue[Arrival | PolledFreeze] = asyncio.Queue(QUEUE_READINGS)
        self._batch: list[Arrival] = []
        """What was taken out of the queue and is not stored yet."""
        self._is_database_away = False

    def submit(self, arrival: Arrival | PolledFreeze) -> bool:
        """Take a reading; False when there is no room for it now."""
        if self._queue.full():
            return False
        self._queue.put_nowait(arrival)
        return True

    def identified(self, read: IdentityRead) -> bool:
        """Take who a meter said it is; False when there is no room for it now."""
        log.debug("identity", meter=read.meter.address, serial=read.identity.serial)
        return True

    @property
    def is_behind(self) -> bool:
        """True while more than half of the queue is taken."""
        return 2 * self._queue.qsize() > QUEUE_READINGS

    async def run(self) -> None:
        """Empty the queue until cancelled.

        A run that is cancelled while it stores a batch stores it first, if the database lets it."""
        batch = self._batch
        try:
            while True:
                await self._gather(batch)
                await self._store(batch)
                batch.clear()
        except asyncio.CancelledError:
            if batch:
                await self._store(batch)
                batch.clear()
            raise

    async def finish(self) -> None:
        """When nothing more comes: wait until all that is queued is stored, or FINISH_S.

        A database that is away is not waited for: what is not stored is wanted, and read again
        after the next start."""
        ends_at = time.monotonic() + FINISH_S
        while (left := self._queue.qsize() + len(self._batch)) and time.monotonic() < ends_at:
            if self._is_database_away:
                break
            await asyncio.sleep(LOOK_S)
        if left:
            log.warning(
                "stopped before all readings were stored, they are read again", readings=left
            )

    async def _gather(self, batch: list[Arrival]) -> None:
        batch.append(_in_full(await self._queue.get()))
        # Monotonic: a step of the host's clock must not hold a batch open (R19).
        closes = time.monotonic() + BATCH_WAIT_S
        while True:
            for _ in range(min(self._queue.qsize(), self._batch_readings - len(batch))):
                batch.append(_in_full(self._queue.get_nowait()))
            left = closes - time.monotonic()
            if left <= 0 or len(batch) >= self._batch_readings:
                break
            await asyncio.sleep(min(left, LOOK_S))
        metrics.QUEUE.set(self._queue.qsize())

    async def _store(self, batch: Sequence[Arrival]) -> None:
        """Until it is stored; a reading that the database will never take is a dead letter."""

        async def take(connection: AsyncConnection[Any]) -> list[tuple[int, date]]:
            with metrics.BATCH_SECONDS.time():
                return await process(connection, batch, self._authority, datetime.now(UTC))

        try:
            present = await self._with_database(take, len(batch))
        except Exception as error:
            await self._isolate(batch, error)
            return
        metrics.BATCHES.labels("stored").inc()
        metrics.BATCH_READINGS.observe(len(batch))
        self._stored(present)

    async def _with_database(
        self, do: Callable[[AsyncConnection[Any]], Awaitable[T]], count: int
    ) -> T:
        """What `do` answers, which must be one transaction.

        While the database is away it is tried again."""
        attempt = 0
        while True:
            try:
                async with self._pool.connection() as connection:
                    done = await do(connection)
                self._is_database_away = False
                return done
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                self._is_database_away = True
                wait_s = DATABASE_RETRY_S[min(attempt, len(DATABASE_RETRY_S) - 1)]
                log.error(
                    "database away",
                    error=str(error).strip(),
                    readings=count,
                    retry_s=wait_s,
                )
                metrics.BATCHES.labels("database_away").inc()
                await asyncio.sleep(wait_s)
                attempt += 1

    async def _isolate(self, batch: Sequence[Arrival], error: Exception) -> None:
        """Halve a batch that cannot be stored until the row that is to blame stands alone.

        Whatever the error is: one reading must not keep those of other meters from being stored."""
        if len(batch) > 1:
            middle = len(batch) // 2
            await self._store(batch[:middle])
            await self._store(batch[middle:])
            return
        (arrival,) = batch
        freeze = arrival.freeze
        log.exception(
            "reading is a dead letter", meter=arrival.meter.address, frozen_at=freeze.frozen_at
        )
        metrics.BATCHES.labels("dead_letter").inc()
        content = {name: str(value) for name, value in asdict(freeze).items()}
        reason = f"{type(error).__name__}: {error}"
        keep = partial(readings.add_dead_letter, content=content, reason=reason)
        await self._with_database(keep, 1)
        # The slot counts as present until the next look for gaps: else it would be read again at
        # once, and fail again.
        day = freeze_day(freeze.frozen_at)
        if day is not None:
            self._stored([(arrival.meter.meter_id, day)])


def _in_full(arrival: Arrival | PolledFreeze) -> Arrival:
    return arrival if isinstance(arrival, Arrival) else Arrival(arrival.meter, arrival.freeze)
