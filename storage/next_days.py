"""Days that came to many accounts as they mostly do: what a charge needs of them, by columns."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import compress
from typing import Any, Final

import numpy as np
from psycopg.types.numeric import DecimalBinaryDumper

from storage.binary import SINCE, copy
from storage.columns import INTEGERS, Integers, IntegersDumper, IntegersLoader, rows
from storage.sql import Connection, array, fetch_rows, load, texts

SQL = load("next_days")
LINK: Final = {
    "point_id": "int4",
    "account_id": "int4",
    "from_day": "date",
    "to_day": "date",
    "meter_id": "int4",
    "begins": "int8[]",
    "ends": "int8[]",
    "modulus": "int8",
    "decimals": "int2",
    "ratio": "numeric",
    "billed_by": "int8",
}


@dataclass(frozen=True, slots=True)
class Alike:
    """Accounts to which a day came, with the same facts; each array has a row for each account.

    `opened_on`: no earlier than the month. `begins`, `ends`: total and rates of the day before and
    of the day. `use`, `posted_fen`: what is kept of the month, as in account_month, without columns
    where there is nothing; `used_before`: 10^-8 kWh of the year's months before. `thresholds_fen`
    [accounts, 3]: floor, trip and warn. `standing`: how many of them the balance reached when it
    was looked at last. `is_in_arrears`: whether an episode is open, which ends at `reconnect_fen`.
    `has_entries`: of bonuses or of use elsewhere."""

    tariff: str
    rates: tuple[str, ...]
    residual_rate: str | None
    phases: int
    opened_on: date
    modulus: int
    decimals: int
    ratio: Decimal
    components: Sequence[str]
    is_linked: bool
    has_entries: bool
    accounts: Integers
    points: Integers
    meters: Integers
    begins: Integers
    ends: Integers
    use: Integers
    posted_fen: Integers
    used_before: Integers
    ledger_accounts: Integers
    balances_fen: Integers
    thresholds_fen: Integers
    reconnect_fen: Integers
    standing: Integers
    is_in_arrears: Integers


async def take(
    connection: Connection, after: int, most: int, since: date, until: datetime
) -> dict[int, date]:
    """Lock up to so many accounts behind one, of which only the reading of a recent day is new.

    By account the day, which is `since` or later. `until`: what was marked later waits."""
    values = {"after": after, "most": most, "since": since, "until": until}
    return dict(await fetch_rows(connection, SQL["take"], values))


async def next_days(
    connection: Connection, accounts: Collection[int], day: date, month: date
) -> list[Alike]:
    """Those of these accounts, locked before, to which this day came as days mostly do.

    Their marks are taken off. `month`: that of the day before."""
    values = {"accounts": array(sorted(accounts)), "day": day, "month": month}
    async with connection.cursor(binary=True) as cursor:
        for number in INTEGERS:
            cursor.adapters.register_loader(number, IntegersLoader)
        # Planned once: that costs as much as a thousand accounts do.
        await cursor.execute(SQL["next_days"], values, prepare=True)
        return [_alike(told, columns) for told, *columns in await cursor.fetchall()]


def _alike(told: str, columns: Sequence[Integers]) -> Alike:
    tariff, rates, residual, phases, opened_on, *facts = json.loads(told)
    modulus, decimals, ratio, components, is_linked, has_entries = facts
    accounts, points, meters, begins, ends, use, posted_fen, used_before, *money = columns
    ledger_accounts, balances_fen, floor_fen, trip_fen, warn_fen, *standing = money
    return Alike(
        tariff,
        tuple(rates),
        residual,
        phases,
        date.fromisoformat(opened_on),
        modulus,
        decimals,
        Decimal(ratio),
        components,
        is_linked,
        has_entries,
        accounts,
        points,
        meters,
        begins,
        ends,
        # PostgreSQL makes no array of empty ones.
        use if use.shape[1] > 1 else use[:, :0],
        posted_fen[:, : len(components)],
        used_before,
        ledger_accounts,
        balances_fen,
        np.stack([floor_fen, trip_fen, warn_fen], axis=1),
        *standing,
    )


async def add_links(
    connection: Connection, day: date, coming: Sequence[tuple[Alike, Integers]]
) -> None:
    """Put the links that end with this day in force. `coming`: of each account the number of the
    transaction that it is billed with, 0: it moved nothing."""
    made = []
    for alike, billed_by in coming:
        to_day = (day - SINCE).days
        for which, is_billed in ((billed_by != 0, True), (billed_by == 0, False)):
            columns: dict[str, Any] = {
                "point_id": alike.points[which],
                "account_id": alike.accounts[which],
                "from_day": to_day - 1,
                "to_day": to_day,
                "meter_id": alike.meters[which],
                "begins": alike.begins[which],
                "ends": alike.ends[which],
                "modulus": alike.modulus,
                "decimals": alike.decimals,
                "ratio": bytes(DecimalBinaryDumper(Decimal).dump(alike.ratio) or b""),
                "billed_by": billed_by[which] if is_billed else None,
            }
            made.append(rows(LINK, columns, int(which.sum())))
    if made:
        await copy(connection, SQL["add_links"], b"".join(made))


@dataclass(frozen=True, slots=True)
class KeptMonth:
    """What is kept of a month of accounts from now on, as in account_month.

    `posted_fen` [accounts, components]: what is 0 is not kept."""

    accounts: Integers
    use: Integers
    components: Sequence[str]
    posted_fen: Integers


async def put_months(connection: Connection, month: date, kept: Sequence[KeptMonth]) -> None:
    """Keep this of them."""
    columns: defaultdict[str, list[Integers]] = defaultdict(list)
    components: list[list[str]] = []
    uses = posted = 0
    for it in kept:
        shown = it.posted_fen != 0
        patterns, of_pattern = np.unique(shown, axis=0, return_inverse=True)
        count, numbers = it.use.shape
        ends = np.cumsum(shown.sum(axis=1)) + posted
        columns["accounts"].append(it.accounts)
        columns["uses"].append(it.use.ravel())
        columns["use_firsts"].append(uses + 1 + numbers * np.arange(count))
        columns["use_lasts"].append(uses + numbers * np.arange(1, count + 1))
        columns["posted"].append(it.posted_fen[shown])
        columns["posted_firsts"].append(ends - shown.sum(axis=1) + 1)
        columns["posted_lasts"].append(ends)
        columns["of_components"].append(of_pattern.ravel() + len(components) + 1)
        components += [list(compress(it.components, pattern)) for pattern in patterns]
        uses += count * numbers
        posted += int(shown.sum())
    if kept:
        values: dict[str, Any] = {name: np.concatenate(parts) for name, parts in columns.items()}
        values |= {"month": month, "components": [texts(names) for names in components]}
        async with connection.cursor() as cursor:
            cursor.adapters.register_dumper(np.ndarray, IntegersDumper)
            await cursor.execute(SQL["put_months"], values)
