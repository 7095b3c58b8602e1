"""The life of one batch of readings: one transaction for what is true, others for its money."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import structlog
from psycopg import AsyncConnection

from daemon import metrics
from daemon.control.authority import Authority
from daemon.quality.arrival import Arrival
from daemon.quality.freeze import freeze_day, is_in_service
from daemon.quality.meter import Meter, register_of
from daemon.quality.publication import DecidedSlot, NewValue, Publication, publish
from daemon.quality.register import in_steps
from daemon.transactions.settle import settle_accounts
from daemon.transactions.supply import request_trips, restore
from storage import chains, identity, readings
from storage.readings import RawReading, Slot, Source
from storage.settling import Days, mark_points, put_off, take_marks

log = structlog.get_logger("pipeline")

TRY_AGAIN = timedelta(minutes=5)
ACCOUNTS_AT_ONCE = 50
"""Most accounts that are settled in one transaction: a payment waits for no more than these."""


async def process(
    connection: AsyncConnection[Any],
    batch: Sequence[Arrival],
    authority: Authority,
    now: datetime,
) -> list[tuple[int, date]]:
    """Collect a batch, and settle what it changed.

    Returns (meter id, day) of every slot that has a value. The same batch again changes nothing."""
    present = await collect(connection, batch, authority.zone)
    await settle_marked(connection, authority, now)
    return present


async def collect(
    connection: AsyncConnection[Any], batch: Sequence[Arrival], zone: ZoneInfo
) -> list[tuple[int, date]]:
    """T1: keep what arrived, publish or withhold it, and mark whose money it moves.

    It never fails for a reason of money. Returns (meter id, day) of every slot that has a value."""
    meters = {arrival.meter.point_id: arrival.meter for arrival in batch}
    raw = [_raw(arrival, zone) for arrival in batch]
    values = _values_by_point(batch, raw)
    async with connection.transaction():
        await chains.lock_chains(connection)
        await chains.make_room(connection, _days(raw, values))
        # R08: raw rows first, whatever becomes of them.
        await readings.add_readings(connection, raw)
        await _mark_others(connection, batch, values)
        published = await _publish(connection, values, meters)
        await mark_points(connection, published, "readings")
    # A value that the meter refused to tell again has one.
    refused = [(reading.meter_id, reading.day) for reading in raw if reading.total is None]
    return refused + [(value.meter_id, value.day) for found in values.values() for value in found]


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


def _days(raw: Iterable[RawReading], values: Mapping[int, Sequence[NewValue]]) -> set[date]:
    days = {reading.day for reading in raw}
    return days | {value.day for found in values.values() for value in found}


def _values_by_point(
    batch: Sequence[Arrival], raw: Sequence[RawReading]
) -> dict[int, list[NewValue]]:
    """By point, in order of days, what arrived for a day that is owed."""
    values: dict[int, list[NewValue]] = defaultdict(list)
    for arrival, reading in zip(batch, raw, strict=True):
        meter = arrival.meter
        freeze = arrival.freeze
        day = freeze_day(freeze.frozen_at, freeze.host_offset)
        # V04: a freeze that belongs to no day is kept raw and fills no slot.
        if day is None:
            log.warning("freeze not at midnight", meter=meter.address, frozen_at=freeze.frozen_at)
        # A second read that was refused is a fact of its day, and no value.
        elif reading.total is not None and is_in_service(day, meter.installed_on):
            total, rates = in_steps(freeze.registers, meter.decimals)
            values[meter.point_id].append(
                NewValue(
                    day,
                    meter.meter_id,
                    total,
                    rates,
                    freeze.clock_skew,
                    reading.id,
                )
            )
    for found in values.values():
        found.sort(key=lambda value: value.day)
    return values


async def _mark_others(
    connection: AsyncConnection[Any],
    batch: Sequence[Arrival],
    values: Mapping[int, list[NewValue]],
) -> None:
    """V03: what came from another meter than that of the point is no value of it."""
    meters = sorted({arrival.meter.meter_id for arrival in batch})
    others = await identity.others_now(connection, meters)
    told = {arrival.meter.meter_id for arrival in batch if arrival.freeze.serial is not None}
    # Few protocols tell it with each value.
    expected = await identity.serials(connection, sorted(told)) if told else {}
    if not others and not expected:
        return
    of_another = {
        (arrival.meter.meter_id, arrival.freeze.frozen_at.date())
        for arrival in batch
        if _is_of_another(arrival, others, expected)
    }
    for found in values.values():
        found[:] = [
            replace(value, is_of_another=(value.meter_id, value.day) in of_another)
            for value in found
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


async def _publish(
    connection: AsyncConnection[Any],
    values: Mapping[int, Sequence[NewValue]],
    meters: Mapping[int, Meter],
) -> dict[int, Days]:
    """Publish or withhold each value; returns by point the days that were published."""
    windows = []
    for point_id, found in values.items():
        first = found[0].day
        last = found[-1].day
        windows.append((point_id, first, last))
    # One look for all points of the batch: slots inside each window, and the nearest beside it.
    known = await readings.slots_around(connection, windows)
    slots: list[Slot] = []
    published: dict[int, Days] = {}
    for point_id, found in values.items():
        meter = meters[point_id]
        slots_there = [_decided(slot) for slot in known[point_id]]
        publication = publish(slots_there, found, register_of(meter))
        _report(meter.point, publication)
        slots += [_slot(point_id, decided) for decided in publication.decided]
        span = publication.published_span
        if span is not None:
            published[point_id] = Days(*span)
    await readings.add_slots(connection, slots)
    return published


def _report(point: str, publication: Publication) -> None:
    for slot in publication.decided:
        metrics.SLOTS_DECIDED.labels(slot.state).inc()
        if slot.reasons:
            log.warning(
                "reading withheld",
                point=point,
                day=slot.day,
                total=slot.total,
                reasons=",".join(slot.reasons),
            )
    for conflict in publication.conflicts:
        metrics.SLOTS_DECIDED.labels("conflict").inc()
        log.warning(
            "conflict",
            point=point,
            day=conflict.kept.day,
            kept=conflict.kept.total,
            also=conflict.total,
            state=conflict.kept.state,
        )


def _decided(slot: Slot) -> DecidedSlot:
    return DecidedSlot(
        day=slot.day,
        meter_id=slot.meter_id,
        total=slot.total,
        state="published" if slot.state == "published" else "suspect",
        reasons=tuple(slot.codes),
        reading_id=slot.reading_id,
    )


def _slot(point_id: int, decided: DecidedSlot) -> Slot:
    return Slot(
        point_id=point_id,
        day=decided.day,
        state=decided.state,
        codes=decided.reasons,
        meter_id=decided.meter_id,
        total=decided.total,
        reading_id=decided.reading_id,
    )


def _raw(arrival: Arrival, zone: ZoneInfo) -> RawReading:
    """R08: the raw row of what arrived, which never changes."""
    meter = arrival.meter
    freeze = arrival.freeze
    total = None
    rates: tuple[int, ...] = ()
    if freeze.registers[0] is not None:
        total, rates = in_steps(freeze.registers, meter.decimals)
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


def _whole(span: timedelta | None, unit: timedelta) -> int | None:
    return None if span is None else round(span / unit)
