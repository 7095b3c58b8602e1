"""What became of the days of one point: every read, every state, and who changed it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from storage.sql import Connection, fetch_records, fetch_rows, load

SQL = load("history")


@dataclass(frozen=True, slots=True)
class PointRow:
    """A point, who is billed for it now, and the meter that serves it."""

    point_id: int
    point: str
    account: str | None
    meter: str | None
    line: str | None


@dataclass(frozen=True, slots=True)
class SlotVersion:
    """What a day shows, or showed until `until`, when `changed_by` changed it.

    `total` in the smallest step, of `decimals`. `reading_id` None: no reading, a person's value."""

    day: date
    revision: int
    state: str
    total: int | None
    decimals: int | None
    reading_id: int | None
    link_days: int
    rule_set: int
    codes: Sequence[str]
    next_step: str | None
    hold: str | None
    until: datetime | None
    changed_by: str | None


@dataclass(frozen=True, slots=True)
class ReadVersion:
    """One read of one day. `total` None: the meter refused to tell it again.

    `is_chosen`: the day shows this one. `stamp` of a current value: the moment that it is of.
    `line` and what follows: who told it, as far as that was known then."""

    day: date
    kind: int
    meter: str
    decimals: int | None
    source: int
    read_at: datetime
    stamp: datetime | None
    skew_s: int | None
    host_offset_ms: int | None
    total: int | None
    rates: Sequence[int | None]
    decode_version: int
    reading_id: int
    is_chosen: bool
    line: str | None
    far_end: str | None
    terminal: str | None
    session_at: datetime | None
    certificate: str | None


@dataclass(frozen=True, slots=True)
class LimitedPoint:
    """A point and the most that its register may advance in a day now, kWh."""

    point_id: int
    point: str
    max_daily_kwh: Decimal | None


async def limited_points(
    connection: Connection, points: Sequence[str] = (), line: str | None = None
) -> list[LimitedPoint]:
    """Points by their numbers, or of a line; without either every one."""
    values = {"points": list(points) or None, "line": line}
    return await fetch_records(connection, LimitedPoint, SQL["limited_points"], values)


async def find_point(connection: Connection, point: str) -> PointRow | None:
    """A point by the number that persons use."""
    found = await fetch_records(connection, PointRow, SQL["point"], {"point": point})
    return found[0] if found else None


async def slot_versions(
    connection: Connection, point_id: int, first: date, last: date
) -> list[SlotVersion]:
    """By day what it showed, the present state last."""
    return await fetch_records(connection, SlotVersion, SQL["slots"], _days(point_id, first, last))


async def read_versions(
    connection: Connection, point_id: int, first: date, last: date
) -> list[ReadVersion]:
    """By day and time everything that the point's meters told."""
    return await fetch_records(connection, ReadVersion, SQL["reads"], _days(point_id, first, last))


async def limits(connection: Connection, point_id: int) -> list[tuple[date, Decimal, str]]:
    """(from which day, most kWh that the register may advance in a day, what that follows from) in
    order of days."""
    return await fetch_rows(connection, SQL["limits"], {"point_id": point_id})


def _days(point_id: int, first: date, last: date) -> dict[str, object]:
    return {"point_id": point_id, "first": first, "last": last}
