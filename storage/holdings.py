"""Who is billed for a point, by days."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

from storage.sql import Connection, fetch_records, fetch_rows, load

SQL = load("holdings")


@dataclass(frozen=True, slots=True)
class Holder:
    """An account that may be billed. `priced_from`: since when its tariff has a price."""

    account_id: int
    account: str
    state: str
    opened_on: date | None
    agreement: str | None
    priced_from: date | None


@dataclass(frozen=True, slots=True)
class HoldingRow(Holder):
    """It is billed for a point from 00:00 of `from_day` to 00:00 of `to_day`; None: still."""

    from_day: date
    to_day: date | None


async def holder(connection: Connection, account: str) -> Holder | None:
    """An account by its number."""
    found = await fetch_records(connection, Holder, SQL["account"], {"account": account})
    return found[0] if found else None


async def holdings(connection: Connection, point_id: int) -> list[HoldingRow]:
    """Everybody who was ever billed for a point, in order of days."""
    return await fetch_records(connection, HoldingRow, SQL["holdings"], {"point_id": point_id})


async def end_holdings(connection: Connection, point_id: int, day: date) -> set[int]:
    """From a day on nobody is billed for the point. Returns the accounts that were."""
    values = {"point_id": point_id, "day": day}
    return {row[0] for row in await fetch_rows(connection, SQL["end_holdings"], values)}


async def add_holding(
    connection: Connection, point_id: int, account_id: int, day: date, document_id: int
) -> None:
    """From a day on an account is billed for a point that is nobody's then."""
    values = {
        "point_id": point_id,
        "account_id": account_id,
        "day": day,
        "document_id": document_id,
    }
    await connection.execute(SQL["add_holding"], values)


async def move_holding(connection: Connection, point_id: int, was: date, day: date) -> set[int]:
    """What began on the day `was` begins on another one. Returns whose it is."""
    values = {
        "point_id": point_id,
        "was": was,
        "day": day,
    }
    return {row[0] for row in await fetch_rows(connection, SQL["move_holding"], values)}


async def billed_spans(connection: Connection, point_id: int) -> Collection[tuple[date, date]]:
    """The spans of the point's use that are billed."""
    rows = await fetch_rows(connection, SQL["billed_spans"], {"point_id": point_id})
    return [(first, last) for first, last in rows]


async def accounts_of(connection: Connection, points: Collection[int]) -> list[int]:
    """Everybody who is or was billed for these points, and for others of theirs."""
    rows = await fetch_rows(connection, SQL["accounts_of"], {"points": sorted(points)})
    return [row[0] for row in rows]
