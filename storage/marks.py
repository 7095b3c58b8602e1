"""Marks of persons that keep somebody from being cut: set, asked to be lifted, lifted."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from storage.documents import Said
from storage.sql import Connection, fetch_dicts, fetch_row, load

SQL = load("marks")


@dataclass(frozen=True, slots=True)
class Scope:
    """Of what a mark is: of one of these, or of the whole site."""

    area: str | None = None
    line: str | None = None
    account_id: int | None = None
    point_id: int | None = None


async def add_mark(
    connection: Connection,
    kind: str,
    scope: Scope,
    said: Said,
    *,
    from_at: datetime | None,
    to_at: datetime | None,
    ramp: tuple[int, int] | None = None,
) -> int | None:
    """Set a mark; returns its number, None if it would be over already. `from_at` None: from now
    on, by the database's clock.

    `ramp`: of an amnesty (kW within a minute, kW of a point)."""
    kw_per_minute, kw_per_point = ramp or (None, None)
    values = {
        "kind": kind,
        **asdict(scope),
        "from_at": from_at,
        "to_at": to_at,
        "actor": said.actor,
        "reason": said.reason,
        "evidence": said.evidence or None,
        "kw_per_minute": kw_per_minute,
        "kw_per_point": kw_per_point,
    }
    row = await fetch_row(connection, SQL["add_mark"], values)
    return None if row is None else int(row[0])


async def is_known(
    connection: Connection, *, area: str | None = None, line: str | None = None
) -> bool:
    """Whether there is an area, or a line, of this name."""
    return await fetch_row(connection, SQL["is_known"], {"area": area, "line": line}) == (True,)


async def marks(
    connection: Connection, kinds: Collection[str], *, all_times: bool = False
) -> list[dict[str, Any]]:
    """Marks of these kinds that hold or will hold; with `all_times` also those that are over."""
    values = {"kinds": list(kinds), "all": all_times}
    return await fetch_dicts(connection, SQL["marks"], values)


async def lock_mark(connection: Connection, number: int) -> tuple[str, str | None, bool] | None:
    """(kind, who asked to lift it, whether it is lifted), locked."""
    return await fetch_row(connection, SQL["lock_mark"], {"number": number})


async def ask_to_lift(connection: Connection, number: int, said: Said, *, at_once: bool) -> None:
    """Lift a mark that is locked; not `at_once`: when a second person agrees."""
    values = {"number": number, "actor": said.actor, "reason": said.reason, "at_once": at_once}
    await connection.execute(SQL["ask_to_lift"], values)


async def agree_to_lift(connection: Connection, number: int, actor: str) -> None:
    """The second person agrees: the mark, which is locked, is lifted."""
    await connection.execute(SQL["agree_to_lift"], {"number": number, "actor": actor})
