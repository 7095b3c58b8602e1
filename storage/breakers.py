"""The mass-disconnect breaker: what it looks at, when it opens, and who resets it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from storage.documents import Said
from storage.sql import Connection, fetch_dicts, fetch_row, fetch_rows, load

SQL = load("breakers")
Named = tuple[str, str]
"""(scope, name) of a group."""


async def breaker_figures(
    connection: Connection, now: datetime, zone: ZoneInfo, *, days: int, commands: int
) -> dict[str, Any]:
    """By name what the breaker looks at; `trips`: (scope, name, within an hour, within a day).

    `days` back, and the last `commands` that ended."""
    values = {
        "now": now,
        "zone": zone.key,
        "today": _today(now, zone),
        "days": days,
        "commands": commands,
    }
    (figures,) = await fetch_dicts(connection, SQL["breaker_figures"], values)
    return figures


async def group_sizes(connection: Connection, groups: Collection[Named]) -> Mapping[Named, int]:
    """How many points with an active account are in each of these groups."""
    rows = await fetch_rows(connection, SQL["group_sizes"], _named(groups))
    return {(scope, name): points for scope, name, points in rows}


async def open_breaker(
    connection: Connection, group: Named, cause: str, found: float, allowed: float, now: datetime
) -> bool:
    """Open the breaker of a group; False if it is open."""
    values = {
        "scope": group[0],
        "name": group[1],
        "cause": cause,
        "found": found,
        "allowed": allowed,
        "now": now,
    }
    return await fetch_row(connection, SQL["open_breaker"], values) is not None


async def is_open(connection: Connection, cause: str) -> bool:
    """Whether the breaker of the site is open for this cause."""
    return await fetch_row(connection, SQL["is_open"], {"cause": cause}) == (True,)


async def cancel_waiting_trips(connection: Connection, now: datetime) -> int:
    """Cancel the trips that wait behind an open breaker to be sent; returns how many."""
    row = await fetch_row(connection, SQL["cancel_waiting_trips"], {"now": now})
    assert row is not None, "a count has a row"
    count: int = row[0]
    return count


async def breakers(connection: Connection, *, all_times: bool = False) -> list[dict[str, Any]]:
    """Those that are open; with `all_times` also those that were reset."""
    return await fetch_dicts(connection, SQL["breakers"], {"all": all_times})


async def lock_breaker(connection: Connection, number: int) -> tuple[str | None, bool] | None:
    """(who asked to reset it, whether it is reset), locked; None: there is none."""
    return await fetch_row(connection, SQL["lock_breaker"], {"number": number})


async def ask_to_reset(connection: Connection, number: int, said: Said) -> None:
    """The first person, of a breaker that is locked."""
    values = {"number": number, "actor": said.actor, "reason": said.reason}
    await connection.execute(SQL["ask_to_reset"], values)


async def agree_to_reset(connection: Connection, number: int, actor: str) -> None:
    """The second person: the breaker, which is locked, is reset."""
    await connection.execute(SQL["agree_to_reset"], {"number": number, "actor": actor})


def _named(groups: Collection[Named]) -> dict[str, list[str]]:
    return {"scopes": [scope for scope, _ in groups], "names": [name for _, name in groups]}


def _today(now: datetime, zone: ZoneInfo) -> date:
    return now.astimezone(zone).date()
