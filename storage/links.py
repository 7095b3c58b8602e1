"""Links as rows: the use between two published freezes of a point, and what they are made of."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from psycopg.types.json import Jsonb

from storage.settling import Days
from storage.sql import Connection, array, days, fetch_dicts, fetch_rows, load

SQL = load("links")


class BilledPoint(NamedTuple):
    """A point while it is billed to an account.

    `opens_on`: its opening register is the freeze of this day, which is there if `is_open`, and has
    gone if `was_open`; `to_day`: its last register is the freeze of this day, None while it is the
    account's. `linked_to`: where the last link ends that what changed does not touch."""

    account_id: int
    point_id: int
    point: str
    opens_on: date
    to_day: date | None
    is_open: bool
    was_open: bool
    linked_to: date | None


class RatioRow(NamedTuple):
    """CT x PT from a midnight on. `from_at`: the moment before it at which it came, None: at it.

    `registers`: total and rates at that moment, None where they were not read."""

    point_id: int
    from_day: date
    from_at: datetime | None
    ratio: Decimal
    registers: Sequence[int] | None


class MeterRow(NamedTuple):
    """A meter of a point from a moment on; `initial` and `final` total and rates, None: not known.

    Registers and `modulus` in the smallest step."""

    point_id: int
    meter_id: int
    from_at: datetime
    initial: Sequence[int] | None
    final: Sequence[int] | None
    modulus: int
    decimals: int


class LinkRow(NamedTuple):
    """A link in force. `begins` and `ends`: total and rates in the register's smallest step.

    `pieces`: where a document lies inside it, what each meter and ratio shows by itself.
    `billed_by`: the number of the transaction that it was billed with, None: it moved nothing."""

    point_id: int
    account_id: int
    from_day: date
    to_day: date
    meter_id: int
    begins: Sequence[int]
    ends: Sequence[int]
    modulus: int
    decimals: int
    ratio: Decimal
    hold: str | None
    pieces: Any
    billed_by: int | None = None


class LinkedUse(NamedTuple):
    """The use of a link, and whose it is."""

    point_id: int
    account: str
    from_day: date
    to_day: date
    kwh: Decimal
    hold: str | None


async def billed_points(connection: Connection, marks: Mapping[int, Days]) -> list[BilledPoint]:
    """Every point of these accounts while it is billed to them. `marks`: what changed of each."""
    values = {"accounts": array(marks), "from_days": days([it.first for it in marks.values()])}
    rows = await fetch_rows(connection, SQL["billed_points"], values)
    return [BilledPoint(*row) for row in rows]


async def ratios(connection: Connection, points: Collection[int]) -> list[RatioRow]:
    """In order of points and days."""
    rows = await fetch_rows(connection, SQL["ratios"], {"points": sorted(points)})
    return [RatioRow(*row) for row in rows]


async def meters(connection: Connection, points: Collection[int]) -> list[MeterRow]:
    """All that serve or served these points, in order of points and time."""
    rows = await fetch_rows(connection, SQL["meters"], {"points": sorted(points)})
    return [MeterRow(*row) for row in rows]


async def in_force(
    connection: Connection, spans: Sequence[tuple[int, date, date]]
) -> list[LinkRow]:
    """Links that overlap (point, first day, last day), by point and time."""
    values = {
        "points": array([point for point, _, _ in spans]),
        "firsts": days([first for _, first, _ in spans]),
        "lasts": days([last for _, _, last in spans]),
    }
    return [LinkRow(*row) for row in await fetch_rows(connection, SQL["in_force"], values)]


async def of_accounts(connection: Connection, sinces: Mapping[int, date]) -> list[LinkRow]:
    """Of each account the links that end behind a day, by account and time."""
    values = {"accounts": array(sinces), "sinces": days(sinces.values())}
    return [LinkRow(*row) for row in await fetch_rows(connection, SQL["of_accounts"], values)]


async def put_out(connection: Connection, links: Collection[tuple[int, date]]) -> None:
    """Put the links of (point, first day) out of force."""
    if links:
        values = {
            "points": array([point for point, _ in links]),
            "froms": days([first for _, first in links]),
        }
        await connection.execute(SQL["put_out"], values)


async def put_in(connection: Connection, links: Iterable[LinkRow]) -> None:
    """Put links in force."""
    # It loads numpy, which who only reads links need not wait for.
    from storage.link_registers import row

    async with connection.cursor() as cursor, cursor.copy(SQL["put_in"]) as copying:
        for link in links:
            pieces = Jsonb(link.pieces) if link.pieces else None
            registers = row(link.begins, link.ends, link.modulus)
            await copying.write_row((*link[:5], *link[7:11], pieces, link.billed_by, *registers))


async def bill_months(connection: Connection, billed: Collection[tuple[int, date, int]]) -> None:
    """By (account, first day of a month, transaction): those links that end in the month and were
    billed with none yet were billed with it."""
    if billed:
        values = {
            "accounts": array([account for account, _, _ in billed]),
            "months": days([month for _, month, _ in billed]),
            "transactions": array([number for _, _, number in billed]),
        }
        await connection.execute(SQL["bill_months"], values)


async def held_spans(connection: Connection, account: str) -> list[dict[str, Any]]:
    """Spans of the account that are not billed by themselves.

    Columns: point_id (the number that persons use), from_day, to_day, delta, hold."""
    return await fetch_dicts(connection, SQL["held_spans"], {"account": account})


async def uses(connection: Connection, points: Iterable[int]) -> list[LinkedUse]:
    """The use of these points, in order of days."""
    rows = await fetch_rows(connection, SQL["uses"], {"points": sorted(points)})
    return [LinkedUse(*row) for row in rows]
