"""What explains a balance: where accounts stand, what moved them, and which links were billed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple

from storage.sql import Connection, fetch_rows, load

SQL = load("explanation")


class AccountStanding(NamedTuple):
    """An account of a list.

    `in_arrears_since`: None where it is not. `billed_through`: all its points are billed up to
    00:00 of this day. `charged_fen`: of the months from `charged_since` on, up to
    `charged_through`."""

    number: str
    name: str
    state: str
    credit_state: str
    balance_fen: int
    trip_fen: int
    opened_on: date | None
    in_arrears_since: datetime | None
    billed_through: date | None
    charged_since: date | None
    charged_fen: int
    charged_through: date | None


class Movement(NamedTuple):
    """A leg that moved a customer's balance: positive where the customer gains.

    `day`: which one it counts for. `period`, `component`: what a charge is about; an adjustment is
    about a month that was closed before. `reasons`: why days before cost more."""

    transaction: int
    kind: str
    recorded_at: datetime
    day: date
    channel: str | None
    period: date | None
    component: str | None
    fen: int
    reasons: Sequence[str]


class TransactionRow(NamedTuple):
    """A transaction of the ledger. `reverses`, `reversed_by`: numbers of others. `reasons`: why
    days before cost more."""

    id: int
    key: str
    kind: str
    recorded_at: datetime
    value_date: date
    actor: str
    channel: str | None
    document: int | None
    reverses: int | None
    reversed_by: int | None
    reasons: Sequence[str]


class BilledLink(NamedTuple):
    """A link that was billed. `left_at`: when others took its place, None: it is in force."""

    point: str
    from_day: date
    to_day: date
    kwh: Decimal
    hold: str | None
    left_at: datetime | None


class PastLink(NamedTuple):
    """A link that others took the place of. `billed_by`: the transaction that billed it."""

    point: str
    from_day: date
    to_day: date
    billed_by: int | None
    left_at: datetime


class PointRow(NamedTuple):
    """A metering point; `rates`: names of its rate registers."""

    id: int
    number: str
    rates: list[str]


@asynccontextmanager
async def one_moment(connection: Connection) -> AsyncIterator[None]:
    """What is read inside is of one moment: what is posted meanwhile is in all of it or in none."""
    async with connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


async def accounts(
    connection: Connection,
    *,
    state: str | None,
    credit: str | None,
    most: int | None,
    since: date,
) -> list[AccountStanding]:
    """Accounts by number; what they were charged of the months from `since` on."""
    values = {"state": state, "credit": credit, "most": most, "since": since}
    return [AccountStanding(*row) for row in await fetch_rows(connection, SQL["accounts"], values)]


async def movements(connection: Connection, account: str) -> list[Movement]:
    """All that ever moved the account's balance, in order of days."""
    rows = await fetch_rows(connection, SQL["movements"], {"account": account})
    return [Movement(*row) for row in rows]


async def transaction(connection: Connection, number: int) -> TransactionRow | None:
    """The transaction of this number."""
    rows = await fetch_rows(connection, SQL["transaction"], {"transaction": number})
    return TransactionRow(*rows[0]) if rows else None


async def billed_with(connection: Connection, number: int) -> list[BilledLink]:
    """The links that a transaction billed."""
    rows = await fetch_rows(connection, SQL["billed_with"], {"transaction": number})
    return [BilledLink(*row) for row in rows]


async def past_links(connection: Connection, account_id: int, day: date) -> list[PastLink]:
    """The links of an account that were in force for a day before."""
    values = {"account_id": account_id, "day": day}
    return [PastLink(*row) for row in await fetch_rows(connection, SQL["past_links"], values)]


async def points(connection: Connection, account_id: int) -> list[PointRow]:
    """The points that an account has or had."""
    rows = await fetch_rows(connection, SQL["points"], {"account_id": account_id})
    return [PointRow(*row) for row in rows]


async def addresses(connection: Connection, meters: Collection[int]) -> dict[int, str]:
    """Of meters."""
    return dict(await fetch_rows(connection, SQL["addresses"], {"meters": sorted(meters)}))
