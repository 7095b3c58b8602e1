"""What the staff has to take in hand, and who was told (R78)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from psycopg.types.json import Jsonb

from storage.sql import Connection, fetch_dicts, fetch_records, fetch_row, fetch_rows, load

SQL = load("staff_alarms")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FoundAlarm:
    """One thing that is wrong now. `about`: its point, account, line or job."""

    kind: str
    about: str
    area: str
    since: datetime


@dataclass(frozen=True, slots=True)
class StaffCall:
    """What one person is told of these alarms. `id`: its number; `tries`: to send it, the present
    one included."""

    id: int
    alarms: Sequence[int]
    kind: str
    area: str
    level: int
    name: str
    channel: str
    address: str = field(repr=False)
    language: str
    text: str
    tries: int = 0


@dataclass(frozen=True, slots=True)
class CallMade:
    """What a call tells, whom, and over which channel."""

    kind: str
    name: str
    channel: str


async def jobs(connection: Connection, now: datetime) -> list[FoundAlarm]:
    """Jobs in the field that nobody has, but for those to bring papers, which are work of the day;
    and those that are overdue."""
    return await fetch_records(connection, FoundAlarm, SQL["jobs"], {"now": now})


async def follow(
    connection: Connection, found: Collection[FoundAlarm], now: datetime, same_within: timedelta
) -> None:
    """These are open now, and no others. What was over for less than `same_within` is the same as
    before."""
    values = {
        "kinds": [it.kind for it in found],
        "abouts": [it.about for it in found],
        "areas": [it.area for it in found],
        "since": [it.since for it in found],
        "now": now,
        "same_within": same_within,
    }
    await connection.execute(SQL["follow"], values)


async def waiting(connection: Connection, record: type[T]) -> list[T]:
    """What is wrong and nobody has said to have, the oldest first."""
    return await fetch_records(connection, record, SQL["waiting"])


async def told_lately(connection: Connection, since: datetime) -> set[tuple[str, str, int]]:
    """(kind, area, level) that were told since then."""
    rows = await fetch_rows(connection, SQL["told_lately"], {"since": since})
    return {(kind, area, level) for kind, area, level in rows}


async def last_number(connection: Connection) -> int:
    """Of all calls; 0: there is none."""
    row = await fetch_row(connection, SQL["last_number"])
    assert row is not None
    return int(row[0])


async def add_calls(connection: Connection, calls: Sequence[StaffCall], now: datetime) -> None:
    """They wait to be sent, and their alarms have gone so far."""
    told = {alarm: call.level for call in calls for alarm in call.alarms}
    rows = [{name: getattr(it, name) for name in StaffCall.__slots__} for it in calls]
    await connection.execute(SQL["add_calls"], {"calls": Jsonb(rows), "now": now})
    values = {"alarms": list(told), "levels": list(told.values()), "now": now}
    await connection.execute(SQL["mark_told"], values)


async def release_calls(
    connection: Connection, now: datetime, pauses: Sequence[timedelta], most: int
) -> list[StaffCall]:
    """Calls that are to be sent now, each marked as being tried: after a crash it is tried again.

    What is over, or what somebody has by now, nobody is told any more."""
    async with connection.transaction():
        await connection.execute(SQL["withdraw_calls"], {"now": now})
        values = {"now": now, "pauses": list(pauses), "most": most}
        return await fetch_records(connection, StaffCall, SQL["release_calls"], values)


async def mark_sent(connection: Connection, number: int, now: datetime) -> None:
    """A channel took the call."""
    await connection.execute(SQL["mark_sent"], {"number": number, "now": now})


async def note_error(connection: Connection, number: int, error: str) -> None:
    """Why a channel did not take the call, which is tried again."""
    await connection.execute(SQL["note_error"], {"number": number, "error": error})


async def give_up(connection: Connection, number: int, error: str, now: datetime) -> None:
    """The call reaches nobody: the next level is told at once."""
    values = {"number": number, "error": error, "now": now}
    await connection.execute(SQL["give_up"], values)


async def acknowledge(connection: Connection, number: int, actor: str) -> list[str]:
    """Somebody has what he was told by this call; returns what of it nobody had yet."""
    values: Mapping[str, Any] = {"number": number, "actor": actor}
    return [about for (about,) in await fetch_rows(connection, SQL["acknowledge"], values)]


async def mark_unreached(connection: Connection, number: int) -> bool:
    """A call that was sent reached nobody: the next level is told at once. False: that is known, or
    nobody needs it any more."""
    cursor = await connection.execute(SQL["unreached"], {"number": number})
    return cursor.rowcount > 0


async def call_of(connection: Connection, number: int) -> CallMade | None:
    """The call of this number; None: there is none."""
    found = await fetch_records(connection, CallMade, SQL["call_of"], {"number": number})
    return found[0] if found else None


async def calls(connection: Connection, *, all_times: bool = False) -> list[dict[str, Any]]:
    """Who was told what is still wrong, and who has it; with `all_times` also what is over."""
    return await fetch_dicts(connection, SQL["calls"], {"all": all_times})
