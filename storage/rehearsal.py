"""What a rehearsal reads, and only reads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import date
from typing import NamedTuple

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
