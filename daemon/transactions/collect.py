"""The life of one batch of readings: one transaction for what is true, others for its money."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, cast
from zoneinfo import ZoneInfo

import psycopg
import structlog
from psycopg import AsyncConnection

from daemon import metrics
from daemon.control.authority import Authority
from daemon.quality.arrival import Arrival, PolledFreeze, number_of
from daemon.quality.freeze import is_in_service
from daemon.quality.register import in_steps
from daemon.transactions.disputes import judge_waiting
from daemon.transactions.judging import Judged, arrival_tails, judge_arrivals
from daemon.transactions.known_tails import POLLED_DECIMALS, KnownTails, NextValues
from daemon.transactions.next_days import settle_next_days
from daemon.transactions.past_days import settle_past_days
from daemon.transactions.portions import Clock, in_portions
from daemon.transactions.rounds import Pace
from daemon.transactions.settle import settle_accounts
from daemon.transactions.supply import request_trips, restore
from protocols.dlt645.prepared.one import as_kwh
from storage import identity, readings, supply
from storage.judging import Tail
from storage.readings import (
    DAILY_FREEZE,
    RATES,
    REFUSED,
    STORED_VERSION,
    RawReading,
    Source,
    read_id,
)
from storage.settling import is_any_marked, latest_mark, mark_points, put_off, take_marks

log = structlog.get_logger("pipeline")

UNKNOWN_SERIAL = "another"
"""Of a meter that is not that of the point, and did not say with this value which one it is."""

SECOND = timedelta(seconds=1)
MILLISECOND = timedelta(milliseconds=1)
NO_RATES = (None,) * RATES
# Plain numbers: what is made of every reading is made of nothing that has to be looked up.
METER = int(Source.METER)
HOST = int(Source.HOST)
TRY_AGAIN = timedelta(minutes=5)
JUDGE_WITHIN_S = 15.0
"""A batch may use its connection for twice as long; what is left waits for the sweep."""
ACCOUNTS_AT_ONCE = 50
"""Most accounts that are settled in one transaction: a payment waits for no more than these."""
LEAST_ACCOUNTS = 12
"""A transaction costs what a dozen accounts do, whatever their number: on a slow machine one for
each account would take many times as long, and a payment would wait no less."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What became of a batch.

    `present`: (meter id, day) of every slot that need not be collected again; `is_doubtful`:
    something is to be read again that was not before."""

    present: list[tuple[int, date]]
    is_doubtful: bool


async def process(
    connection: AsyncConnection[Any],
    batch: Sequence[Arrival | PolledFreeze],
    authority: Authority,
    now: datetime,
) -> list[tuple[int, date]]:
    """Collect a batch, and settle what it changed: for whoever does both by hand."""
    collected = await collect(connection, batch, authority.zone)
    await settle_marked(connection, authority, now)
    return collected.present


async def collect(
    connection: AsyncConnection[Any],
    batch: Sequence[Arrival | PolledFreeze],
    zone: ZoneInfo,
    clock: Clock = time.monotonic,
    known: KnownTails | None = None,
) -> Collected:
    """T1: keep what arrived, judge it, and mark whose money it moves.

    It never fails for a reason of money. The same batch again changes nothing, and writes
    nothing. Where many points are in dispute others follow, each a transaction of some points.
    `known`: what whoever stores one batch after the other remembers of chains."""
    known = known or KnownTails()
    async with known.turn:
        try:
            try:
                collected, waits = await _collect(connection, batch, zone, known, are_new=True)
            except psycopg.errors.UniqueViolation:
                # A reading was there of which no slot told: seldom enough to begin anew.
                collected, waits = await _collect(connection, batch, zone, known, are_new=False)
        except BaseException:
            # Whether it was committed is not always known, nor to which database.
            known.forget()
            raise
    if not waits:
        return collected
    found = await judge_waiting(connection, zone, clock, JUDGE_WITHIN_S)
    points = {(it.meter.meter_id, _day_of(it)): it.meter.point_id for it in batch}
    present = [it for it in collected.present if (points[it], it[1]) not in found.recollect]
    return Collected(present, collected.is_doubtful or found.is_doubtful)


async def _collect(
    connection: AsyncConnection[Any],
    batch: Sequence[Arrival | PolledFreeze],
    zone: ZoneInfo,
    known: KnownTails,
    *,
    are_new: bool,
) -> tuple[Collected, bool]:
    """What became of it, and whether points wait to be judged.

    `are_new`: what no slot tells of is believed to be new; UniqueViolation if it is not."""
    async with connection.transaction():
        await known.begin(connection, {_day_of(it) for it in batch})
        proved = known.next_values(batch, zone) if are_new else NextValues()
        asked = [it for n, it in enumerate(batch) if n not in proved.positions]
        raw = await _with_serials(connection, asked, [raw_reading(it, zone) for it in asked])
        arrived, out_of_service = _by_point(asked, raw)
        tails = await arrival_tails(connection, arrived)
        new = {
            point: told
            for point, told in arrived.items()
            if are_new and point in tails and _fill_slots(told, tails[point])
        }
        others = [reading for point in arrived.keys() - new.keys() for reading in arrived[point]]
        # R08: raw rows, whatever becomes of them.
        fresh = [reading for told in new.values() for reading in told]
        await readings.add(connection, fresh, proved.readings)
        kept = await readings.merge(connection, [*others, *out_of_service])
        # What was there is judged already.
        news = {
            point: told
            for point, told in arrived.items()
            if point in new or any(readings.KEY(reading) in kept for reading in told)
        }
        judged = await judge_arrivals(connection, news, tails, zone, proved.slots)
        await mark_points(connection, judged.changed, "readings", proved.marks)
    metrics.SLOTS_DECIDED.labels("published").inc(proved.count)
    has_put_slots = bool(proved.slots or judged.clean)
    clean = {slot.point_id for slot in judged.clean}
    known.remember(
        proved,
        news,
        [(tails[point], arrived[point][-1]) for point in clean],
        has_put_slots=has_put_slots,
    )
    present = [*proved.present, *_present(arrived, news, tails, judged)]
    return Collected(present, judged.is_doubtful), judged.waits


def _day_of(arrival: Arrival | PolledFreeze) -> date:
    return arrival.day if isinstance(arrival, PolledFreeze) else arrival.freeze.frozen_at.date()


def _by_point(
    batch: Sequence[Arrival | PolledFreeze], raw: Sequence[RawReading]
) -> tuple[dict[int, list[RawReading]], list[RawReading]]:
    """In order of days, what arrived for a day that is owed; and what did not."""
    arrived: dict[int, list[RawReading]] = {}
    out_of_service = []
    for arrival, reading in zip(batch, raw, strict=True):
        meter = arrival.meter
        if not is_in_service(reading.day, meter.installed_on):
            out_of_service.append(reading)
        elif meter.point_id in arrived:
            arrived[meter.point_id].append(reading)
        else:
            arrived[meter.point_id] = [reading]
    for told in arrived.values():
        if len(told) > 1:
            told.sort(key=lambda reading: (reading.day, reading.id))
    return arrived, out_of_service


def _fill_slots(told: Sequence[RawReading], tail: Tail) -> bool:
    """Whether slots would tell of these readings, if they were there; none does."""
    if tail.is_told:
        return False
    return all(reading.total is not None and reading.stamp is None for reading in told)


async def _with_serials(
    connection: AsyncConnection[Any],
    batch: Sequence[Arrival | PolledFreeze],
    raw: Sequence[RawReading],
) -> Sequence[RawReading]:
    """V03: what came from another meter than that of the point says whose it is."""
    if not batch:
        return raw
    meters = {reading.meter_id for reading in raw}
    # Few protocols tell it with each value.
    told = {it.meter.meter_id for it in batch if _serial(it) is not None}
    others, serials = await identity.expected(connection, meters, told)
    if not others and not serials:
        return raw
    return [
        reading._replace(serial=_serial(arrival) or UNKNOWN_SERIAL)
        if _is_of_another(arrival, reading, others, serials)
        else reading
        for arrival, reading in zip(batch, raw, strict=True)
    ]


def _serial(arrival: Arrival | PolledFreeze) -> str | None:
    return arrival.freeze.serial if isinstance(arrival, Arrival) else None


def _is_of_another(
    arrival: Arrival | PolledFreeze,
    reading: RawReading,
    others: Mapping[int, datetime],
    serials: Mapping[int, str],
) -> bool:
    serial = _serial(arrival)
    # What tells its own serial needs no other proof.
    if serial is not None and reading.meter_id in serials:
        return serial != serials[reading.meter_id]
    since = others.get(reading.meter_id)
    return since is not None and reading.arrived_at >= since


def _present(
    arrived: Mapping[int, Sequence[RawReading]],
    news: Mapping[int, Sequence[RawReading]],
    tails: Mapping[int, Tail],
    judged: Judged,
) -> list[tuple[int, date]]:
    """(meter id, day) of what need not be collected again."""
    recollect = set(judged.recollect)
    for point in arrived.keys() - news.keys():
        tail = tails.get(point)
        if tail is not None and tail.recollect:
            recollect |= {(point, day) for day in tail.recollect}
    return [
        (reading.meter_id, reading.day)
        for point, told in arrived.items()
        for reading in told
        if (point, reading.day) not in recollect
    ]


async def settle_marked(
    connection: AsyncConnection[Any],
    authority: Authority,
    now: datetime,
    clock: Clock = time.monotonic,
    give_way: Callable[[], Awaitable[None]] | None = None,
    pace: Pace | None = None,
) -> list[Exception]:
    """T2: settle every account that is marked by now, a few at a time.

    Each once: a back-fill marks the same ones again and again, and those behind them would wait for
    its end. One that cannot be settled keeps its mark with the reason. `give_way`: awaited before
    each transaction. Returns what many accounts at once failed of; they were settled one by one."""
    until = await latest_mark(connection)

    async def some(most: int, taken: list[int]) -> bool:
        return await _settle_some(connection, authority, now, most, until, taken)

    async def later(account: int, error: Exception) -> None:
        log.error("account cannot be settled", account_id=account, error=str(error))
        reason = f"{type(error).__name__}: {error}"
        await put_off(connection, account, reason, now + TRY_AGAIN)

    failures = await settle_next_days(connection, authority, now, until, clock, pace, give_way)
    if not await is_any_marked(connection, until):
        return failures  # as mostly
    failures += await settle_past_days(connection, authority, now, until, clock, give_way)
    await in_portions(some, later, ACCOUNTS_AT_ONCE, clock, least=LEAST_ACCOUNTS, give_way=give_way)
    return failures


async def _settle_some(
    connection: AsyncConnection[Any],
    authority: Authority,
    now: datetime,
    most: int,
    until: datetime,
    taken: list[int],
) -> bool:
    """Settle up to so many marked accounts in one transaction; False if there were none.

    Supply follows in the same transaction, under the locks of the accounts. `taken` gets those
    that were tried."""
    async with connection.transaction():
        marks = await take_marks(connection, most, now, until)
        taken += marks
        if not marks:
            return False
        accounts = await settle_accounts(connection, marks, authority.zone, now)
        # Most have money and supply: then control need not be asked. Restoring comes first: a
        # customer whose money is back is not cut by the same batch.
        if dark := await supply.accounts_not_energised(connection, accounts):
            await restore(connection, dark, "balance is back after settlement", now)
        if poor := await supply.accounts_exhausted(connection, accounts):
            await request_trips(connection, authority, poor, now)
    return True


def raw_reading(arrival: Arrival | PolledFreeze, zone: ZoneInfo) -> RawReading:
    """R08: the raw row of what arrived, which never changes."""
    if not isinstance(arrival, Arrival):
        return _polled_reading(arrival)
    freeze = arrival.freeze
    meter = arrival.meter
    day = freeze.frozen_at.date()
    is_midnight = freeze.frozen_at == datetime.combine(day, datetime.min.time())
    total, rates = _steps(freeze.registers, meter.decimals)
    return _row(
        arrival,
        day,
        total,
        rates,
        freeze.arrived_at,
        # The meter's own stamp is wall clock of the site.
        stamp=None if is_midnight else freeze.frozen_at.replace(tzinfo=zone).astimezone(UTC),
        clock_skew=freeze.clock_skew,
        host_offset=freeze.host_offset,
    )


def _polled_reading(polled: PolledFreeze) -> RawReading:
    """The same without a detour over kWh."""
    meter, day, registers, arrived_at, clock_skew, _ = polled
    total = registers[0]
    rates: Sequence[int] = ()
    if total is not None and None not in registers:
        rates = cast("tuple[int, ...]", registers[1:])
    if meter.decimals != POLLED_DECIMALS and total is not None:
        total, rates = _steps(as_kwh((total, *rates)), meter.decimals)
    return _row(polled, day, total, rates, arrived_at, clock_skew=clock_skew)


def _row(
    arrival: Arrival | PolledFreeze,
    day: date,
    total: int | None,
    rates: Sequence[int],
    arrived_at: datetime,
    *,
    clock_skew: timedelta | None,
    stamp: datetime | None = None,
    host_offset: timedelta | None = None,
) -> RawReading:
    source = METER if host_offset is None else HOST
    registers = (REFUSED if total is None else total, *rates)
    rate_1, rate_2, rate_3, rate_4 = (*rates, *NO_RATES)[:RATES]
    return RawReading(
        day,
        arrival.meter.meter_id,
        read_id(source, arrived_at, stamp, registers),
        DAILY_FREEZE,
        source,
        STORED_VERSION,
        stamp,
        total,
        rate_1,
        rate_2,
        rate_3,
        rate_4,
        list(rates[RATES:]) if len(rates) > RATES else None,
        arrived_at,
        # The database keeps whole seconds of skew and milliseconds of offset.
        None if clock_skew is None else round(clock_skew / SECOND),
        None if host_offset is None else round(host_offset / MILLISECOND),
        None,
        number_of(arrival.told_by),
    )


def _steps(registers: Sequence[Decimal | None], decimals: int) -> tuple[int | None, list[int]]:
    """A second read that the meter refused has no total."""
    if not registers or registers[0] is None:
        return None, []
    total, rates = in_steps(registers, decimals)
    return total, list(rates)
