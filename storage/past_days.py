"""Readings of whatever days that came to many accounts: what a charge needs of them, by columns."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Final

from storage.columns import Integers
from storage.many_accounts import Alike, LinkColumns, read_columns, those_alike
from storage.sql import Connection, array, fetch_rows, load

SQL = load("past_days")
MOST_DAYS: Final = 70
"""A meter remembers 62 days."""


@dataclass(frozen=True, slots=True)
class PastDays:
    """Accounts alike. `opens_on`: where their first links begin, in days since 2000; `is_pending`:
    whether their opening freeze was missing."""

    alike: Alike
    opens_on: Integers
    is_pending: Integers


@dataclass(frozen=True, slots=True)
class Moved:
    """Links that leave (`sign` -1) or come (1). With 0 no links: the days that changed."""

    sign: int
    links: LinkColumns


@dataclass(frozen=True, slots=True)
class MonthAlike:
    """What is kept of a month of accounts, as in account_month, of one layout."""

    month: date
    components: tuple[str, ...]
    accounts: Integers
    use: Integers
    posted_fen: Integers


async def take(connection: Connection, after: int, most: int, until: datetime) -> dict[int, date]:
    """Lock up to so many accounts behind one to which readings came, whatever else did.

    By account the first day that changed. `until`: what was marked later waits."""
    values = {"after": after, "most": most, "until": until}
    return dict(await fetch_rows(connection, SQL["take"], values))


async def facts(connection: Connection, accounts: Collection[int], since: date) -> list[PastDays]:
    """Of those of these accounts, locked before, that have nothing out of the common.

    `since`: the first month that is asked for."""
    values = {"accounts": array(sorted(accounts)), "since": since}
    found = []
    for told, *columns in await read_columns(connection, SQL["facts"], values):
        *alike, opens_on, is_pending = columns
        found.append(PastDays(those_alike(json.loads(told), alike), opens_on, is_pending))
    return found


async def moved(
    connection: Connection, asked: Collection[PastDays], earliest: date, newest: date
) -> list[Moved]:
    """Which of their links leave and come, of those accounts where that is plain and nothing before
    a day (`earliest`) changed.

    Their marks are taken off. `newest`: no value is of a later day."""
    values = {
        "accounts": array([it for of in asked for it in of.alike.accounts.tolist()]),
        "points": array([it for of in asked for it in of.alike.points.tolist()]),
        "opens_on": array([it for of in asked for it in of.opens_on.tolist()]),
        "earliest": earliest,
        "newest": newest,
        "most_days": MOST_DAYS,
    }
    found = []
    for told, *columns in await read_columns(connection, SQL["moved"], values):
        sign, modulus, decimals, ratio, hold = json.loads(told)
        links = LinkColumns(modulus, decimals, Decimal(ratio), hold, *columns)
        found.append(Moved(sign, links))
    return found


async def months(
    connection: Connection, accounts: Collection[int], since: date
) -> list[MonthAlike]:
    """What is kept of these accounts since a month."""
    values = {"accounts": array(sorted(accounts)), "since": since}
    found = []
    for told, accounts_of, use, posted_fen in await read_columns(connection, SQL["months"], values):
        month, components = json.loads(told)
        found.append(
            MonthAlike(
                date.fromisoformat(month),
                tuple(components),
                accounts_of,
                # PostgreSQL makes no array of empty ones.
                use if use.shape[1] > 1 else use[:, :0],
                posted_fen[:, : len(components)],
            )
        )
    return found
