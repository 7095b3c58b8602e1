"""The facts of points, as the judgement wants them, from the rows that hold them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from daemon.quality.facts import (
    ClockFinding,
    ClockSetting,
    Closing,
    Decision,
    Facts,
    Finding,
    Installation,
    Limit,
    Ratio,
    Read,
    Registers,
)
from storage.facts import InstallationRow, PointRows, rows_of_points, zone_name
from storage.readings import Source
from storage.sql import Row

FAR: Final = date(9999, 12, 31)
"""The last day of a finding that was not ended."""


async def facts_of_points(
    connection: AsyncConnection[Any], points: Collection[int]
) -> dict[int, Facts]:
    """By point all its facts; the number of statements does not depend on their number."""
    zone = ZoneInfo(await zone_name(connection))
    rows = await rows_of_points(connection, points)
    return {point: _facts(of_point, zone) for point, of_point in rows.items()}


def registers_of(steps: Sequence[int] | None, decimals: int) -> Registers | None:
    """Total and rates of a row, in kWh; the rates are called 1, 2 and so on."""
    if steps is None:
        return None
    total, *rates = [Decimal(step).scaleb(-decimals) for step in steps]
    return Registers(total, tuple((str(n), rate) for n, rate in enumerate(rates, 1)))


def _facts(rows: PointRows, zone: ZoneInfo) -> Facts:
    reads, refused = _reads(rows, zone)
    decimals = rows.installations[-1].decimals if rows.installations else 0
    return Facts(
        zone=zone,
        installations=tuple(map(_installation, rows.installations)),
        limits=tuple(Limit(it["from_day"], it["max_daily_kwh"], it["rev"]) for it in rows.limits),
        ratios=tuple(
            Ratio(
                it["from_at"] or it["from_day"],
                it["ratio"],
                it["rev"],
                registers_of(it["registers"], _decimals_on(rows, it["from_day"], zone)),
            )
            for it in rows.ratios
        ),
        reads=tuple(reads),
        refused=frozenset(refused),
        clock_settings=tuple(ClockSetting(it["clock"], it["rev"]) for it in rows.clock_settings),
        clock_findings=tuple(
            ClockFinding(it["from_day"], it["to_day"], it["skew_s"], it["rev"])
            for it in rows.clock_findings
        ),
        findings=tuple(
            Finding(it["code"], it["from_day"], it["to_day"] or FAR, it["rev"], it["active"])
            for it in rows.findings
        ),
        decisions=tuple(
            Decision(
                it["action"],
                it["day"],
                Decimal(it["total"]).scaleb(-decimals),
                it["rev"],
                it["rolled_over"],
                it["method"],
            )
            for it in rows.decisions
        ),
        closings=tuple(
            Closing(it["through_day"], tuple(_named(it["published"], decimals)))
            for it in rows.closings
        ),
    )


def _installation(row: InstallationRow) -> Installation:
    scale = -row.decimals
    return Installation(
        at=row.from_at,
        serial=row.address,
        modulus=Decimal(row.modulus).scaleb(scale),
        decimals=row.decimals,
        wire_decimals=row.wire_decimals,
        initial=registers_of(row.initial, row.decimals),
        old_final=registers_of(row.old_final, row.old_decimals or 0),
    )


def _named(published: dict[str, list[int]], decimals: int) -> Iterable[tuple[date, Registers]]:
    for day, steps in published.items():
        registers = registers_of(steps, decimals)
        if registers is not None:
            yield date.fromisoformat(day), registers


def _decimals_on(rows: PointRows, day: date, zone: ZoneInfo) -> int:
    """Of the register that served the point at that midnight; of the first one before it."""
    at = datetime.combine(day, time(), zone)
    begun = [row for row in rows.installations if row.from_at <= at] or rows.installations[:1]
    return begun[-1].decimals if begun else 0


def _reads(rows: PointRows, zone: ZoneInfo) -> tuple[list[Read], set[date]]:
    serials = {row.meter_id: row.address for row in rows.installations}
    decimals = {row.meter_id: row.decimals for row in rows.installations}
    reads: list[Read] = []
    refused: set[date] = set()
    for row in rows.reads:
        meter_id = row[2]
        if row[3] is None:
            refused.add(row[1])
        else:
            reads.append(_read(row, serials[meter_id], decimals[meter_id], zone))
    return reads, refused


def _read(row: Row, serial: str, decimals: int, zone: ZoneInfo) -> Read:
    _, day, _, total, *rates, more, stamp, arrived_at, source, skew_s, offset_ms = row
    steps = [total, *(rate for rate in (*rates, *(more or ())) if rate is not None)]
    registers = registers_of(steps, decimals)
    assert registers is not None, "a read has a total"
    midnight = datetime.combine(day, time())
    return Read(
        day=day,
        registers=registers,
        read_at=arrived_at,
        source=Source(source).name.lower(),
        stamp=midnight if stamp is None else stamp.astimezone(zone).replace(tzinfo=None),
        serial=serial,
        skew_s=skew_s,
        host_offset_s=None if offset_ms is None else round(offset_ms / 1000),
    )
