"""Which owed days are not published, and why: tries in vain, and lines that are down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from operator import attrgetter
from typing import Final, NamedTuple

from storage.database import grouping_by_hash
from storage.sql import Connection, fetch_rows, load

SQL = load("gaps")
WINDOW_DAYS: Final = 62
"""So many days fit into a bitmap of the database."""
EVERY_DAY: Final = (1 << WINDOW_DAYS) - 1


class LackingPoint(NamedTuple):
    """A point with owed days that are not published, and the meter that serves it.

    `published` and `withheld`: bit n is the day n before the newest. `first_day`: owed from then
    on."""

    point_id: int
    point: str
    meter_id: int
    address: str
    line: str
    protocol: str
    first_day: date
    published: int
    withheld: int


@dataclass(frozen=True, slots=True)
class SlotAttempt:
    """Tries of one slot in vain since they were written down last.

    `cause` and `last_at` are those of the last one; `next_at`: when it is tried again, as far as
    that was known then."""

    meter_id: int
    day: date
    tries: int
    cause: str
    last_at: datetime
    next_at: datetime


@dataclass(frozen=True, slots=True)
class Outage:
    """A line that is down, and `tries` to open it. `next_at`: None where it waits for a call."""

    line: str
    since: datetime
    tries: int
    reason: str
    next_at: datetime | None


@dataclass(frozen=True, slots=True)
class Failures:
    """What is to be written down. `ended`: lines that are up."""

    attempts: list[SlotAttempt] = field(default_factory=list)
    outages: list[Outage] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)


async def lacking(connection: Connection, since: date, newest: date) -> list[LackingPoint]:
    """Every point that lacks a published value of an owed day, by line and point."""
    windows = []
    async with grouping_by_hash(connection):
        for age in range(0, (newest - since).days + 1, WINDOW_DAYS):
            until = newest - timedelta(days=age)
            first = max(since, until - timedelta(days=WINDOW_DAYS - 1))
            values = {"since": first, "until": until}
            rows = await fetch_rows(connection, SQL["lacking"], values)
            found = list(map(LackingPoint._make, rows))
            windows.append((age, found))
    if len(windows) > 1:
        found = _over(windows)
    return sorted(found, key=attrgetter("line", "point"))


def _over(windows: Sequence[tuple[int, Sequence[LackingPoint]]]) -> list[LackingPoint]:
    """The points over all windows; where one does not stand in one it lacks nothing."""
    by_id = [(age, {point.point_id: point for point in points}) for age, points in windows]
    oldest = {point_id: point for _, points in by_id for point_id, point in points.items()}
    found = []
    for point_id, point in oldest.items():
        published = 0
        withheld = 0
        for age, points in by_id:
            row = points.get(point_id)
            published |= (EVERY_DAY if row is None else row.published) << age
            withheld |= (0 if row is None else row.withheld) << age
        found.append(point._replace(published=published, withheld=withheld))
    return found


async def tries_since(
    connection: Connection, since: date
) -> list[tuple[int, date, str, int, datetime, datetime]]:
    """(meter, day, cause, tries, last, next) of slots of these days that were tried in vain."""
    return await fetch_rows(connection, SQL["tries_since"], {"since": since})


async def outages(connection: Connection) -> list[tuple[str, datetime, str, datetime | None]]:
    """(line, since, reason, next try) of the lines that are down."""
    return await fetch_rows(connection, SQL["outages"])


async def wrong_clocks(connection: Connection, since: date) -> list[tuple[int, date]]:
    """(point id, day) of what is withheld because of its meter's clock."""
    return await fetch_rows(connection, SQL["wrong_clocks"], {"since": since})


async def write_down(connection: Connection, failures: Failures) -> None:
    """Add the attempts to those before; replace what is known of the lines."""
    async with connection.transaction():
        if failures.attempts:
            await _add_attempts(connection, failures.attempts)
        if failures.outages:
            await _set_outages(connection, failures.outages)
        if failures.ended:
            await connection.execute(SQL["end_outages"], {"lines": failures.ended})


async def _add_attempts(connection: Connection, attempts: Sequence[SlotAttempt]) -> None:
    values = {
        "days": [attempt.day for attempt in attempts],
        "meters": [attempt.meter_id for attempt in attempts],
        "tries": [attempt.tries for attempt in attempts],
        "causes": [attempt.cause for attempt in attempts],
        "lasts": [attempt.last_at for attempt in attempts],
        "nexts": [attempt.next_at for attempt in attempts],
    }
    await connection.execute(SQL["add_attempts"], values)


async def _set_outages(connection: Connection, outages: Sequence[Outage]) -> None:
    values = {
        "lines": [outage.line for outage in outages],
        "since": [outage.since for outage in outages],
        "tries": [outage.tries for outage in outages],
        "reasons": [outage.reason for outage in outages],
        "nexts": [outage.next_at for outage in outages],
    }
    await connection.execute(SQL["set_outages"], values)
