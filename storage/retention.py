"""How long rows are kept, and what goes when its time is over.

What may go is decided in the database: the daemon's role can delete none of these rows itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from storage.sql import Connection, fetch_records, fetch_row, fetch_rows, load

SQL = load("retention")
BY_ROWS: Final = (
    "attempt",
    "chain_change",
    "dead_letter",
    "guard_verdict",
    "slot_journal",
    "staff_alarm",
    "staff_call",
)
"""Tables whose rows go one by one; readings and slots go by whole months."""


@dataclass(frozen=True, slots=True)
class Kept:
    """How long the rows of a table are kept.

    `keep` as PostgreSQL says it ("6 years"), None: for ever. `goes_at`: when the time of the
    oldest is over; `needed_by`: what refers to it, so that it stays nevertheless, "money" or "a
    decision"."""

    table_name: str
    keep: str | None
    reason: str
    oldest: datetime | None
    goes_at: datetime | None
    needed_by: str | None


async def forget_month(connection: Connection, now: datetime) -> dict[str, int]:
    """Drop the oldest month of readings and slots that may go: rows by table, none if none may.

    psycopg.errors.LockNotAvailable where somebody works with the tables without a pause."""
    return dict(await fetch_rows(connection, SQL["forget_month"], {"now": now}))


async def forget_rows(connection: Connection, table: str, now: datetime, most: int) -> int:
    """Delete at most so many rows of one of BY_ROWS that may go: how many went."""
    values = {"table": table, "now": now, "most": most}
    row = await fetch_row(connection, SQL["forget_rows"], values)
    assert row is not None
    return int(row[0])


async def kept(connection: Connection) -> list[Kept]:
    """Every table that grows: those kept for ever last."""
    return await fetch_records(connection, Kept, SQL["kept"])
