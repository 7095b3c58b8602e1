"""The life of one batch of readings, top to bottom, in one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from psycopg import AsyncConnection

from daemon import metrics
from daemon.control.authority import Authority
from daemon.quality.arrival import Arrival
from daemon.quality.freeze import freeze_day
from daemon.quality.judgement import failing_rules
from daemon.quality.register import ChainPoint
from daemon.transactions.settle import BilledPoint, billed_point, settle_points
from daemon.transactions.supply import request_trips, restore
from storage import readings
from storage.archive import SiteMeter
from storage.readings import RawReading, Slot

log = structlog.get_logger("pipeline")


async def process(
    connection: AsyncConnection[Any], batch: Sequence[Arrival], authority: Authority, now: datetime
) -> list[tuple[int, date]]:
    """Take one batch through all rooms, in one transaction; returns (meter id, day) of every slot
    that has a value.

    The same batch again changes nothing."""
    points = {arrival.meter.point_id: billed_point(arrival.meter) for arrival in batch}
    async with connection.transaction():
        await readings.add_readings(
            connection, [_raw(arrival, authority.zone) for arrival in batch]
        )
        present, published = await _decide(connection, batch, points)
        accounts = await settle_points(
            connection,
            published,
            points,
            authority.zone,
            now,
        )
        await restore(connection, accounts, "balance is back after settlement", now)
        await request_trips(connection, authority, accounts, now)
    return present


async def _decide(
    connection: AsyncConnection[Any], batch: Sequence[Arrival], points: dict[str, BilledPoint]
) -> tuple[list[tuple[int, date]], dict[str, tuple[date, date]]]:
    """Publish or withhold each freeze; returns what is present now and, by point, the span that was
    published."""
    by_point: dict[str, list[tuple[date, Arrival]]] = defaultdict(list)
    for arrival in batch:
        day = freeze_day(arrival.freeze.frozen_at, arrival.freeze.host_offset)
        if day is None:
            log.warning(
                "freeze not at midnight",
                meter=arrival.meter.address,
                frozen_at=arrival.freeze.frozen_at,
            )
        elif day >= arrival.meter.installed_on:
            by_point[arrival.meter.point_id].append((day, arrival))
    spans = [
        (point, min(d for d, _ in found), max(d for d, _ in found))
        for point, found in by_point.items()
    ]
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
                before=max(
                    (ChainPoint(*item) for item in chain.items() if item[0] < day),
                    default=None,
                    key=_by_day,
                ),
                after=min(
                    (ChainPoint(*item) for item in chain.items() if item[0] > day),
                    default=None,
                    key=_by_day,
                ),
                clock_skew=arrival.freeze.clock_skew,
            )
            state = "suspect" if reasons else "published"
            slots[day] = Slot(
                point_id,
                day,
                state,
                reasons,
                arrival.meter.meter_id,
                total,
            )
            decided.append(slots[day])
            metrics.SLOTS_DECIDED.labels(state).inc()
            if reasons:
                log.warning(
                    "reading withheld",
                    point=point_id,
                    day=day,
                    total=total,
                    reasons=",".join(reasons),
                )
            else:
                chain[day] = total
                published[point_id].append(day)
    await readings.add_slots(connection, decided)
    return present, {point: (min(days), max(days)) for point, days in published.items()}


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
        host_offset_s=None
        if offset is None
        else Decimal(offset // timedelta(milliseconds=1)).scaleb(-3),
        error_bound=None if offset is None else error_bound(arrival.meter, abs(offset)),
    )


def error_bound(meter: SiteMeter, off: timedelta) -> int:
    """The most that the register can have moved in this time, in its smallest step, rounded up."""
    most = (
        meter.max_daily_kwh.scaleb(meter.decimals)
        * (off // timedelta(microseconds=1))
        / 86_400_000_000
    )
    return int(most.to_integral_value(ROUND_CEILING))


def _registers(arrival: Arrival) -> tuple[int, tuple[int, ...]]:
    """Total and tariffs in the register's smallest step. A tariff without data makes all of them
    unknown."""
    total, *rates = arrival.freeze.registers
    assert total is not None, "a freeze without a total was put into the pipeline"
    known = [rate for rate in rates if rate is not None]
    steps = (
        tuple(_steps(rate, arrival.meter.decimals) for rate in known)
        if len(known) == len(rates)
        else ()
    )
    return _steps(total, arrival.meter.decimals), steps


def _steps(value: Decimal, decimals: int) -> int:
    scaled = value.scaleb(decimals)
    assert scaled == int(scaled), f"{value} kWh has more than {decimals} decimals"
    return int(scaled)


def _note_conflict(slot: Slot, arrival: Arrival, total: int) -> None:
    """Another value for a slot that has one: both raw rows are kept, neither replaces what was
    decided."""
    if slot.total != total:
        log.warning(
            "conflict",
            point=slot.point_id,
            day=slot.day,
            kept=slot.total,
            also=total,
            state=slot.state,
        )
        metrics.SLOTS_DECIDED.labels("conflict").inc()


def _by_day(point: ChainPoint) -> date:
    return point.day
