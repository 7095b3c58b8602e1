"""The life of one batch of readings, top to bottom, in one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from psycopg import AsyncConnection

from daemon import metrics
from daemon.billing.links import BilledPoint, billed_point
from daemon.control.authority import Authority
from daemon.quality.arrival import Arrival
from daemon.quality.freeze import freeze_day, is_in_service
from daemon.quality.meter import register_of
from daemon.quality.publication import DecidedSlot, NewValue, Publication, publish
from daemon.quality.register import error_bound, in_steps
from daemon.transactions.settle import settle_points
from daemon.transactions.supply import request_trips, restore
from storage import readings
from storage.readings import RawReading, Slot

log = structlog.get_logger("pipeline")


async def process(
    connection: AsyncConnection[Any],
    batch: Sequence[Arrival],
    authority: Authority,
    now: datetime,
) -> list[tuple[int, date]]:
    """Take one batch through all rooms, in one transaction: quality, then money, then supply.

    Returns (meter id, day) of every slot that has a value. The same batch again changes nothing."""
    meters = {arrival.meter.point_id: arrival.meter for arrival in batch}
    points = {point_id: billed_point(meter) for point_id, meter in meters.items()}
    async with connection.transaction():
        # R08: raw rows first, whatever becomes of them.
        await readings.add_readings(
            connection, [_raw(arrival, authority.zone) for arrival in batch]
        )
        values = _values_by_point(batch)
        published = await _publish(connection, values, points)
        accounts = await settle_points(
            connection,
            published,
            points,
            authority.zone,
            now,
        )
        # Restoring comes first: a customer whose money is back is not cut by the same batch.
        await restore(connection, accounts, "balance is back after settlement", now)
        await request_trips(connection, authority, accounts, now)
    return [(value.meter_id, value.day) for found in values.values() for value in found]


def _values_by_point(batch: Sequence[Arrival]) -> dict[str, list[NewValue]]:
    """By point, in order of days, what arrived for a day that is owed."""
    values: dict[str, list[NewValue]] = defaultdict(list)
    for arrival in batch:
        meter = arrival.meter
        freeze = arrival.freeze
        day = freeze_day(freeze.frozen_at, freeze.host_offset)
        # V04: a freeze that belongs to no day is kept raw and fills no slot.
        if day is None:
            log.warning("freeze not at midnight", meter=meter.address, frozen_at=freeze.frozen_at)
        elif is_in_service(day, meter.installed_on):
            total, rates = in_steps(freeze.registers, meter.decimals)
            values[meter.point_id].append(
                NewValue(
                    day,
                    meter.meter_id,
                    total,
                    rates,
                    freeze.clock_skew,
                )
            )
    for found in values.values():
        found.sort(key=lambda value: value.day)
    return values


async def _publish(
    connection: AsyncConnection[Any],
    values: Mapping[str, Sequence[NewValue]],
    points: Mapping[str, BilledPoint],
) -> dict[str, tuple[date, date]]:
    """Publish or withhold each value; returns by point the span that was published."""
    windows = []
    for point_id, found in values.items():
        first = found[0].day
        last = found[-1].day
        windows.append((point_id, first, last))
    # One look for all points of the batch: slots inside each window, and the nearest beside it.
    known = await readings.slots_around(connection, windows)
    slots: list[Slot] = []
    published: dict[str, tuple[date, date]] = {}
    for point_id, found in values.items():
        slots_there = [_decided(slot) for slot in known[point_id]]
        publication = publish(slots_there, found, points[point_id].register)
        _report(point_id, publication)
        slots += [_slot(point_id, decided) for decided in publication.decided]
        span = publication.published_span
        if span is not None:
            published[point_id] = span
    await readings.add_slots(connection, slots)
    return published


def _report(point_id: str, publication: Publication) -> None:
    for slot in publication.decided:
        metrics.SLOTS_DECIDED.labels(slot.state).inc()
        if slot.reasons:
            log.warning(
                "reading withheld",
                point=point_id,
                day=slot.day,
                total=slot.total,
                reasons=",".join(slot.reasons),
            )
    for conflict in publication.conflicts:
        metrics.SLOTS_DECIDED.labels("conflict").inc()
        log.warning(
            "conflict",
            point=point_id,
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
        reasons=tuple(slot.reasons),
    )


def _slot(point_id: str, decided: DecidedSlot) -> Slot:
    return Slot(
        point_id=point_id,
        day=decided.day,
        state=decided.state,
        reasons=decided.reasons,
        meter_id=decided.meter_id,
        total=decided.total,
    )


def _raw(arrival: Arrival, zone: ZoneInfo) -> RawReading:
    """R08: the raw row of what arrived, which never changes."""
    meter = arrival.meter
    freeze = arrival.freeze
    total, rates = in_steps(freeze.registers, meter.decimals)
    # The database keeps time in whole seconds of skew and milliseconds of offset.
    skew_s = None
    if freeze.clock_skew is not None:
        skew_s = round(freeze.clock_skew / timedelta(seconds=1))
    offset_s = None
    bound = None
    if freeze.host_offset is not None:
        offset_s = Decimal(freeze.host_offset // timedelta(milliseconds=1)).scaleb(-3)
        bound = error_bound(register_of(meter), abs(freeze.host_offset))
    return RawReading(
        # Stored in UTC; the meter's own stamp is wall clock of the site.
        frozen_at=freeze.frozen_at.replace(tzinfo=zone).astimezone(UTC),
        meter_id=meter.meter_id,
        total=total,
        rates=rates,
        arrived_at=freeze.arrived_at,
        clock_skew_s=skew_s,
        host_offset_s=offset_s,
        error_bound=bound,
    )
