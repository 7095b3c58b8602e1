"""Readings, and who meters are, into the database: T1, and whose fault it is when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence, Set
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeVar

import structlog
from psycopg import AsyncConnection

from daemon import metrics
from daemon.control.authority import Authority
from daemon.pipeline.outlet import Outlet, slots_of
from daemon.quality.arrival import Arrival, IdentityRead, PolledFreeze, RelayRead, Teller
from daemon.quality.meter import Meter
from daemon.spool.record import WaitingReading, arrival_of, as_content, waiting
from daemon.transactions import tellers
from daemon.transactions.collect import Collected, collect
from daemon.transactions.dead_letters import UNKNOWN_METER, reason_of
from daemon.transactions.identify import take_identities
from daemon.transactions.known_tails import KnownTails
from daemon.transactions.relays import take_relays
from storage import archive, dead_letters
from storage.blame import is_of_the_whole, lost_a_race
from storage.database import Pool

log = structlog.get_logger("pipeline")

T = TypeVar("T")
TRIES: Final = 3
"""Attempts of a batch that lost against another transaction (SQLSTATE 40xxx)."""


class CannotStore(Exception):
    """The database cannot store; it is no reading's fault."""


class ReadingStore:
    """The way into the database. What stores raises CannotStore."""

    def __init__(
        self, pool: Pool, authority: Authority, outlet: Outlet, to_settle: asyncio.Event
    ) -> None:
        """`to_settle`: set when there may be money to move."""
        self._pool = pool
        self._authority = authority
        self._outlet = outlet
        self._to_settle = to_settle
        self._known = KnownTails()

    async def store_waiting(self, waiting_readings: Sequence[WaitingReading]) -> None:
        """What waited on disk; a reading of a meter that nobody knows any more is a dead letter."""
        meters = await self._meters({reading.address for reading in waiting_readings})
        arrivals = []
        for reading in waiting_readings:
            meter = meters.get(reading.address)
            if meter is None:
                await self._bury(reading, UNKNOWN_METER)
            else:
                arrivals.append(arrival_of(reading, meter))
        if arrivals:
            await self.store(arrivals)

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

    async def store(self, batch: Sequence[Arrival | PolledFreeze]) -> None:
        """All or nothing; a reading that the database will never take is a dead letter."""

        async def take(connection: AsyncConnection[Any]) -> Collected:
            with metrics.BATCH_SECONDS.time():
                return await collect(connection, batch, self._authority.zone, known=self._known)

        try:
            await self._number({it.told_by for it in batch})
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

    async def _number(self, told_by: Set[Teller | None]) -> None:
        """Before the batch, which has as many statements whoever tells it."""
        if any(teller is not None and not teller.id for teller in told_by):
            await self._with_database(partial(tellers.number, told_by=told_by))

    async def _with_database(self, do: Callable[[AsyncConnection[Any]], Awaitable[T]]) -> T:
        """What `do` answers, which must be one transaction. CannotStore, or the error of a row."""
        for attempt in range(1, TRIES + 1):
            try:
                async with self._pool.connection() as connection:
                    return await do(connection)
            except Exception as error:
                if not is_of_the_whole(error):
                    raise
                if attempt == TRIES or not lost_a_race(error):
                    raise CannotStore(f"{type(error).__name__}: {error}".strip()) from error
        raise AssertionError("the last attempt returns or raises")

    async def _isolate(self, batch: Sequence[Arrival | PolledFreeze], error: Exception) -> None:
        """Halve a batch that cannot be stored until the row that is to blame stands alone.

        Whatever the error is: one reading must not keep those of other meters from being stored."""
        if len(batch) > 1:
            middle = len(batch) // 2
            await self.store(batch[:middle])
            await self.store(batch[middle:])
            return
        (arrival,) = batch
        log.debug("why it is one", exc_info=error)
        await self._bury(waiting(arrival), reason_of(error))
        # The slot counts as present until the next look for gaps: else it would be read again at
        # once, and fail again.
        self._outlet.stored(slots_of(batch))

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

    async def store_identities(self, reads: Sequence[IdentityRead]) -> None:
        """Who meters said they are; what the database will never take is logged."""

        async def take(connection: AsyncConnection[Any]) -> None:
            await take_identities(connection, reads, self._authority.zone)

        try:
            await self._with_database(take)
        except CannotStore:
            raise
        except Exception:
            log.exception("who meters are is not stored", meters=len(reads))

    async def store_relays(self, reads: Sequence[RelayRead]) -> None:
        """Where relays were; what the database will never take is logged."""

        async def take(connection: AsyncConnection[Any]) -> None:
            await take_relays(connection, reads, lambda: datetime.now(UTC))

        try:
            await self._with_database(take)
        except CannotStore:
            raise
        except Exception:
            log.exception("where relays are is not stored", meters=len(reads))

    async def forget_connections(self) -> None:
        """What was open may lead to a server that is gone, or that may only be read now."""
        await self._pool.drain()
