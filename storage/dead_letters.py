"""Readings that could not be stored, and what a person decided about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from protocols.errors import MeterdError
from storage.sql import Connection, fetch_records, load

SQL = load("dead_letters")


class NoOpenLetter(MeterdError):
    """There is no dead letter of this id, or somebody has settled it. The operator acts."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One reading. `content`: the reading as JSON; `actor`: who replayed or dropped it."""

    id: int
    at: datetime
    content: Mapping[str, Any]
    reason: str
    replayed_at: datetime | None
    dropped_at: datetime | None
    actor: str | None
    drop_reason: str | None


async def add(connection: Connection, content: Mapping[str, Any], reason: str) -> None:
    """Keep what could not be stored, with the reason.

    The same again, arrived at another time, is kept once."""
    await connection.execute(SQL["add_dead_letter"], {"content": Jsonb(content), "reason": reason})


async def dead_letters(connection: Connection, *, settled: bool = False) -> list[DeadLetter]:
    """Those that wait for somebody, the oldest first. `settled`: also what was settled."""
    return await fetch_records(connection, DeadLetter, SQL["dead_letters"], {"settled": settled})


async def lock_open(connection: Connection, letter_id: int) -> DeadLetter:
    """One that waits for somebody; nobody else settles it until the transaction ends.

    NoOpenLetter."""
    found = await fetch_records(connection, DeadLetter, SQL["lock_dead_letter"], {"id": letter_id})
    if not found:
        raise NoOpenLetter(f"no dead letter {letter_id}; `meterd deadletter list` shows them")
    (letter,) = found
    for done, at in (("replayed", letter.replayed_at), ("dropped", letter.dropped_at)):
        if at is not None:
            raise NoOpenLetter(f"dead letter {letter_id} was {done} by {letter.actor} at {at}")
    return letter


async def set_reason(connection: Connection, letter_id: int, reason: str) -> None:
    """It was tried again: why it still cannot be stored."""
    await connection.execute(SQL["set_reason"], {"id": letter_id, "reason": reason})


async def set_replayed(connection: Connection, letter_id: int, actor: str) -> None:
    """It is stored."""
    await connection.execute(SQL["set_replayed"], {"id": letter_id, "actor": actor})


async def set_dropped(connection: Connection, letter_id: int, actor: str, reason: str) -> None:
    """It is not wanted; the row stays as the record of who decided so, and why."""
    values = {"id": letter_id, "actor": actor, "reason": reason}
    await connection.execute(SQL["set_dropped"], values)
