"""Charges of many accounts are posted by columns: what settlement adds to the journal in one go.

They have no key: settlement knows by what it keeps of an account what it posted."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from storage.binary import copy
from storage.columns import rows
from storage.sql import Connection, fetch_row, load

SQL = load("charge_posting")
TYPES: Final = {
    "value_date": "date",
    "kind": "int2",
    "account": "int4",
    "other_account": "int4",
    "fen": "int8",
    "stream": "int4",
    "leg_accounts": "int4[]",
    "leg_amounts": "int8[]",
    "leg_streams": "int4[]",
}
Integers = NDArray[np.int64]
TWO: Final = -1
"""Stands for the number of legs where one number says what both of them move."""


class ChargeKind(IntEnum):
    """The kinds that settlement posts, by their numbers in `transaction_kind`."""

    CHARGE = 1
    TRUE_UP = 2
    ADJUSTMENT = 3


@dataclass(frozen=True, slots=True)
class Charges:
    """Transactions of settlement, and their legs one behind the other.

    `accounts` and `streams` are numbers that `ledger.ledger_accounts` and `ledger.posting_streams`
    gave; a customer's account comes first in its transaction. `fen` is positive where the
    account's holder gains."""

    kinds: Integers
    """By transaction, a ChargeKind."""
    value_dates: Integers
    """By transaction, in days since 2000."""
    legs: Integers
    """By transaction how many it has."""
    accounts: Integers
    fen: Integers
    streams: Integers


async def post_charges(connection: Connection, charges: Charges) -> Integers:
    """Append them; the id of each, in the order of `charges`.

    In the caller's database transaction. Two or more of one statement's legs may be for one
    account. The database refuses legs that do not sum to zero."""
    count = len(charges.legs)
    if count == 0:
        return np.empty(0, dtype=np.int64)
    # Rows that keep as many legs are made at once; they are written in that order.
    kept = np.where(_are_two(charges), TWO, charges.legs)
    order = np.argsort(kept, kind="stable")
    sizes, begins = np.unique(kept[order], return_index=True)
    groups = np.split(order, begins[1:])
    packed = [_rows(charges, group, int(size)) for group, size in zip(groups, sizes, strict=True)]
    await copy(connection, SQL["add_charges"], b"".join(packed))
    ids = np.empty(count, dtype=np.int64)
    ids[order] = await _added(connection, count)
    return ids


def _are_two(charges: Charges) -> NDArray[np.bool_]:
    """Of each whether it has two legs for one thing, the second of an account without balance."""
    first = _first_legs(charges)
    second = np.minimum(first + 1, len(charges.fen) - 1)
    found: NDArray[np.bool_] = (
        (charges.legs == 2)
        & (charges.accounts[second] < 0)
        & (charges.fen[first] != 0)
        & (charges.fen[first] == -charges.fen[second])
        & (charges.streams[first] == charges.streams[second])
    )
    return found


def _first_legs(charges: Charges) -> Integers:
    firsts: Integers = np.cumsum(charges.legs) - charges.legs
    return firsts


def _rows(charges: Charges, group: Integers, size: int) -> bytes:
    """The transactions of these places, each with so many legs, as COPY takes them."""
    first = _first_legs(charges)[group]
    columns: dict[str, Any] = {
        "value_date": charges.value_dates[group],
        "kind": charges.kinds[group],
        "account": charges.accounts[first],
    }
    if size == TWO:
        columns["other_account"] = charges.accounts[first + 1]
        columns["fen"] = charges.fen[first]
        columns["stream"] = charges.streams[first]
    else:
        legs = first[:, None] + np.arange(size)
        columns["leg_accounts"] = charges.accounts[legs]
        columns["leg_amounts"] = charges.fen[legs]
        columns["leg_streams"] = charges.streams[legs]
    return rows(TYPES, columns, len(group))


async def _added(connection: Connection, count: int) -> Integers:
    """The ids that the last COPY drew, in the order of its rows: others may draw between them."""
    row = await fetch_row(connection, SQL["added"], {"count": count}, binary=True)
    assert row is not None
    ids = np.frombuffer(row[0], dtype=">i8").astype(np.int64)
    assert len(ids) == count
    return ids
