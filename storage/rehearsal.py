"""What a rehearsal reads, and only reads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import date, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from storage.sql import Connection, fetch_rows, load

SQL = load("rehearsal")


class Holder(NamedTuple):
    """An account, and the tariff with which it began."""

    account_id: int
    account: str
    began_with: str


@asynccontextmanager
async def reading(connection: Connection) -> AsyncIterator[None]:
    """A transaction that sees one state of the database, takes no lock that anybody waits for, and
    cannot write."""
    async with connection.transaction():
        await connection.execute(SQL["begin"])
        yield


async def holders(connection: Connection, tariffs: Collection[str], since: date) -> list[Holder]:
    """Accounts that have one of these tariffs on a day or later."""
    values = {"tariffs": sorted(tariffs), "since": since}
    return [Holder(*row) for row in await fetch_rows(connection, SQL["holders"], values)]


class CustomerRow(NamedTuple):
    """A point of an active account, with what decides about a cut all the time."""

    account_id: int
    point_id: int
    point: str
    account: str
    trip_fen: int
    credit_limit_fen: int
    has_agreement: bool
    protected: bool
    life_support: bool


class MorningRow(NamedTuple):
    """A point at a moment. `published_day`: of its newest published freeze, None where there is
    none or the balance is not below the floor."""

    point_id: int
    at: datetime
    balance_fen: int
    published_day: date | None


async def customers(connection: Connection) -> list[CustomerRow]:
    """All of them, by account."""
    return [CustomerRow(*row) for row in await fetch_rows(connection, SQL["customers"], {})]


async def mornings(
    connection: Connection, accounts: Collection[int], moments: Sequence[datetime], zone: ZoneInfo
) -> list[MorningRow]:
    """The points that these accounts have, at moments in order of time; by point in this order."""
    values = {"accounts": sorted(accounts), "moments": list(moments), "zone": zone.key}
    return [MorningRow(*row) for row in await fetch_rows(connection, SQL["mornings"], values)]
