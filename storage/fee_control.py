"""Who was cut when and why, and all that was said and done about it (R40)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from storage.sql import Connection, fetch_rows, load

SQL = load("fee_control")


class Event(NamedTuple):
    """What happened to a customer's supply. `point`: None where it is about all of them.

    `actor`: who did it, None: the daemon. `facts`: of the event; amounts in fen, moments as text
    with their offset."""

    at: datetime
    event: str
    point: str | None
    actor: str | None
    facts: Mapping[str, Any]


class Trip(NamedTuple):
    """A command that was to cut.

    `guard`: what was kept of why when it was sent last, or of the last look where it never was.
    `is_heard_before`: that was kept of an earlier step already. `since`: when the credit was
    exhausted; None where there was some when it was asked for."""

    id: UUID
    point: str
    area: str
    account: str | None
    address: str
    line: str
    cause: str
    state: str
    created_at: datetime
    sends: int
    guard: Any
    sent_at: datetime | None
    is_heard_before: bool
    since: datetime | None


async def record(
    connection: Connection,
    account: str,
    zone: ZoneInfo,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Event]:
    """All that happened to an account and to its points while they were its, in order of time."""
    values = {"account": account, "zone": zone.key, "since": since, "until": until}
    return [Event(*row) for row in await fetch_rows(connection, SQL["record"], values)]


async def trips(connection: Connection, begins: str, zone: ZoneInfo) -> list[Trip]:
    """The cuts whose id begins so, at most two."""
    values = {"begins": begins, "zone": zone.key}
    return [Trip(*row) for row in await fetch_rows(connection, SQL["trips"], values)]
