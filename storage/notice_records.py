"""Notices that persons wrote down, and all that were given."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from storage.sql import Connection, fetch_dicts, fetch_row, load

SQL = load("notice_records")


@dataclass(frozen=True, slots=True)
class RecordedNotice:
    """What somebody told a customer. `delivered_at` None: there is no receipt yet."""

    account_id: int
    episode_id: int | None
    kind: str
    channel: str
    language: str
    text: str
    amount_fen: int
    deadline_at: datetime | None
    planned_at: datetime | None
    actor: str
    evidence: str
    sent_at: datetime | None
    delivered_at: datetime | None


async def told_about(connection: Connection, account: str) -> tuple[int, int | None, int] | None:
    """(account, present arrears episode, what is missing to the reconnect threshold)."""
    return await fetch_row(connection, SQL["told_about"], {"account": account})


async def record(connection: Connection, notice: RecordedNotice) -> int | None:
    """Write down a notice; returns its number, None if it has not happened yet."""
    row = await fetch_row(connection, SQL["record"], asdict(notice))
    return None if row is None else int(row[0])


async def notices(connection: Connection, account: str | None, most: int) -> list[dict[str, Any]]:
    """The newest notices, of one account or of all."""
    return await fetch_dicts(connection, SQL["notices"], {"account": account, "most": most})
