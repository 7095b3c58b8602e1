"""Which meter serves a point, from when to when, with which register and ratio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Literal

from storage.sql import Connection, fetch_records, fetch_row, fetch_rows, load

SQL = load("installations")


@dataclass(frozen=True, slots=True)
class InstallationRow:
    """A meter at a point. `modulus` in its smallest step; `document_id` None: from the files."""

    id: int
    meter_id: int
    address: str
    from_at: datetime
    modulus: int
    decimals: int
    wire_decimals: int
    document_id: int | None


@dataclass(frozen=True, slots=True)
class InstalledMeter:
    """A meter of the database. `is_read`: something was read from it, so that it has a history."""

    id: int
    address: str
    line: str
    protocol: str
    profile: str | None
    is_read: bool


@dataclass(frozen=True, slots=True)
class Serving:
    """A meter by its address, and the point that it serves at a moment or later, if any."""

    id: int
    line: str
    protocol: str
    profile: str | None
    point: str | None
    from_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewInstallation:
    """A meter begins to serve a point. Registers and modulus in the register's smallest step."""

    point_id: int
    meter_id: int
    at: datetime
    first_day: date
    """Whose 00:00 is the first at or after `at`."""
    initial: Sequence[int] | None
    modulus: int
    decimals: int
    wire_decimals: int


@dataclass(frozen=True, slots=True)
class Swap:
    """Two installations, each with its point, of which each belongs to the other's.

    `first_at`: when the first began."""

    first_id: int
    first_point: int
    first_at: datetime
    second_id: int
    second_point: int
    document_id: int


async def zone_name(connection: Connection) -> str:
    """Of the site, as the database knows it."""
    row = await fetch_row(connection, SQL["zone"])
    assert row is not None, "a database is claimed before anything is asked of it"
    name: str = row[0]
    return name


async def of_point(connection: Connection, point_id: int) -> list[InstallationRow]:
    """Every meter that served the point, in order of time."""
    values = {"point_id": point_id}
    return await fetch_records(connection, InstallationRow, SQL["of_point"], values)


async def lock_point(connection: Connection, point: str) -> int | None:
    """The row of a point number, locked until the transaction ends; None if it is unknown."""
    row = await fetch_row(connection, SQL["lock_point"], {"point": point})
    return row[0] if row else None


async def like_points(connection: Connection, point: str) -> list[str]:
    """Up to three point numbers that somebody may have meant."""
    escaped = point.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    values = {"point": point, "part": f"%{escaped}%"}
    return [row[0] for row in await fetch_rows(connection, SQL["like_points"], values)]


async def meter(connection: Connection, meter_id: int) -> InstalledMeter:
    """One meter by its row."""
    values = {"meter_id": meter_id}
    (found,) = await fetch_records(connection, InstalledMeter, SQL["meter"], values)
    return found


async def serving(connection: Connection, address: str, at: datetime) -> Serving | None:
    """The meter of that address, and where it serves at that moment or later."""
    values = {"address": address, "at": at}
    found = await fetch_records(connection, Serving, SQL["serving"], values)
    return found[0] if found else None


async def add_meter_like(connection: Connection, meter_id: int, address: str) -> int:
    """Another meter on the line of this one, of its make; returns its row."""
    values = {"meter_id": meter_id, "address": address}
    row = await fetch_row(connection, SQL["add_meter_like"], values)
    assert row is not None, "the meter is there"
    added: int = row[0]
    return added


async def readdress(
    connection: Connection, meter_id: int, address: str, installation_id: int, document_id: int
) -> None:
    """Give a meter of which nothing was read the address that it has; the files follow."""
    values = {
        "meter_id": meter_id,
        "address": address,
        "installation_id": installation_id,
        "document_id": document_id,
    }
    await connection.execute(SQL["readdress"], values)
    await connection.execute(SQL["own_installation"], values)


async def replace_unread(
    connection: Connection, meter_id: int, by_id: int, installation_id: int, document_id: int
) -> None:
    """Put a meter that serves nowhere in the place of one of which nothing was read."""
    values = {
        "meter_id": by_id,
        "installation_id": installation_id,
        "document_id": document_id,
    }
    await connection.execute(SQL["replace_unread"], values)
    await connection.execute(SQL["drop_unused_meters"], {"meters": [meter_id]})


async def exchange(
    connection: Connection,
    ended: int,
    final: Sequence[int] | None,
    begun: NewInstallation,
    document_id: int,
) -> None:
    """End the installation `ended` with its last registers (None: lost), and begin another."""
    await _end(connection, ended, begun.at, final)
    await _begin(connection, begun, document_id)


async def correct_exchange(
    connection: Connection,
    ended: int,
    final: Sequence[int] | None,
    last: int,
    begun: NewInstallation,
    document_id: int,
) -> None:
    """The exchange of the installation `ended` for `last` had other registers than was told."""
    await _end(connection, ended, begun.at, final)
    values = {
        "installation_id": last,
        "initial": None if begun.initial is None else list(begun.initial),
        "modulus": begun.modulus,
        "document_id": document_id,
    }
    await connection.execute(SQL["correct_begin"], values)


async def _end(
    connection: Connection, installation_id: int, at: datetime, final: Sequence[int] | None
) -> None:
    values = {
        "installation_id": installation_id,
        "at": at,
        "final": None if final is None else list(final),
        "final_lost": final is None,
    }
    await connection.execute(SQL["end_installation"], values)


async def _begin(connection: Connection, begun: NewInstallation, document_id: int) -> None:
    values = {
        "point_id": begun.point_id,
        "meter_id": begun.meter_id,
        "at": begun.at,
        "first_day": begun.first_day,
        "initial": None if begun.initial is None else list(begun.initial),
        "modulus": begun.modulus,
        "decimals": begun.decimals,
        "wire_decimals": begun.wire_decimals,
        "document_id": document_id,
    }
    await connection.execute(SQL["add_installation"], values)


async def move_start(
    connection: Connection,
    installation_id: int,
    before_id: int | None,
    at: datetime,
    first_day: date,
    document_id: int,
) -> None:
    """An installation began at another moment; the one before it, if any, ended then.

    `first_day`: whose 00:00 is the first at or after `at`."""
    moved = {
        "installation_id": installation_id,
        "at": at,
        "first_day": first_day,
        "document_id": document_id,
    }
    ended = {"installation_id": before_id, "at": at}
    # Never two meters at one point, not even between two statements.
    await connection.execute(SQL["forget_end"], {"installation_id": before_id})
    await connection.execute(SQL["move_start"], moved)
    await connection.execute(SQL["move_end"], ended)


async def set_clock(
    connection: Connection, meter_id: int, clock: Literal["zone", "standard"], document_id: int
) -> None:
    """Which time a meter keeps."""
    values = {
        "meter_id": meter_id,
        "clock": clock,
        "document_id": document_id,
    }
    await connection.execute(SQL["set_clock"], values)


async def add_ratio(
    connection: Connection,
    point_id: int,
    from_day: date,
    ratio: Decimal,
    registers: Sequence[int] | None,
    document_id: int,
    *,
    from_at: datetime | None = None,
) -> None:
    """What registers of the point are multiplied with from a midnight on.

    `from_at`: or from a moment on, of which `from_day` is the first midnight."""
    values = {
        "point_id": point_id,
        "from_day": from_day,
        "from_at": from_at,
        "ratio": ratio,
        "registers": None if registers is None else list(registers),
        "document_id": document_id,
    }
    await connection.execute(SQL["add_ratio"], values)


async def swap_whole(connection: Connection, swap: Swap) -> None:
    """Each of the two meters served the other's point, as long as it was there."""
    first = {
        "installation_id": swap.first_id,
        "point_id": swap.second_point,
        "at": swap.first_at,
        "document_id": swap.document_id,
    }
    second = {
        "installation_id": swap.second_id,
        "point_id": swap.first_point,
        "at": None,
        "document_id": swap.document_id,
    }
    await connection.execute(SQL["set_aside"], {"installation_id": swap.first_id})
    await connection.execute(SQL["serve_other"], second)
    await connection.execute(SQL["serve_other"], first)


async def swap_since(
    connection: Connection, begun: Mapping[int, NewInstallation], document_id: int
) -> None:
    """Meters change their points. `begun`: by the installation that ends, what its meter begins
    with elsewhere, which is what it ends with here."""
    for ended, own in begun.items():
        values = {
            "installation_id": ended,
            "at": own.at,
            "final": list(own.initial or ()),
            "final_lost": False,
        }
        await connection.execute(SQL["end_installation"], values)
    for own in begun.values():
        await _begin(connection, own, document_id)


async def swap_supply(connection: Connection, one: int, other: int, *, are_others: bool) -> None:
    """What was seen of the relay of one point, and commanded to it, was the other's.

    `are_others`: they have not the same customer."""
    values = {"one": one, "other": other, "are_others": are_others}
    await connection.execute(SQL["swap_supply"], values)


async def end_held_reconnects(connection: Connection, points: Sequence[int], detail: str) -> None:
    """End the reconnects of these points that never left, because the points are kept off: whoever
    is to be lit is restored anew when that is over."""
    values = {"points": list(points), "detail": detail}
    await connection.execute(SQL["end_held_reconnects"], values)


async def has_open_command(connection: Connection, points: Sequence[int]) -> bool:
    """Whether anything is on its way to a relay of these points."""
    row = await fetch_row(connection, SQL["open_command"], {"points": list(points)})
    return bool(row and row[0])
