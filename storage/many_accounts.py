"""What is read and written of many accounts by columns when their money moves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from itertools import product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from psycopg.types.numeric import DecimalBinaryDumper

from storage import link_registers
from storage.binary import SINCE, copy
from storage.columns import INTEGERS, Integers, IntegersDumper, IntegersLoader, rows
from storage.sql import Connection, Row, Values, array, load, texts

SQL = load("many_accounts")
LINK: Final = {
    "point_id": "int4",
    "account_id": "int4",
    "from_day": "date",
    "to_day": "date",
    "meter_id": "int4",
    "modulus": "int8",
    "decimals": "int2",
    "ratio": "numeric",
    "hold": "text",
    "billed_by": "int8",
    **link_registers.COLUMNS,
}


@dataclass(frozen=True, slots=True)
class Alike:
    """Accounts with one point each and the same facts; each array has a value for each account.

    `opened_on`: no earlier than the months that are asked for. `has_entries`: of bonuses or of use
    elsewhere. `ledger_accounts`: 0 where nothing was posted yet. `thresholds_fen` [accounts, 3]:
    floor, trip and warn. `standing`: how many of them the balance reached when it was looked at
    last. `is_in_arrears`: whether an episode is open, which ends at `reconnect_fen`."""

    tariff: str
    rates: tuple[str, ...]
    residual_rate: str | None
    phases: int
    opened_on: date
    has_entries: bool
    accounts: Integers
    points: Integers
    ledger_accounts: Integers
    balances_fen: Integers
    thresholds_fen: Integers
    reconnect_fen: Integers
    standing: Integers
    is_in_arrears: Integers

    def those(self, which: NDArray[np.bool_]) -> Alike:
        """Some of them."""
        return replace(
            self,
            accounts=self.accounts[which],
            points=self.points[which],
            ledger_accounts=self.ledger_accounts[which],
            balances_fen=self.balances_fen[which],
            thresholds_fen=self.thresholds_fen[which],
            reconnect_fen=self.reconnect_fen[which],
            standing=self.standing[which],
            is_in_arrears=self.is_in_arrears[which],
        )


async def read_columns(connection: Connection, statement: str, values: Values) -> list[Row]:
    """The rows of the answer, arrays of integers in them as numpy's."""
    async with connection.cursor(binary=True) as cursor:
        for number in INTEGERS:
            cursor.adapters.register_loader(number, IntegersLoader)
        # Planned once: that costs as much as a thousand accounts do.
        await cursor.execute(statement, values, prepare=True)
        return await cursor.fetchall()


def those_alike(facts: Sequence[Any], columns: Sequence[Integers]) -> Alike:
    """Of the facts that they have in common, and the columns of those that they have not."""
    tariff, rates, residual, phases, opened_on, has_entries = facts
    accounts, points, ledger_accounts, balances_fen, *standing = columns
    floor_fen, trip_fen, warn_fen, *others = standing
    return Alike(
        tariff,
        tuple(rates),
        residual,
        phases,
        date.fromisoformat(opened_on),
        has_entries,
        accounts,
        points,
        ledger_accounts,
        balances_fen,
        np.stack([floor_fen, trip_fen, warn_fen], axis=1),
        *others,
    )


@dataclass(frozen=True, slots=True)
class LinkColumns:
    """Links of meters whose registers are alike; each array has a row for each link.

    Days in days since 2000. `begins`, `ends`: total and rates. `hold`: why none of them is billed
    by itself."""

    modulus: int
    decimals: int
    ratio: Decimal
    hold: str | None
    accounts: Integers
    points: Integers
    meters: Integers
    from_days: Integers
    to_days: Integers
    begins: Integers
    ends: Integers

    def those(self, which: NDArray[np.bool_]) -> LinkColumns:
        """Some of them."""
        return replace(
            self,
            accounts=self.accounts[which],
            points=self.points[which],
            meters=self.meters[which],
            from_days=self.from_days[which],
            to_days=self.to_days[which],
            begins=self.begins[which],
            ends=self.ends[which],
        )


async def add_links(connection: Connection, coming: Sequence[tuple[LinkColumns, Integers]]) -> None:
    """Put links in force. `coming`: of each link the number of the transaction that it is billed
    with, 0: it moved nothing."""
    made = []
    for links, billed_by in coming:
        is_billed = billed_by != 0
        says_begins = link_registers.say_begins(links.begins, links.ends, links.modulus)
        for billed, says in product((True, False), repeat=2):
            which = (is_billed == billed) & (says_begins == says)
            if which.any():  # what is NULL in one row that is made with others is so in all
                by = billed_by[which] if billed else None
                made.append(_link_rows(links.those(which), by, says_begins=says))
    if made:
        await copy(connection, SQL["add_links"], b"".join(made))


def _link_rows(links: LinkColumns, billed_by: Integers | None, *, says_begins: bool) -> bytes:
    registers = (links.begins, links.ends)
    columns: dict[str, Any] = {
        "point_id": links.points,
        "account_id": links.accounts,
        "from_day": links.from_days,
        "to_day": links.to_days,
        "meter_id": links.meters,
        "modulus": links.modulus,
        "decimals": links.decimals,
        "ratio": bytes(DecimalBinaryDumper(Decimal).dump(links.ratio) or b""),
        "hold": None if links.hold is None else links.hold.encode(),
        "billed_by": billed_by,
        **(
            link_registers.columns_of_use(*registers, links.modulus)
            if says_begins
            else link_registers.columns(*registers)
        ),
    }
    return rows(LINK, columns, len(links.points))


@dataclass(frozen=True, slots=True)
class MonthColumns:
    """What is kept of a month of accounts from now on, as in account_month.

    `posted_fen` [accounts, components]: none is 0."""

    month: date
    accounts: Integers
    use: Integers
    components: Sequence[str]
    posted_fen: Integers


async def put_months(connection: Connection, kept: Sequence[MonthColumns]) -> None:
    """Keep this of them."""
    if not kept:
        return
    columns: defaultdict[str, list[Integers]] = defaultdict(list)
    groups: defaultdict[str, list[int]] = defaultdict(list)
    accounts = uses = posted = 0
    for it in kept:
        columns["accounts"].append(it.accounts)
        columns["uses"].append(it.use.ravel())
        columns["posted"].append(it.posted_fen.ravel())
        groups["months"].append((it.month - SINCE).days)
        groups["counts"].append(len(it.accounts))
        groups["befores"].append(accounts)
        groups["uses_before"].append(uses)
        groups["use_sizes"].append(it.use.shape[1])
        groups["posted_before"].append(posted)
        groups["posted_sizes"].append(it.posted_fen.shape[1])
        accounts += len(it.accounts)
        uses += it.use.size
        posted += it.posted_fen.size
    values: dict[str, Any] = {name: np.concatenate(parts) for name, parts in columns.items()}
    values |= {name: array(numbers) for name, numbers in groups.items()}
    values |= {"components": [texts(it.components) for it in kept]}
    async with connection.cursor() as cursor:
        cursor.adapters.register_dumper(np.ndarray, IntegersDumper)
        await cursor.execute(SQL["put_months"], values)
