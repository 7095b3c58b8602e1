"""Which accounts have to be settled: marks that are made with what they are made for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, datetime
from typing import Final, NamedTuple, cast

from storage import binary
from storage.sql import Connection, array, days, fetch_rows, load

SQL = load("settling")
NEW_MARK: Final = {"account_id": "int4", "from_day": "date", "to_day": "date"}
"""Columns of a mark of readings, and their types."""


class Days(NamedTuple):
    """The first and the last day whose value changed.

    `causes`: those after which the same use costs otherwise."""

    first: date
    last: date
    causes: frozenset[str] = frozenset()

    @property
    def is_anew(self) -> bool:
        """Whether what is kept of use since the first one is to be gathered again."""
        return not self.causes.isdisjoint(GATHERED_ANEW)


GATHERED_ANEW: Final = frozenset({"tariff", "facts"})
"""Causes of a mark after which the same links are another use: other versions, other rates."""
REPRICED: Final = GATHERED_ANEW | {"household_bonus", "used_elsewhere"}
"""Causes of a mark after which the same links cost otherwise."""
ALL_DAYS: Final = Days(date(2000, 1, 1), date(9999, 12, 31))
NO_DAYS: Final = Days(date(9999, 12, 31), date(9999, 12, 31))
"""No value changed: what the account has to pay with did."""


async def mark_accounts(
    connection: Connection, accounts: Collection[int], changed: Days, cause: str
) -> None:
    """Let these accounts be settled."""
    if not accounts:
        return
    values = {
        "accounts": sorted(accounts),
        "from_day": changed.first,
        "to_day": changed.last,
        "cause": cause,
    }
    await connection.execute(SQL["mark_accounts"], values)


async def mark_points(
    connection: Connection, changed: Mapping[int, Days], cause: str, known: bytes = b""
) -> None:
    """Let whoever is billed for these points be settled. `changed`: by point, what did.

    `known`: accounts that need not be looked up, for new readings; rows as `columns.rows` makes
    them of NEW_MARK."""
    if not changed:
        if known:
            await binary.copy(connection, SQL["copy_marks"], known)
        return
    marks = list(binary.unpacked(NEW_MARK, known))
    values = {
        "points": array(changed),
        "firsts": days([it.first for it in changed.values()]),
        "lasts": days([it.last for it in changed.values()]),
        "accounts": array([account for account, _, _ in marks]),
        "days": array([day for _, day, _ in marks]),
        "cause": cause,
    }
    await connection.execute(SQL["mark_points"], values)


async def put_back(connection: Connection, taken: Mapping[int, Days], since: datetime) -> None:
    """Mark accounts again whose marks of readings this transaction took off: others settle them.

    `since`: when they are said to have been marked."""
    values = {
        "accounts": array(taken),
        "firsts": days([it.first for it in taken.values()]),
        "lasts": days([it.last for it in taken.values()]),
        "since": since,
    }
    await connection.execute(SQL["put_back"], values)


async def latest_mark(connection: Connection) -> datetime:
    """The moment by the database's clock: what is marked later may wait for the next round."""
    ((now,),) = await fetch_rows(connection, SQL["now"], {})
    return cast("datetime", now)


async def is_any_marked(connection: Connection, until: datetime) -> bool:
    """Whether a mark is left that was made until a moment."""
    return bool(await fetch_rows(connection, SQL["marked"], {"until": until}))


async def take_marks(
    connection: Connection, most: int, now: datetime, until: datetime
) -> dict[int, Days]:
    """Take the marks of up to so many accounts off that were made until a moment, and lock these
    accounts, in their order; who had a point before one of them comes with it.

    Whoever settles one of them already is waited for. Marks come back if the transaction fails."""
    values = {"most": most, "now": now, "until": until}
    marks: dict[int, Days] = {}
    rows = await fetch_rows(connection, SQL["take_marks"], values)
    for account, first, last, cause in sorted(rows):
        known = marks.get(account, Days(first, last))
        causes = known.causes | (REPRICED & {cause})
        marks[account] = Days(min(known.first, first), max(known.last, last), causes)
    return marks


async def put_off(connection: Connection, account: int, error: str, not_before: datetime) -> None:
    """Keep the marks of an account that cannot be settled, with the reason, and try it later."""
    values = {
        "account": account,
        "error": error,
        "not_before": not_before,
    }
    await connection.execute(SQL["put_off"], values)
