"""Who the meters say they are, and what is known of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from psycopg.types.json import Jsonb

from storage.sql import Connection, array, fetch_records, fetch_rows, load

SQL = load("identity")


@dataclass(frozen=True, slots=True)
class KnownRow:
    """A meter and the point that it serves now; `point_id` None where it serves none."""

    meter_id: int
    address: str
    serial: str | None
    point_id: int | None
    point: str | None
    is_billed: bool


@dataclass(frozen=True, slots=True)
class Told:
    """What a meter told, as it is kept. `serial`: what it must tell; `other`: what it tells
    instead of that. `ratio`: of its transformers. `rates`: how many it has. `month_end_on`: the day
    of its newest month-end freeze."""

    meter_id: int
    at: datetime
    serial: str | None
    told: str | None
    other: str | None
    prepayment: str | None
    ratio: int | None = None
    rates: int | None = None
    month_end_on: date | None = None


@dataclass(frozen=True, slots=True)
class FindingRow:
    """A finding about a point from a day on, or that it is over."""

    point_id: int
    code: str
    day: date
    active: bool
    detail: Mapping[str, Any]


async def lock_known(connection: Connection, meters: Sequence[int]) -> dict[int, KnownRow]:
    """By id what is known of these meters, which nobody else changes meanwhile."""
    rows = await fetch_records(connection, KnownRow, SQL["lock_known"], {"meters": list(meters)})
    return {row.meter_id: row for row in rows}


async def elsewhere(
    connection: Connection, serials: Mapping[int, str]
) -> dict[int, list[tuple[str, int]]]:
    """By meter the (address, point id) of others that told its serial or are registered with it."""
    values = {"meters": list(serials), "serials": list(serials.values())}
    found: defaultdict[int, list[tuple[str, int]]] = defaultdict(list)
    for meter_id, address, point_id in await fetch_rows(connection, SQL["elsewhere"], values):
        found[meter_id].append((address, point_id))
    return found


async def store(connection: Connection, told: Sequence[Told]) -> None:
    """Keep what meters told; a time under another serial begins, goes on or ends."""
    values = {
        "meters": [row.meter_id for row in told],
        "ats": [row.at for row in told],
        "serials": [row.serial for row in told],
        "tolds": [row.told for row in told],
        "others": [row.other for row in told],
        "prepayments": [row.prepayment for row in told],
        "ratios": [row.ratio for row in told],
        "rates": [row.rates for row in told],
        "month_ends": [row.month_end_on for row in told],
    }
    await connection.execute(SQL["store"], values)
    await connection.execute(SQL["end_other_serials"], values)
    await connection.execute(SQL["begin_other_serials"], values)


async def add_findings(connection: Connection, findings: Sequence[FindingRow]) -> list[FindingRow]:
    """Add those that say something new about their points; which those are."""
    points = array(sorted({row.point_id for row in findings}))
    said = set(await fetch_rows(connection, SQL["said"], {"points": points}))
    # Nearly all say that nothing is so, of points of which nothing was.
    news = [row for row in findings if row.active or (row.point_id, row.code) in said]
    if not news:
        return []
    values = {
        "points": [row.point_id for row in news],
        "codes": [row.code for row in news],
        "days": [row.day for row in news],
        "actives": [row.active for row in news],
        "details": [Jsonb(row.detail) for row in news],
    }
    return await fetch_records(connection, FindingRow, SQL["add_findings"], values)


async def expected(
    connection: Connection, meters: Collection[int], told: Collection[int]
) -> tuple[dict[int, datetime], dict[int, str]]:
    """By meter since when it tells another serial than it must; and what it must tell, by meter.

    The first of `meters`; the second of `told`, where it is known."""
    values = {"meters": array(meters), "told": array(told)}
    rows = await fetch_rows(connection, SQL["expected"], values)
    others = {meter: since for meter, since, _ in rows if since is not None}
    serials = {meter: serial for meter, _, serial in rows if serial is not None}
    return others, serials


async def deducting(connection: Connection, account: str, points: Sequence[str]) -> list[str]:
    """Addresses of meters of an account, or of these points, that deduct by themselves (R18)."""
    values = {"account": account, "points": list(points)}
    return [address for (address,) in await fetch_rows(connection, SQL["deducting"], values)]
