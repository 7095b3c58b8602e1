"""What the demonstration asks its database, one connection a question."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from datetime import date, timedelta
from typing import Any, Final, TypeVar

from psycopg import AsyncConnection

from daemon.transactions.gaps import find_gaps
from storage import archive, ledger, supply

T = TypeVar("T")

BILLED_THROUGH: Final = """
SELECT min(last_day)
FROM (SELECT max(to_day) AS last_day FROM link WHERE hold IS NULL GROUP BY point_id) x
"""


def missing_days(url: str, since: date, today: date) -> list[date]:
    """A day for each slot without a published value."""

    async def ask(connection: AsyncConnection[Any]) -> list[date]:
        missing = []
        for gap in await find_gaps(connection, since, today):
            missing += [gap.first_day + timedelta(days=n) for n in range(gap.days)]
        return missing

    return _ask(url, ask)


def balances(url: str, accounts: Collection[str]) -> tuple[date, dict[str, int]]:
    """The last day that is billed for all accounts, and the balances in fen."""

    async def ask(connection: AsyncConnection[Any]) -> tuple[date, dict[str, int]]:
        row = await (await connection.execute(BILLED_THROUGH)).fetchone()
        assert row is not None
        found = {}
        for account in accounts:
            row_of_account = await archive.account(connection, account)
            assert row_of_account is not None
            found[account] = row_of_account["balance_fen"]
        return row[0], found

    return _ask(url, ask)


def supply_state(url: str, point: str) -> str:
    """Whether the point is energised."""

    async def ask(connection: AsyncConnection[Any]) -> str:
        (row,) = await supply.supply(connection, point=point)
        return str(row["supply_state"])

    return _ask(url, ask)


def ledger_integrity(url: str) -> dict[str, int]:
    """What the nightly audit counts."""
    return _ask(url, ledger.integrity)


def _ask(url: str, ask: Callable[[AsyncConnection[Any]], Awaitable[T]]) -> T:
    async def connect_and_ask() -> T:
        async with await AsyncConnection.connect(url) as connection:
            return await ask(connection)

    return asyncio.run(connect_and_ask())
