"""What those who watch a site are shown of its tables.

None of the questions looks at history: they ask for what is open, for what was added since they
were asked last, or once for each account and point."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple

from storage.sql import Connection, fetch_row, fetch_rows, load

SQL = load("figures")


class Steps(NamedTuple):
    """Steps of commands of one kind. `took_s`: of verified reconnects, each from its order on."""

    action: str
    state: str
    steps: int
    took_s: Sequence[float]


class Posted(NamedTuple):
    """Transactions of one kind, and how much they moved."""

    kind: str
    transactions: int
    fen: int


class ToSettle(NamedTuple):
    """Accounts that wait to be settled; `since`: None where none does."""

    accounts: int
    since: datetime | None


async def accounts(connection: Connection) -> dict[str, int]:
    """Accounts in use by their credit state."""
    return dict(await fetch_rows(connection, SQL["accounts"]))


async def balances(connection: Connection) -> tuple[int, int]:
    """(what customers have left, what they owe), in fen."""
    row = await fetch_row(connection, SQL["balances"])
    return (0, 0) if row is None else (row[0], row[1])


async def supplies(connection: Connection) -> dict[str, int]:
    """Points by their supply state."""
    return dict(await fetch_rows(connection, SQL["supplies"]))


async def reconnects(connection: Connection) -> list[datetime]:
    """When each reconnect was ordered that is not done; refused ones of the dark included."""
    return [at for (at,) in await fetch_rows(connection, SQL["reconnects"])]


async def open_commands(connection: Connection) -> dict[tuple[str, str], int]:
    """Commands that are not over, by action and state."""
    rows = await fetch_rows(connection, SQL["open_commands"])
    return {(action, state): count for action, state, count in rows}


async def marks(connection: Connection, now: datetime) -> dict[str, int]:
    """What keeps supplies from being cut at `now`, by kind."""
    return dict(await fetch_rows(connection, SQL["marks"], {"now": now}))


async def breakers(connection: Connection) -> dict[str, int]:
    """Open breakers by scope."""
    return dict(await fetch_rows(connection, SQL["breakers"]))


async def jobs(connection: Connection) -> dict[str, int]:
    """Open jobs in the field by kind."""
    return dict(await fetch_rows(connection, SQL["jobs"]))


async def to_settle(connection: Connection) -> ToSettle:
    """What waits to be settled."""
    row = await fetch_row(connection, SQL["to_settle"])
    return ToSettle(0, None) if row is None else ToSettle._make(row)


async def points(connection: Connection) -> int:
    """Points that a meter serves."""
    row = await fetch_row(connection, SQL["points"])
    return 0 if row is None else int(row[0])


async def unpublished(connection: Connection, since: date, until: date) -> dict[str, int]:
    """Days of these with a value that counts for nothing, by state."""
    values = {"since": since, "until": until}
    return dict(await fetch_rows(connection, SQL["unpublished"], values))


async def last_place(connection: Connection) -> int:
    """The last sealed place: up to there nothing can be added any more."""
    row = await fetch_row(connection, SQL["last_place"])
    return 0 if row is None else int(row[0])


async def steps(connection: Connection, above: int, up_to: int) -> list[Steps]:
    """Steps of commands with a place above one and up to another."""
    values = {"above": above, "up_to": up_to}
    return [Steps._make(row) for row in await fetch_rows(connection, SQL["steps"], values)]


async def posted(connection: Connection, above: int, up_to: int) -> list[Posted]:
    """Transactions with a place above one and up to another."""
    values = {"above": above, "up_to": up_to}
    return [Posted._make(row) for row in await fetch_rows(connection, SQL["posted"], values)]


async def kinds(connection: Connection) -> list[str]:
    """Every kind of transaction that there is."""
    return [kind for (kind,) in await fetch_rows(connection, SQL["kinds"])]
