"""Days that came to many accounts as they mostly do: what a charge needs of them, by columns."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from storage.columns import Integers
from storage.many_accounts import Alike, read_columns, those_alike
from storage.sql import Connection, array, load

SQL = load("next_days")
ABSENT: Final = -1
"""Stands for the group of whoever is in none."""


@dataclass(frozen=True, slots=True)
class NextDay:
    """Accounts to which a day came, with the same facts; each array has a row for each account.

    `begins`, `ends`: total and rates of the day before and of the day. `use`, `posted_fen`: what is
    kept of the month, as in account_month, without columns where there is nothing; `used_before`:
    10^-8 kWh of the year's months before."""

    alike: Alike
    modulus: int
    decimals: int
    ratio: Decimal
    components: tuple[str, ...]
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


class _Group(NamedTuple):
    """What rows of a table have in common, and what they have not: `numbers`, a row's key first,
    and where the table has them two arrays."""

    facts: Sequence[Any]
    numbers: Integers
    first: Integers
    second: Integers


async def take(
    connection: Connection, after: int, most: int, since: date, until: datetime
) -> dict[int, date]:
    """Lock up to so many accounts behind one, of which only the reading of a recent day is new.

    By account the day, which is `since` or later. `until`: what was marked later waits."""
    values = {"after": after, "most": most, "since": since, "until": until}
    rows = await read_columns(connection, SQL["take"], values)
    return {account: day for day, accounts in rows for account in accounts.tolist()}


async def next_days(
    connection: Connection, accounts: Collection[int], day: date, month: date
) -> list[NextDay]:
    """Those of these accounts, locked before, to which this day came as days mostly do.

    Their marks are taken off; and those of accounts that were charged for this day before, of which
    nothing is told. `month`: that of the day before."""
    values = {"accounts": array(sorted(accounts)), "day": day, "month": month}
    told: defaultdict[str, list[_Group]] = defaultdict(list)
    for table, facts, *columns in await read_columns(connection, SQL["next_days"], values):
        told[table].append(_Group(json.loads(facts), *columns))
    return [it for accounts in told["account"] for it in _with_same_facts(accounts, told)]


def _with_same_facts(accounts: _Group, told: Mapping[str, Sequence[_Group]]) -> Iterator[NextDay]:
    """Accounts put together with their rows of the other tables."""
    tariff, opened_on, has_entries = accounts.facts
    ids, *of_account = accounts.numbers.T
    link_of, link_at = _places(ids, told["link"])
    # Every account has a link, and every link a point.
    points = np.concatenate([it.numbers[:, 1] for it in told["link"]])
    begins = np.cumsum([0, *(len(it.numbers) for it in told["link"])])
    points = points[begins[link_of] + link_at]
    point_of, _ = _places(points, told["point"])
    month_of, month_at = _places(ids, told["month"])
    used_before = np.zeros_like(ids)
    for year in told["before"]:
        year_of, year_at = _places(ids, [year])
        used_before = np.where(year_of != ABSENT, year.numbers[year_at, 1], 0)
    kinds = (link_of * len(told["point"]) + point_of) * (len(told["month"]) + 1) + month_of - ABSENT
    for kind, any_of_it in zip(*np.unique(kinds, return_index=True), strict=True):
        which = np.flatnonzero(kinds == kind)
        link, point = told["link"][link_of[any_of_it]], told["point"][point_of[any_of_it]]
        rows = link_at[which]
        modulus, decimals, ratio = link.facts
        components: Sequence[str] = ()
        use = posted_fen = np.empty((len(which), 0), dtype=np.int64)
        if month_of[any_of_it] != ABSENT:
            month = told["month"][month_of[any_of_it]]
            components = month.facts
            kept = month_at[which]
            # PostgreSQL makes no array of empty ones.
            use = month.first[kept] if month.first.shape[1] > 1 else use
            posted_fen = month.second[kept][:, : len(components)]
        yield NextDay(
            those_alike(
                [tariff, *point.facts, opened_on, has_entries],
                [ids[which], points[which], *(column[which] for column in of_account)],
            ),
            modulus,
            decimals,
            Decimal(ratio),
            tuple(components),
            link.numbers[rows, 2],
            link.first[rows],
            link.second[rows],
            use,
            posted_fen,
            used_before[which],
        )


def _places(keys: Integers, groups: Sequence[_Group]) -> tuple[Integers, Integers]:
    """Of each key in which group it is, ABSENT: in none, and in which row of it."""
    if not groups:
        return np.full_like(keys, ABSENT), np.zeros_like(keys)
    known = np.concatenate([it.numbers[:, 0] for it in groups])
    counts = [len(it.numbers) for it in groups]
    order = np.argsort(known)
    found = order[np.searchsorted(known, keys, sorter=order) % len(known)]
    group = np.repeat(np.arange(len(groups)), counts)
    row = np.concatenate([np.arange(count) for count in counts])
    return np.where(known[found] == keys, group[found], ABSENT), row[found]
