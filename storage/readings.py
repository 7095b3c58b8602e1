"""Raw readings and slots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from storage.sql import Connection, fetch_dicts, load

SQL = load("readings")
DAILY_FREEZE = "daily_freeze"
COPIED = {
    "frozen_at": "timestamptz",
    "meter_id": "int4",
    "kind": "text",
    "total": "int8",
    "rates": "int8[]",
    "arrived_at": "timestamptz",
    "clock_skew_s": "int8",
    "host_offset_s": "numeric",
    "error_bound": "int8",
}
"""Columns and types of `copy_readings`, in their order: COPY in binary form converts nothing."""


@dataclass(frozen=True, slots=True)
class RawReading:
    """`frozen_at` aware; `total` and `rates` in the register's smallest step."""

    frozen_at: datetime
    meter_id: int
    total: int
    rates: tuple[int, ...]
    arrived_at: datetime
    clock_skew_s: int | None
    host_offset_s: Decimal | None = None
    """Seconds after `frozen_at` at which the host read a meter without memory."""
    error_bound: int | None = None


@dataclass(frozen=True, slots=True)
class Slot:
    """One owed value that is there: `published`, or `suspect` with the rules that it breaks."""

    point_id: str
    day: date
    state: str
    reasons: Sequence[str]
    meter_id: int
    total: int


async def add_readings(connection: Connection, readings: Sequence[RawReading]) -> int:
    """Keep raw readings; returns how many were new.

    The same (meter, kind, time stamp, value) is kept once."""
    await connection.execute(SQL["stage_readings"])
    async with connection.cursor() as cursor, cursor.copy(SQL["copy_readings"]) as copy:
        copy.set_types(list(COPIED.values()))
        for reading in readings:
            row = (
                reading.frozen_at,
                reading.meter_id,
                DAILY_FREEZE,
                reading.total,
                list(reading.rates),
                reading.arrived_at,
                reading.clock_skew_s,
                reading.host_offset_s,
                reading.error_bound,
            )
            await copy.write_row(row)
    return (await connection.execute(SQL["merge_readings"])).rowcount


async def slots_around(
    connection: Connection, spans: Sequence[tuple[str, date, date]]
) -> dict[str, list[Slot]]:
    """By point the slots inside (point, first day, last day) and the published ones beside.

    The nearest published one on either side."""
    values = {
        "points": [point for point, _, _ in spans],
        "firsts": [first for _, first, _ in spans],
        "lasts": [last for _, _, last in spans],
    }
    found: dict[str, list[Slot]] = {point: [] for point, _, _ in spans}
    async with connection.cursor(row_factory=class_row(Slot)) as cursor:
        async for slot in await cursor.execute(SQL["slots_around"], values):
            found[slot.point_id].append(slot)
    return found


async def add_slots(connection: Connection, slots: Sequence[Slot]) -> None:
    """Store decided slots.

    UniqueViolation if one is there already: the caller looked before, in this transaction."""
    values = {
        "days": [slot.day for slot in slots],
        "points": [slot.point_id for slot in slots],
        "states": [slot.state for slot in slots],
        "reasons": ["|".join(slot.reasons) for slot in slots],
        "meters": [slot.meter_id for slot in slots],
        "totals": [slot.total for slot in slots],
    }
    await connection.execute(SQL["add_slots"], values)


async def present_days(
    connection: Connection, since: date, newest: date, meters: Sequence[int] | None = None
) -> dict[int, int]:
    """By meter id the slots that have a value, as bits: bit n is the day n before `newest`.

    From `since` on, 63 days at the most. `meters`: only of these."""
    values = {
        "since": since,
        "newest": newest,
        "meters": None if meters is None else list(meters),
    }
    cursor = await connection.execute(SQL["present_days"], values)
    return {meter: bits async for meter, bits in cursor}


async def gaps(connection: Connection, since: date, until: date) -> list[dict[str, Any]]:
    """Runs of owed days without a value: point_id, address, line, first_day, last_day, days."""
    return await fetch_dicts(connection, SQL["gaps"], {"since": since, "until": until})


async def withheld(connection: Connection, since: date, until: date) -> list[dict[str, Any]]:
    """Values that were collected and not published.

    Columns: point_id, address, day, total, decimals, reasons."""
    return await fetch_dicts(connection, SQL["withheld"], {"since": since, "until": until})


async def add_dead_letter(connection: Connection, content: dict[str, Any], reason: str) -> None:
    """Keep what could not be stored, with the reason.

    The same again, arrived at another time, is kept once."""
    await connection.execute(SQL["add_dead_letter"], {"content": Jsonb(content), "reason": reason})
