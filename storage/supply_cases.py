"""Supply that is not as it should be: cases for persons, and what they have to know at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from storage.sql import Connection, fetch_dicts, fetch_records, fetch_row, fetch_rows, load

SQL = load("supply_cases")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NewCase:
    """A case that is not stored yet. `seen_at`: when a meter told it, None: no moment of it."""

    kind: str
    point_id: int
    account_id: int | None
    address: str
    line: str
    cause: str
    seen_at: datetime | None
    opened_at: datetime
    lasts: timedelta


@dataclass(frozen=True, slots=True)
class AlarmAges:
    """How old what is open must be to be an alarm."""

    reconnect: timedelta
    trip: timedelta
    silent: timedelta
    unseen: timedelta


async def held_supplies(connection: Connection, record: type[T]) -> list[T]:
    """Points that are cut, and those whose relay was seen open although we hold it closed."""
    # A plan that was kept knows nothing of a month that began since.
    return await fetch_records(connection, record, SQL["held_supplies"], prepare=False)


async def open_case(connection: Connection, case: NewCase) -> int | None:
    """Open a job for somebody; None where one is open, or was closed since it was seen."""
    values = {
        "kind": case.kind,
        "account": case.account_id,
        "point": case.point_id,
        "address": case.address,
        "line": case.line,
        "cause": case.cause,
        "seen_at": case.seen_at,
        "now": case.opened_at,
        "lasts": case.lasts,
    }
    row = await fetch_row(connection, SQL["open_case"], values)
    return None if row is None else int(row[0])


async def prove_dark(connection: Connection, points: Sequence[int]) -> None:
    """Registers say what the relays of these points say. The caller holds the account locks."""
    await connection.execute(SQL["prove_dark"], {"points": list(points)})


async def alarms(
    connection: Connection,
    lines: Iterable[str],
    ages: AlarmAges,
    now: datetime,
    *,
    shadow_mode: bool,
) -> list[dict[str, Any]]:
    """What a person has to know now: kind, point, account, line, since, detail, area, has_job
    (a job in the field is open for it).

    `lines`: those that run, or would. In shadow mode whoever is cut stays so."""
    values = {
        "lines": list(lines),
        "now": now,
        "reconnect_after": ages.reconnect,
        "trip_after": ages.trip,
        "silent_after": ages.silent,
        "unseen_after": ages.unseen,
        "shadow_mode": shadow_mode,
    }
    return await fetch_dicts(connection, SQL["alarms"], values)


async def cut_points(connection: Connection) -> list[str]:
    """Points that are cut, or on their way to or from it."""
    return [point for (point,) in await fetch_rows(connection, SQL["cut_points"])]


async def dark_on_lines(connection: Connection, lines: Iterable[str]) -> list[tuple[str, str, str]]:
    """(line, address, point) of what is cut, or on its way to or from it, on these lines."""
    return await fetch_rows(connection, SQL["dark_on_lines"], {"lines": list(lines)})
