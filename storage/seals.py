"""Sealed blocks of the ledger: what is hashed, and what was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, NamedTuple

from psycopg.types.multirange import Multirange
from psycopg.types.range import Range

from storage.sql import Connection, fetch_records, fetch_row, fetch_rows, load

SQL = load("seals")
BEFORE_ALL = -(2**63)


class Mark(NamedTuple):
    """Ids up to `through` were drawn; `is_reached`: whoever drew them has ended.

    `is_foreign`: it was made by another cluster, before a restore."""

    through: int
    is_reached: bool
    is_foreign: bool


@dataclass(frozen=True, slots=True)
class Block:
    """A sealed block: transactions with ids above `after` and up to `through`."""

    number: int
    after: int
    through: int
    transactions: Multirange[int]
    leaves: bytes
    previous: bytes
    hash: bytes
    sealed_at: datetime

    def ids(self) -> list[int]:
        """Of its transactions, in order; a leaf each."""
        return [id_ for part in self.transactions for id_ in _within(part)]


class Leaf(NamedTuple):
    """The leaf of a transaction as it is now. `key`: None where only legs of it are left."""

    transaction: int
    leaf: bytes
    key: str | None


async def drawn(connection: Connection) -> int:
    """Up to which id transactions were numbered; in no transaction that has a number itself."""
    row = await fetch_row(connection, SQL["drawn"])
    assert row is not None
    return int(row[0])


async def mark(connection: Connection) -> Mark | None:
    """Where the seal stands, locked: one seals at a time."""
    row = await fetch_row(connection, SQL["mark"])
    return Mark(*row) if row else None


async def put_mark(connection: Connection, through: int) -> None:
    """Ids up to `through` can be sealed when all transactions that are older than this ended."""
    await connection.execute(SQL["put_mark"], {"through": through})


async def last_block(connection: Connection) -> Block | None:
    """The newest one."""
    found = await fetch_records(connection, Block, SQL["last_block"])
    return found[0] if found else None


async def blocks(connection: Connection, first: int, last: int) -> list[Block]:
    """Those with these numbers, in order."""
    return await fetch_records(connection, Block, SQL["blocks"], {"first": first, "last": last})


async def first_since(connection: Connection, since: datetime) -> int | None:
    """The number of the first block that was sealed since; None: there is none."""
    row = await fetch_row(connection, SQL["first_since"], {"since": since})
    return row[0] if row else None


async def reach(connection: Connection, after: int, through: int, most: int) -> int:
    """How far a block reaches that holds at most so many transactions."""
    values = {"after": after, "through": through, "most": most}
    row = await fetch_row(connection, SQL["reach"], values)
    return int(row[0]) if row else through


async def leaves(connection: Connection, after: int, through: int) -> list[Leaf]:
    """Of the transactions with these ids, in order, as they are now."""
    rows = await fetch_rows(connection, SQL["leaves"], {"after": after, "through": through})
    return [Leaf(*row) for row in rows]


async def add_block(connection: Connection, block: Block) -> None:
    """Seal a block, and keep the balances of accounts whose rows keep none."""
    values: dict[str, Any] = {
        "number": block.number,
        "after": block.after,
        "through": block.through,
        "transactions": block.transactions,
        "leaves": block.leaves,
        "previous": block.previous,
        "hash": block.hash,
        "sealed_at": block.sealed_at,
    }
    await connection.execute(SQL["add_block"], values)
    await connection.execute(SQL["add_balances"], values)


async def wrong_totals(connection: Connection, block: Block) -> list[str]:
    """Accounts whose balance at the block is not what its postings make it."""
    values = {"number": block.number, "after": block.after, "through": block.through}
    return [name for (name,) in await fetch_rows(connection, SQL["wrong_totals"], values)]


async def unbalanced(connection: Connection, after: int, through: int) -> int | None:
    """The first transaction with such an id whose legs do not sum to zero."""
    row = await fetch_row(connection, SQL["unbalanced"], {"after": after, "through": through})
    return row[0] if row else None


async def wrong_balance(connection: Connection) -> str | None:
    """The first account whose row keeps another balance than its postings make; it reads all."""
    row = await fetch_row(connection, SQL["wrong_balance"])
    return row[0] if row else None


async def unsealed(connection: Connection) -> int:
    """How many transactions are in no block yet."""
    row = await fetch_row(connection, SQL["unsealed"])
    assert row is not None
    return int(row[0])


def ranges(ids: Sequence[int]) -> Multirange[int]:
    """Rising ids as ranges."""
    if not ids:
        return Multirange()
    breaks = [(before, after) for before, after in pairwise(ids) if after != before + 1]
    starts = [ids[0], *(after for _, after in breaks)]
    ends = [*(before for before, _ in breaks), ids[-1]]
    return Multirange([Range(start, end + 1) for start, end in zip(starts, ends, strict=True)])


def _within(part: Range[int]) -> range:
    assert part.lower is not None
    assert part.upper is not None
    return range(part.lower, part.upper)
