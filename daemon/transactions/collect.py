"""The life of one batch of readings: one transaction for what is true, others for its money."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import structlog
from psycopg import AsyncConnection

from daemon.control.authority import Authority
from daemon.quality.arrival import Arrival
from daemon.quality.freeze import is_in_service
from daemon.quality.register import in_steps
from daemon.transactions.judging import Judged, judge_arrivals
from daemon.transactions.settle import settle_accounts
from daemon.transactions.supply import request_trips, restore
from storage import chains, identity, readings
from storage.readings import RawReading, Source
from storage.settling import mark_points, put_off, take_marks

log = structlog.get_logger("pipeline")

UNKNOWN_SERIAL = "another"
"""Of a meter that is not that of the point, and did not say with this value which one it is."""

TRY_AGAIN = timedelta(minutes=5)
ACCOUNTS_AT_ONCE = 50
"""Most accounts that are settled in one transaction: a payment waits for no more than these."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What became of a batch.

    `present`: (meter id, day) of every slot that need not be collected again; `is_doubtful`:
    something is to be read again that was not before."""

    present: list[tuple[int, date]]
    is_doubtful: bool


async def process(
    connection: AsyncConnection[Any],
    batch: Sequence[Arrival],
    authority: Authority,
    now: datetime,
) -> list[tuple[int, date]]:
    """Collect a batch, and settle what it changed: for whoever does both by hand."""
    collected = await collect(connection, batch, authority.zone)
    await settle_marked(connection, authority, now)
    return collected.present


async def collect(
    connection: AsyncConnection[Any], batch: Sequence[Arrival], zone: ZoneInfo
) -> Collected:
    """T1: keep what arrived, judge it, and mark whose money it moves.

    It never fails for a reason of money. The same batch again changes nothing."""
    raw = [raw_reading(arrival, zone) for arrival in batch]
    async with connection.transaction():
        await chains.begin(connection, {reading.day for reading in raw})
        raw = await _with_serials(connection, batch, raw)
        # R08: raw rows first, whatever becomes of them.
        await readings.add_readings(connection, raw)
        arrived = _by_point(batch, raw)
        judged = await judge_arrivals(connection, arrived, zone)
        await mark_points(connection, judged.changed, "readings")
    return Collected(_present(arrived, judged), judged.is_doubtful)


def _by_point(batch: Sequence[Arrival], raw: Sequence[RawReading]) -> dict[int, list[RawReading]]:
    """In order of days, what arrived for a day that is owed."""
    arrived: defaultdict[int, list[RawReading]] = defaultdict(list)
    for arrival, reading in zip(batch, raw, strict=True):
        if is_in_service(reading.day, arrival.meter.installed_on):
            arrived[arrival.meter.point_id].append(reading)
    for readings_of_point in arrived.values():
        readings_of_point.sort(key=lambda reading: (reading.day, reading.id))
    return arrived


async def _with_serials(
    connection: AsyncConnection[Any], batch: Sequence[Arrival], raw: Sequence[RawReading]
) -> list[RawReading]:
    """V03: what came from another meter than that of the point says whose it is."""
    others = await identity.others_now(connection, sorted({it.meter.meter_id for it in batch}))
    told = {it.meter.meter_id for it in batch if it.freeze.serial is not None}
    # Few protocols tell it with each value.
    expected = await identity.serials(connection, sorted(told)) if told else {}
    return [
        replace(reading, serial=arrival.freeze.serial or UNKNOWN_SERIAL)
        if _is_of_another(arrival, others, expected)
        else reading
        for arrival, reading in zip(batch, raw, strict=True)
    ]


def _is_of_another(
    arrival: Arrival, others: Mapping[int, datetime], expected: Mapping[int, str]
) -> bool:
    meter_id = arrival.meter.meter_id
    serial = arrival.freeze.serial
    # What tells its own serial needs no other proof.
    if serial is not None and meter_id in expected:
        return serial != expected[meter_id]
    since = others.get(meter_id)
    return since is not None and arrival.freeze.arrived_at >= since


def _present(arrived: Mapping[int, Sequence[RawReading]], judged: Judged) -> list[tuple[int, date]]:
    return [
        (reading.meter_id, reading.day)
        for point, found in arrived.items()
        for reading in found
        if (point, reading.day) not in judged.recollect
    ]


async def settle_marked(
    connection: AsyncConnection[Any], authority: Authority, now: datetime
) -> None:
    """T2: settle every account that is marked, a few at a time.

    One that cannot be settled keeps its mark with the reason, and does not hold up the others."""
    most = ACCOUNTS_AT_ONCE
    while True:
        taken: list[int] = []
        try:
            if not await settle_some(connection, authority, now, most, taken):
                return
            most = ACCOUNTS_AT_ONCE
        except (psycopg.OperationalError, psycopg.InterfaceError):
            raise
        except Exception as error:
            if len(taken) <= 1:
                await _put_off(connection, taken, error, now)
            most = max(1, len(taken) // 2)


async def settle_some(
    connection: AsyncConnection[Any],
    authority: Authority,
    now: datetime,
    most: int,
    taken: list[int],
) -> bool:
    """Settle up to so many marked accounts in one transaction; False if there were none.

    Supply follows in the same transaction, under the locks of the accounts. `taken` gets those
    that were tried."""
    async with connection.transaction():
        marks = await take_marks(connection, most, now)
        taken += marks
        if not marks:
            return False
        accounts = await settle_accounts(connection, marks, authority.zone, now)
        # Restoring comes first: a customer whose money is back is not cut by the same batch.
        await restore(connection, accounts, "balance is back after settlement", now)
        await request_trips(connection, authority, accounts, now)
    return True


async def _put_off(
    connection: AsyncConnection[Any], accounts: Sequence[int], error: Exception, now: datetime
) -> None:
    if not accounts:
        raise error
    (account,) = accounts
    log.error("account cannot be settled", account_id=account, error=str(error))
    reason = f"{type(error).__name__}: {error}"
    await put_off(connection, account, reason, now + TRY_AGAIN)


def raw_reading(arrival: Arrival, zone: ZoneInfo) -> RawReading:
    """R08: the raw row of what arrived, which never changes."""
    meter = arrival.meter
    freeze = arrival.freeze
    total, rates = _steps(freeze.registers, meter.decimals)
    day = freeze.frozen_at.date()
    is_midnight = freeze.frozen_at == datetime.combine(day, datetime.min.time())
    offset = freeze.host_offset
    return RawReading(
        day=day,
        meter_id=meter.meter_id,
        total=total,
        rates=rates,
        arrived_at=freeze.arrived_at,
        # The database keeps whole seconds of skew and milliseconds of offset.
        clock_skew_s=_whole(freeze.clock_skew, timedelta(seconds=1)),
        host_offset_ms=_whole(offset, timedelta(milliseconds=1)),
        # The meter's own stamp is wall clock of the site.
        stamp=None if is_midnight else freeze.frozen_at.replace(tzinfo=zone).astimezone(UTC),
        source=Source.METER if offset is None else Source.HOST,
    )


def _steps(
    registers: Sequence[Decimal | None], decimals: int
) -> tuple[int | None, tuple[int, ...]]:
    """A second read that the meter refused has no total."""
    if not registers or registers[0] is None:
        return None, ()
    return in_steps(registers, decimals)


def _whole(span: timedelta | None, unit: timedelta) -> int | None:
    return None if span is None else round(span / unit)
