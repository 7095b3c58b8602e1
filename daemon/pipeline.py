"""The life of one batch of readings, top to bottom, in one transaction. Start reading meterd here.

Lines put what meters told into a bounded queue. Here it becomes raw rows, slots that are published or withheld, links,
postings, credit states and, where the guard allows it, commands. A batch can be repeated without effect, so a crash
between any two steps loses nothing: what was not committed is still missing, and what is missing is read again.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from decimal import ROUND_CEILING, Decimal
from functools import partial
from typing import Any, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from daemon import metrics
from daemon.billing.accounts import BilledPoint, billed_point, settle_points
from daemon.control.supply import Authority, request_trips, restore
from daemon.quality.validation import ChainPoint, failing_rules, freeze_day
from protocols.dlt645.prepared import as_kwh
from protocols.reading import DailyFreeze, Quantity
from storage import readings
from storage.archive import SiteMeter
from storage.readings import RawReading, Slot

log = structlog.get_logger("pipeline")

BATCH_WAIT_S = 0.3
"""A batch is closed so long after its first reading: today's balances should not wait for a slow line."""
LOOK_S = 0.05
"""While a batch is open the queue is looked into so often: to be woken for each reading costs more than the reading."""
QUEUE_READINGS = 10_000
"""Lines wait when the database is behind by so many readings; frozen data stay in the meters meanwhile."""
FINISH_S = 30.0
"""So long the end of the daemon waits for what is queued; systemd waits for 60 s."""
DATABASE_RETRY_S = (0.5, 1, 2, 5, 10)


@dataclass(frozen=True, slots=True)
class Arrival:
    """What a line hands on: a freeze and the meter that told it."""

    meter: SiteMeter
    freeze: DailyFreeze


class PolledFreeze(NamedTuple):
    """An Arrival as a line polls it by the thousand: `registers` in 0.01 kWh, frozen at 00:00 of `day`. Nothing more is
    made of it before its batch is: the line has other answers to listen to."""

    meter: SiteMeter
    day: date
    registers: tuple[int | None, ...]
    arrived_at: datetime
    clock_skew: timedelta | None

    @property
    def freeze(self) -> DailyFreeze:
        """The same in full."""
        return DailyFreeze(
            self.meter.address,
            Quantity.FORWARD_ACTIVE_ENERGY,
            datetime.combine(self.day, clock()),
            as_kwh(self.registers),
            self.arrived_at,
            self.clock_skew,
        )


T = TypeVar("T")
Stored = Callable[[Sequence[tuple[int, date]]], None]


async def process(
    connection: AsyncConnection[Any], batch: Sequence[Arrival], authority: Authority, now: datetime
) -> list[tuple[int, date]]:
    """Take one batch through all rooms, in one transaction; returns (meter id, day) of every slot that has a value.

    The same batch again changes nothing.
    """
    points = {arrival.meter.point_id: billed_point(arrival.meter) for arrival in batch}
    async with connection.transaction():
        await readings.add_readings(connection, [_raw(arrival, authority.zone) for arrival in batch])
        present, published = await _decide(connection, batch, points)
        accounts = await settle_points(connection, published, points, authority.zone, now)
        await restore(connection, accounts, "balance is back after settlement", now)
        await request_trips(connection, authority, accounts, now)
    return present


async def _decide(
    connection: AsyncConnection[Any], batch: Sequence[Arrival], points: dict[str, BilledPoint]
) -> tuple[list[tuple[int, date]], dict[str, tuple[date, date]]]:
    """Publish or withhold each freeze; returns what is present now and, by point, the span that was published."""
    by_point: dict[str, list[tuple[date, Arrival]]] = defaultdict(list)
    for arrival in batch:
        day = freeze_day(arrival.freeze.frozen_at, arrival.freeze.host_offset)
        if day is None:
            log.warning("freeze not at midnight", meter=arrival.meter.address, frozen_at=arrival.freeze.frozen_at)
        elif day >= arrival.meter.installed_on:
            by_point[arrival.meter.point_id].append((day, arrival))
    spans = [(point, min(d for d, _ in found), max(d for d, _ in found)) for point, found in by_point.items()]
    known = await readings.slots_around(connection, spans)
    present: list[tuple[int, date]] = []
    decided: list[Slot] = []
    published: dict[str, list[date]] = defaultdict(list)
    for point_id, found in by_point.items():
        slots = {slot.day: slot for slot in known[point_id]}
        chain = {slot.day: slot.total for slot in known[point_id] if slot.state == "published"}
        for day, arrival in sorted(found, key=lambda item: item[0]):
            total, rates = _registers(arrival)
            present.append((arrival.meter.meter_id, day))
            if day in slots:
                _note_conflict(slots[day], arrival, total)
                continue
            reasons = failing_rules(
                ChainPoint(day, total),
                rates,
                points[point_id].register,
                before=max((ChainPoint(*item) for item in chain.items() if item[0] < day), default=None, key=_by_day),
                after=min((ChainPoint(*item) for item in chain.items() if item[0] > day), default=None, key=_by_day),
                clock_skew=arrival.freeze.clock_skew,
            )
            state = "suspect" if reasons else "published"
            slots[day] = Slot(point_id, day, state, reasons, arrival.meter.meter_id, total)
            decided.append(slots[day])
            metrics.SLOTS_DECIDED.labels(state).inc()
            if reasons:
                log.warning("reading withheld", point=point_id, day=day, total=total, reasons=",".join(reasons))
            else:
                chain[day] = total
                published[point_id].append(day)
    await readings.add_slots(connection, decided)
    return present, {point: (min(days), max(days)) for point, days in published.items()}


class Pipeline:
    """The queue between the lines and the database, and the task that empties it batch by batch."""

    def __init__(
        self, pool: AsyncConnectionPool[Any], authority: Authority, *, batch_readings: int, stored: Stored
    ) -> None:
        self._pool, self._authority, self._stored = pool, authority, stored
        self._batch_readings = batch_readings
        self._queue: asyncio.Queue[Arrival | PolledFreeze] = asyncio.Queue(QUEUE_READINGS)
        self._batch: list[Arrival] = []
        """What was taken out of the queue and is not stored yet."""
        self._is_database_away = False

    async def put(self, arrival: Arrival) -> None:
        """Hand a reading on; waits while the queue is full."""
        await self._queue.put(arrival)
        metrics.QUEUE.set(self._queue.qsize())

    def offer(self, arrival: Arrival | PolledFreeze) -> bool:
        """Hand a reading on; False when there is no room for it now."""
        if self._queue.full():
            return False
        self._queue.put_nowait(arrival)
        return True

    @property
    def is_behind(self) -> bool:
        """True while more than half of the queue is taken."""
        return 2 * self._queue.qsize() > QUEUE_READINGS

    async def run(self) -> None:
        """Empty the queue until cancelled. A run that is cancelled while it stores a batch stores it first, if the
        database lets it."""
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
        """When nothing more comes: until all that is queued is stored, for FINISH_S at the most. Without a database it
        is not waited for: what is not stored is wanted, and read again after the next start."""
        ends_at = time.monotonic() + FINISH_S
        while (left := self._queue.qsize() + len(self._batch)) and time.monotonic() < ends_at:
            if self._is_database_away:
                break
            await asyncio.sleep(LOOK_S)
        if left:
            log.warning("stopped before all readings were stored, they are read again", readings=left)

    async def _gather(self, batch: list[Arrival]) -> None:
        batch.append(_in_full(await self._queue.get()))
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
        """Until it is stored; a reading that the database will never take is buried."""

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

    async def _with_database(self, do: Callable[[AsyncConnection[Any]], Awaitable[T]], count: int) -> T:
        """What `do` answers; while the database is away it is tried again. It must be one transaction."""
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
                log.error("database away", error=str(error).strip(), readings=count, retry_s=wait_s)
                metrics.BATCHES.labels("database_away").inc()
                await asyncio.sleep(wait_s)
                attempt += 1

    async def _isolate(self, batch: Sequence[Arrival], error: Exception) -> None:
        """Halve a batch that cannot be stored until the row that is to blame stands alone; keep it with its reason.

        Whatever the error is: one reading must not keep those of other meters from being stored.
        """
        if len(batch) > 1:
            middle = len(batch) // 2
            await self._store(batch[:middle])
            await self._store(batch[middle:])
            return
        (arrival,) = batch
        log.exception("reading buried", meter=arrival.meter.address, frozen_at=arrival.freeze.frozen_at)
        metrics.BATCHES.labels("buried").inc()
        content = {name: str(value) for name, value in asdict(arrival.freeze).items()}
        reason = f"{type(error).__name__}: {error}"
        await self._with_database(partial(readings.bury, content=content, reason=reason), 1)
        day = freeze_day(arrival.freeze.frozen_at)
        if day is not None:
            self._stored([(arrival.meter.meter_id, day)])


def _in_full(arrival: Arrival | PolledFreeze) -> Arrival:
    return arrival if isinstance(arrival, Arrival) else Arrival(arrival.meter, arrival.freeze)


def _raw(arrival: Arrival, zone: ZoneInfo) -> RawReading:
    total, rates = _registers(arrival)
    skew, offset = arrival.freeze.clock_skew, arrival.freeze.host_offset
    return RawReading(
        frozen_at=arrival.freeze.frozen_at.replace(tzinfo=zone).astimezone(UTC),
        meter_id=arrival.meter.meter_id,
        total=total,
        rates=rates,
        arrived_at=arrival.freeze.arrived_at,
        clock_skew_s=None if skew is None else round(skew / timedelta(seconds=1)),
        host_offset_s=None if offset is None else Decimal(offset // timedelta(milliseconds=1)).scaleb(-3),
        error_bound=None if offset is None else error_bound(arrival.meter, abs(offset)),
    )


def error_bound(meter: SiteMeter, off: timedelta) -> int:
    """The most that the register can have moved in this time, in its smallest step, rounded up."""
    most = meter.max_daily_kwh.scaleb(meter.decimals) * (off // timedelta(microseconds=1)) / 86_400_000_000
    return int(most.to_integral_value(ROUND_CEILING))


def _registers(arrival: Arrival) -> tuple[int, tuple[int, ...]]:
    """Total and tariffs in the register's smallest step. A tariff without data makes all of them unknown."""
    total, *rates = arrival.freeze.registers
    assert total is not None, "a freeze without a total was put into the pipeline"
    known = [rate for rate in rates if rate is not None]
    steps = tuple(_steps(rate, arrival.meter.decimals) for rate in known) if len(known) == len(rates) else ()
    return _steps(total, arrival.meter.decimals), steps


def _steps(value: Decimal, decimals: int) -> int:
    scaled = value.scaleb(decimals)
    assert scaled == int(scaled), f"{value} kWh has more than {decimals} decimals"
    return int(scaled)


def _note_conflict(slot: Slot, arrival: Arrival, total: int) -> None:
    """Another value for a slot that has one: both raw rows are kept, neither replaces what was decided."""
    if slot.total != total:
        log.warning("conflict", point=slot.point_id, day=slot.day, kept=slot.total, also=total, state=slot.state)
        metrics.SLOTS_DECIDED.labels("conflict").inc()


def _by_day(point: ChainPoint) -> date:
    return point.day
