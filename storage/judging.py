"""What points are judged by, and what comes of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from operator import itemgetter
from typing import Any, Final, NamedTuple

from storage import binary
from storage.sql import Connection, array, days, fetch_records, fetch_rows, load

SQL = load("judging")
MOST_DAYS: Final = 62
"""Of values that are judged as arrays."""
NEW_SLOT: Final = {
    "reading_id": "int8",
    "total": "int8",
    "point_id": "int4",
    "day": "date",
    "meter_id": "int4",
    "kind": "int2",
    "rule_set": "int2",
    "link_days": "int2",
}
"""Columns of a slot that showed nothing and their types: binary COPY converts nothing."""


class Asked(NamedTuple):
    """New values of a point: first and last day, and the first day's total."""

    point_id: int
    first_day: date
    last_day: date
    total: int


class Tail(NamedTuple):
    """What clean new values of a point are compared with; registers in their smallest step.

    `before` and `after` are its neighbours, their `steps` the total and the rates;
    `is_published`: they are, and not a first value that waits for a second one. `is_plain`:
    nothing is open, and nobody said anything of these days or later ones. `is_told`: there are
    slots from the first new value to the last. `recollect`: days of which what came is no
    value. `unchanged_days`: for how long the total had stood still on the day before, if it
    still does; 31 is for at least so long. `account_id`: who is billed for it; `is_quiet`:
    and will be, no finding of the point or of its clock speaks of the first new value's day or a
    later one, and its meter tells no other serial. `rule_set`: the one that holds now."""

    point_id: int
    meter_id: int
    modulus: int
    decimals: int
    wire_decimals: int
    begins_on: date
    max_daily: int
    is_plain: bool
    is_told: bool
    recollect: list[date] | None
    chain_begins_on: date | None
    is_published: bool | None
    source: int | None
    before_day: date | None
    before_steps: list[int] | None
    before_reading: int | None
    unchanged_days: int | None
    after_day: date | None
    after_steps: list[int] | None
    after_reading: int | None
    account_id: int | None
    is_quiet: bool
    rule_set: int
    max_auto_span_days: int


class NewSlot(NamedTuple):
    """A published value of a day that showed nothing; its fields those of NEW_SLOT."""

    reading_id: int
    total: int
    point_id: int
    day: date
    meter_id: int
    kind: int
    rule_set: int
    link_days: int


class Relinked(NamedTuple):
    """A published value that follows another one now, and of which nothing else is to be said.

    `link_days`: negative where the link is held for its length."""

    point_id: int
    day: date
    meter_id: int
    total: int
    reading_id: int | None
    link_days: int


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
    is_agreed: bool = False
    """Whether persons told it, because no register shows it."""


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
    connection: Connection,
    asked: Sequence[Asked],
    meters: Collection[int],
    own_checks: Collection[str],
) -> dict[int, Tail]:
    """By point; one that no meter serves is not in it.

    `meters`: those that told. `own_checks`: codes of values that take no part in what others are
    judged by."""
    if not asked:
        return {}
    points, firsts, lasts, totals = zip(*asked, strict=True)
    values = {
        "points": array(points),
        "firsts": days(firsts),
        "lasts": days(lasts),
        "totals": array(totals),
        "first": min(firsts),
        "last": max(lasts),
        "days": days(sorted(_days_around(set(zip(firsts, lasts, strict=True))))),
        "meters": array(meters),
        "own_checks": sorted(own_checks),
    }
    rows = await fetch_rows(connection, SQL["tails"], values)
    return {row[0]: Tail._make(row) for row in rows}


def _days_around(spans: Collection[tuple[date, date]]) -> set[date]:
    """The days of the spans and those beside them; of one too long for arrays only its ends."""
    found = set()
    for first, last in spans:
        length = (last - first).days
        inside = range(-1, length + 2) if length <= MOST_DAYS else (-1, 0, length, length + 1)
        found |= {first + timedelta(days=n) for n in inside}
    return found


async def facts(connection: Connection, points: Collection[int]) -> list[FactRow]:
    """Everything that points are judged by but their reads."""
    rows = await fetch_rows(connection, SQL["facts"], {"points": sorted(points)})
    return [FactRow(*row) for row in rows]


async def slots(connection: Connection, sinces: Mapping[int, date]) -> list[SlotRow]:
    """What points show from a day on, in order of points and days."""
    rows = await fetch_records(connection, SlotRow, SQL["slots"], _since(sinces))
    return [replace(row, codes=tuple(row.codes)) for row in rows]


async def reads(
    connection: Connection, sinces: Mapping[int, date], befores: Mapping[int, date]
) -> list[ReadRow]:
    """What the meters of points told from a day on. `befores`: by point one day before that."""
    values = {**_since(sinces), "befores": array([befores.get(point) for point in sinces])}
    return await fetch_records(connection, ReadRow, SQL["reads"], values)


def _since(sinces: Mapping[int, date]) -> dict[str, Any]:
    return {"points": array(sinces), "sinces": array(sinces.values())}


async def add_slots(connection: Connection, slots: Sequence[NewSlot], more: bytes = b"") -> None:
    """Let days that showed nothing show these values; beginning their chains is the caller's.

    `more`: rows that are made already, as `columns.rows` makes them of NEW_SLOT."""
    if slots or more:
        rows = binary.rows_of(NEW_SLOT, sorted(slots, key=itemgetter(3, 2)))
        await binary.copy(connection, SQL["add_slots"], rows + more)


async def link_chains(
    connection: Connection,
    firsts: Mapping[int, date],
    relinked: Sequence[Relinked],
) -> None:
    """Let chains begin with these days, by point, and these values follow others than before."""
    if not firsts and not relinked:
        return
    ordered = sorted(relinked, key=itemgetter(1, 0))
    found = [it.day for it in ordered]
    values = {
        "begun": array(firsts),
        "firsts": array(firsts.values()),
        "points": array([it.point_id for it in ordered]),
        "days": days(found),
        "each_day": days(sorted(set(found))),
        "link_days": array([it.link_days for it in ordered]),
    }
    await connection.execute(SQL["link_chains"], values)


async def wait(connection: Connection, changed: Mapping[int, date]) -> None:
    """Let points be judged later. `changed`: by point, the first day that is judged anew."""
    if changed:
        values = {"points": array(changed), "days": array(changed.values())}
        await connection.execute(SQL["wait"], values)


async def take_waiting(connection: Connection, most: int) -> dict[int, date]:
    """Take up to so many points that wait, each with the first day that is judged anew.

    They wait again if the transaction fails."""
    return dict(sorted(await fetch_rows(connection, SQL["take_waiting"], {"most": most})))


async def put_off(connection: Connection, point: int, error: str) -> None:
    """Keep a point that cannot be judged waiting, with the reason, and try it later."""
    await connection.execute(SQL["put_off"], {"point": point, "error": error})


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


async def put_slots(
    connection: Connection,
    slots: Sequence[SlotRow],
    firsts: Mapping[int, date] | None = None,
) -> None:
    """Let days show this from now on, and nothing else be said of them; what changes is
    journalled.

    A missing one shows nothing any more. Chains begin with the first day of all; so do those of
    `firsts`, of other points."""
    if not slots:
        return
    ordered = sorted(slots, key=lambda slot: (slot.day, slot.point_id))
    gone = [slot for slot in ordered if slot.state == "missing"]
    values = {
        "gone_days": array([slot.day for slot in gone]),
        "gone_points": array([slot.point_id for slot in gone]),
        "days": array([slot.day for slot in ordered]),
        "points": array([slot.point_id for slot in ordered]),
        "states": [slot.state for slot in ordered],
        "meters": array([slot.meter_id for slot in ordered]),
        "totals": array([slot.total for slot in ordered]),
        "readings": array([slot.reading_id for slot in ordered]),
        "link_days": array([slot.link_days for slot in ordered]),
        "codes": ["|".join(slot.codes) for slot in ordered],
        "next_steps": [slot.next_step for slot in ordered],
        "holds": [slot.hold for slot in ordered],
        "kwhs": [slot.kwh for slot in ordered],
        "agreed": [slot.is_agreed for slot in ordered],
        "begun": array(firsts or {}),
        "firsts": array((firsts or {}).values()),
    }
    await connection.execute(SQL["put_slots"], values)
