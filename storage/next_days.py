"""Days that came to many accounts as they mostly do: what a charge needs of them, by columns."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from storage.columns import Integers
from storage.many_accounts import Alike, read_columns, those_alike
from storage.sql import Connection, array, fetch_rows, load

SQL = load("next_days")


@dataclass(frozen=True, slots=True)
class NextDay:
    """Accounts to which a day came, with the same facts; each array has a row for each account.

    `begins`, `ends`: total and rates of the day before and of the day. `use`, `posted_fen`: what is
    kept of the month, as in account_month, without columns where there is nothing; `used_before`:
    10^-8 kWh of the year's months before. `is_linked`: the link is there already."""

    alike: Alike
    modulus: int
    decimals: int
    ratio: Decimal
    components: tuple[str, ...]
    is_linked: bool
    meters: Integers
    begins: Integers
    ends: Integers
    use: Integers
    posted_fen: Integers
    used_before: Integers

    def those(self, which: NDArray[np.bool_]) -> NextDay:
        """Some of them."""
        return replace(
            self,
            alike=self.alike.those(which),
            meters=self.meters[which],
            begins=self.begins[which],
            ends=self.ends[which],
            use=self.use[which],
            posted_fen=self.posted_fen[which],
            used_before=self.used_before[which],
        )


async def take(
    connection: Connection, after: int, most: int, since: date, until: datetime
) -> dict[int, date]:
    """Lock up to so many accounts behind one, of which only the reading of a recent day is new.

    By account the day, which is `since` or later. `until`: what was marked later waits."""
    values = {"after": after, "most": most, "since": since, "until": until}
    return dict(await fetch_rows(connection, SQL["take"], values))


async def next_days(
    connection: Connection, accounts: Collection[int], day: date, month: date
) -> list[NextDay]:
    """Those of these accounts, locked before, to which this day came as days mostly do.

    Their marks are taken off. `month`: that of the day before."""
    values = {"accounts": array(sorted(accounts)), "day": day, "month": month}
    found = []
    for told, *columns in await read_columns(connection, SQL["next_days"], values):
        facts, modulus, decimals, ratio, components, is_linked = json.loads(told)
        *alike, meters, begins, ends, use, posted_fen, used_before = columns
        found.append(
            NextDay(
                those_alike(facts, alike),
                modulus,
                decimals,
                Decimal(ratio),
                tuple(components),
                is_linked,
                meters,
                begins,
                ends,
                # PostgreSQL makes no array of empty ones.
                use if use.shape[1] > 1 else use[:, :0],
                posted_fen[:, : len(components)],
                used_before,
            )
        )
    return found
