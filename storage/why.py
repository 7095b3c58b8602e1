"""What is known of points' supply, to say why they are dark."""

from __future__ import annotations

from datetime import date, datetime
from typing import TypeVar

from storage.sql import Connection, fetch_records, fetch_rows, load

SQL = load("why")
T = TypeVar("T")


async def points_asked_for(connection: Connection, name: str) -> list[int]:
    """The point of that number, or the points that the account of that number has now."""
    rows = await fetch_rows(connection, SQL["points_asked_for"], {"name": name})
    return [point for (point,) in rows]


async def supplies(
    connection: Connection, points: list[int], record: type[T], *, now: datetime, today: date
) -> list[T]:
    """What is known of the supply of these points, each as a `record` with these columns."""
    values = {"points": points, "now": now, "today": today}
    return await fetch_records(connection, record, SQL["supplies"], values)
