"""What is kept of accounts by month: their exact use, and what was posted of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import NamedTuple

from storage.sql import Connection, array, days, fetch_rows, load, texts

SQL = load("months")


class MonthRow(NamedTuple):
    """A month of an account. `use`: as `account_month` says; `posted_fen`: of each component."""

    account_id: int
    month: date
    use: Sequence[int]
    components: Sequence[str]
    posted_fen: Sequence[int]


class OldCharge(NamedTuple):
    """Money posted for days long past, the first of which is told.

    `reasons`: why earlier days cost more than before, as a statement names it."""

    account_id: int
    posted_at: datetime
    first_day: date
    fen: int
    transaction: int
    reasons: Sequence[str] = ()


class UsualDays(NamedTuple):
    """What an account was charged since a day."""

    account_id: int
    fen: int
    first_day: date


async def months(connection: Connection, sinces: Mapping[int, date]) -> list[MonthRow]:
    """What is kept of these accounts, each from a month on."""
    values = {"accounts": array(sinces), "sinces": days(sinces.values())}
    return [MonthRow(*row) for row in await fetch_rows(connection, SQL["months"], values)]


async def put(connection: Connection, rows: Sequence[MonthRow]) -> None:
    """Keep this of them from now on."""
    if not rows:
        return
    values = {
        "accounts": array([row.account_id for row in rows]),
        "months": days([row.month for row in rows]),
        "uses": [array(row.use) for row in rows],
        "components": [texts(row.components) for row in rows],
        "posted": [array(row.posted_fen) for row in rows],
    }
    await connection.execute(SQL["put"], values)


async def usual_days(
    connection: Connection, accounts: Collection[int], since: date
) -> list[UsualDays]:
    """What these accounts were charged of the months since then."""
    values = {"accounts": sorted(accounts), "since": since}
    return [UsualDays(*row) for row in await fetch_rows(connection, SQL["usual_days"], values)]


async def add_old_charges(connection: Connection, charges: Sequence[OldCharge]) -> None:
    """Remember money that was posted for days long past."""
    values = {
        "accounts": [it.account_id for it in charges],
        "at": [it.posted_at for it in charges],
        "firsts": [it.first_day for it in charges],
        "fen": [it.fen for it in charges],
        "transactions": [it.transaction for it in charges],
        "reasons": [texts(it.reasons) for it in charges],
    }
    await connection.execute(SQL["add_old_charges"], values)


async def old_charges(
    connection: Connection, accounts: Collection[int], since: datetime
) -> list[OldCharge]:
    """What these accounts were posted since then for days long past."""
    values = {"accounts": sorted(accounts), "since": since}
    return [OldCharge(*row) for row in await fetch_rows(connection, SQL["old_charges"], values)]


async def put_grace(connection: Connection, untils: Mapping[int, datetime]) -> None:
    """Until when no trip of these accounts happens by itself; an earlier end stays."""
    if untils:
        values = {"accounts": list(untils), "untils": list(untils.values())}
        await connection.execute(SQL["put_grace"], values)
