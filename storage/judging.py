"""What points are judged by, and what comes of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from storage.sql import Connection, fetch_records, fetch_rows, load

SQL = load("judging")


class Asked(NamedTuple):
    """New values of a point: first and last day, and the first day's total."""

    point_id: int
    first_day: date
    last_day: date
    total: int


@dataclass(frozen=True, slots=True)
class Tail:
    """What clean new values of a point are compared with; registers in their smallest step.

    `before` and `after` are its neighbours; `is_published`: they are, and not a first value that
    waits for a second one. `is_plain`: nothing is open and nobody said anything.
    `unchanged_days`: for how long the total had stood still on the day before, if it still does;
    31 is for at least so long."""

    point_id: int
    meter_id: int
    modulus: int
    decimals: int
    wire_decimals: int
    begins_on: date
    max_daily_kwh: Decimal
    is_plain: bool
    before_day: date | None
    is_published: bool | None
    source: int | None
    before_total: int | None
    before_rates: list[int | None] | None
    before_reading: int | None
    unchanged_days: int | None
    after_day: date | None
    after_total: int | None
    after_rates: list[int | None] | None
    after_reading: int | None


class FactRow(NamedTuple):
    """One fact of a point: its kind and its content, as the statement words it."""

    point_id: int
    kind: str
    content: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SlotRow:
    """What a day shows."""

    point_id: int
    day: date
    state: str
    meter_id: int | None
    total: int | None
    reading_id: int | None
    link_days: int
    codes: tuple[str, ...] = ()
    next_step: str | None = None
    hold: str | None = None
    kwh: Decimal | None = None
    """The use that ends here, where this value and the one before do not show it."""


@dataclass(frozen=True, slots=True)
class ReadRow:
    """One read, with the meter that told it and the decimals of its register."""

    point_id: int
    day: date
    meter_id: int
    address: str
    id: int
    decimals: int
    total: int | None
    rates: list[int | None]
    arrived_at: datetime
    source: int
    stamp: datetime | None
    clock_skew_s: int | None
    host_offset_ms: int | None
    serial: str | None


async def tails(
    connection: Connection, asked: Sequence[Asked], own_checks: Collection[str]
) -> dict[int, Tail]:
    """By point; one that no meter serves is not in it.

    `own_checks`: codes of values that take no part in what others are judged by."""
    values = {
        "points": [it.point_id for it in asked],
        "firsts": [it.first_day for it in asked],
        "lasts": [it.last_day for it in asked],
        "totals": [it.total for it in asked],
        "own_checks": sorted(own_checks),
    }
    rows = await fetch_records(connection, Tail, SQL["tails"], values)
    return {row.point_id: row for row in rows}


async def facts(connection: Connection, points: Collection[int]) -> list[FactRow]:
    """Everything that points are judged by but their reads."""
    rows = await fetch_rows(connection, SQL["facts"], {"points": sorted(points)})
    return [FactRow(*row) for row in rows]


async def slots(connection: Connection, sinces: Mapping[int, date]) -> list[SlotRow]:
    """What points show from a day on, in order of points and days."""
    rows = await fetch_records(connection, SlotRow, SQL["slots"], _since(sinces))
    return [replace(row, codes=tuple(row.codes)) for row in rows]


async def reads(connection: Connection, sinces: Mapping[int, date]) -> list[ReadRow]:
    """What the meters of points told from a day on."""
    return await fetch_records(connection, ReadRow, SQL["reads"], _since(sinces))


def _since(sinces: Mapping[int, date]) -> dict[str, Any]:
    return {"points": list(sinces), "sinces": list(sinces.values())}


async def put_limits(
    connection: Connection, limits: Mapping[int, Decimal], today: date
) -> dict[int, date]:
    """Let these limits (kWh a day of the register) hold, as a reload would.

    Returns by point whose limit differs the day from which on; a raised one counts always."""
    if not limits:
        return {}
    values = {"points": list(limits), "limits": list(limits.values()), "today": today}
    raised = await fetch_rows(connection, SQL["raise_limits"], values)
    lowered = await fetch_rows(connection, SQL["lower_limits"], values)
    found = dict.fromkeys((row[0] for row in raised), date(2000, 1, 1))
    return found | dict.fromkeys((row[0] for row in lowered), today)


async def put_slots(connection: Connection, slots: Sequence[SlotRow], rule_set: int) -> None:
    """Let days show this from now on, and begin chains; what changes is journalled."""
    if not slots:
        return
    ordered = sorted(slots, key=lambda slot: (slot.day, slot.point_id))
    values = {
        "days": [slot.day for slot in ordered],
        "points": [slot.point_id for slot in ordered],
        "states": [slot.state for slot in ordered],
        "meters": [slot.meter_id for slot in ordered],
        "totals": [slot.total for slot in ordered],
        "readings": [slot.reading_id for slot in ordered],
        "link_days": [slot.link_days for slot in ordered],
        "rule_set": rule_set,
    }
    await connection.execute(SQL["put_slots"], values)


async def drop_slots(connection: Connection, days: Sequence[tuple[int, date]]) -> None:
    """These (point, day) show nothing any more."""
    if days:
        values = {"points": [point for point, _ in days], "days": [day for _, day in days]}
        await connection.execute(SQL["drop_slots"], values)


async def put_remarks(connection: Connection, slots: Sequence[SlotRow]) -> None:
    """Let this, and nothing else, be said of these days; and the use that their slots do not
    show."""
    if not slots:
        return
    ordered = sorted(slots, key=lambda slot: (slot.point_id, slot.day))
    values = {
        "days": [slot.day for slot in ordered],
        "points": [slot.point_id for slot in ordered],
        "codes": ["|".join(slot.codes) for slot in ordered],
        "next_steps": [slot.next_step for slot in ordered],
        "holds": [slot.hold for slot in ordered],
        "kwhs": [slot.kwh for slot in ordered],
    }
    await connection.execute(SQL["put_remarks"], values)
