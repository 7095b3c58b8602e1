"""Sealed blocks of the ledger: what is hashed, and what was."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from struct import unpack
from typing import Any, NamedTuple

from psycopg.types.multirange import Multirange
from psycopg.types.range import Range

from storage.sql import Connection, fetch_records, fetch_row, fetch_rows, load

SQL = load("seals")
BEFORE_ALL = -(2**63)


class Mark(NamedTuple):
    """Places up to `through` were drawn; `is_reached`: whoever drew them has ended.

    `is_foreign`: it was made by another cluster, before a restore."""

    through: int
    is_reached: bool
    is_foreign: bool


@dataclass(frozen=True, slots=True)
class Block:
    """A sealed block: what has a place in the journal above `after` and up to `through`.

    `short_leaves`: the first bytes of each leaf. `history`: the root over the hashes of all blocks
    before; `peak`: what it adds to that tree."""

    number: int
    after: int
    through: int
    places: Multirange[int]
    short_leaves: bytes
    previous: bytes
    history: bytes
    hash: bytes
    peak: bytes
    sealed_at: datetime

    def in_order(self) -> list[int]:
        """Its places; a leaf each."""
        return [place for part in self.places for place in _within(part)]


class Sealed(NamedTuple):
    """What has a place in a range, as it is now: the places in order, and the leaf of each."""

    places: tuple[int, ...]
    leaves: bytes


async def drawn(connection: Connection) -> int:
    """Up to which place the journal was drawn; in no transaction that has a number itself."""
    row = await fetch_row(connection, SQL["drawn"])
    assert row is not None
    return int(row[0])


async def mark(connection: Connection) -> Mark | None:
    """Where the seal stands, locked: one seals at a time."""
    row = await fetch_row(connection, SQL["mark"])
    return Mark(*row) if row else None


async def put_mark(connection: Connection, through: int) -> None:
    """Places up to `through` can be sealed when all transactions that are older than this ended."""
    await connection.execute(SQL["put_mark"], {"through": through})


async def last_block(connection: Connection) -> Block | None:
    """The newest one."""
    found = await fetch_records(connection, Block, SQL["last_block"])
    return found[0] if found else None


async def blocks(connection: Connection, first: int, last: int) -> list[Block]:
    """Those with these numbers, in order."""
    return await fetch_records(connection, Block, SQL["blocks"], {"first": first, "last": last})


async def some_blocks(connection: Connection, numbers: Collection[int]) -> list[Block]:
    """Those of these numbers that are there."""
    return await fetch_records(connection, Block, SQL["some_blocks"], {"numbers": list(numbers)})


async def peaks(connection: Connection, numbers: Collection[int]) -> dict[int, bytes]:
    """What blocks add to the tree over all of them, by number; those that are not there are left
    out."""
    return dict(await fetch_rows(connection, SQL["peaks"], {"numbers": list(numbers)}))


async def first_since(connection: Connection, since: datetime) -> int | None:
    """The number of the first block that was sealed since; None: there is none."""
    row = await fetch_row(connection, SQL["first_since"], {"since": since})
    return row[0] if row else None


async def first_place(connection: Connection, after: int, through: int) -> int | None:
    """The first place behind one that something has; None: there is none up to a bound."""
    row = await fetch_row(connection, SQL["first_place"], {"after": after, "through": through})
    return row[0] if row else None


async def sealed_now(connection: Connection, parts: Sequence[tuple[int, int]]) -> list[Sealed]:
    """What has a place behind one and up to another, of each of these, as it is now."""
    values = {"afters": [after for after, _ in parts], "throughs": [last for _, last in parts]}
    rows = await fetch_rows(connection, SQL["sealed_now"], values, binary=True)
    return [Sealed(unpack(f">{len(places) // 8}q", places), leaves) for places, leaves in rows]


async def called(connection: Connection, place: int) -> str | None:
    """What is at a place, in words; None: nothing."""
    row = await fetch_row(connection, SQL["called"], {"place": place})
    return row[0] if row else None


async def moved(connection: Connection, after: int, through: int) -> dict[int, int]:
    """By account that keeps no balance the fen that a range moved."""
    values = {"after": after, "through": through}
    return dict(await fetch_rows(connection, SQL["moved"], values))


async def add_block(connection: Connection, block: Block, moved: Mapping[int, int]) -> None:
    """Seal a block, and keep the balances of accounts whose rows keep none. `moved`: by it."""
    values: dict[str, Any] = {
        "number": block.number,
        "after": block.after,
        "through": block.through,
        "places": block.places,
        "short_leaves": block.short_leaves,
        "previous": block.previous,
        "history": block.history,
        "hash": block.hash,
        "peak": block.peak,
        "sealed_at": block.sealed_at,
        "accounts": list(moved),
        "fens": list(moved.values()),
        "before_all": BEFORE_ALL,
    }
    await connection.execute(SQL["add_block"], values)


async def first_suspect(connection: Connection, first: int, last: int) -> int | None:
    """The first block of a range that its checksum, or the block before it, says is another one."""
    values = {"first": first, "last": last, "before_all": BEFORE_ALL}
    row = await fetch_row(connection, SQL["first_suspect"], values)
    return row[0] if row else None


async def places_of(connection: Connection, first: int, last: int) -> int:
    """How many transactions and names these blocks sealed."""
    row = await fetch_row(connection, SQL["places_of"], {"first": first, "last": last})
    assert row is not None
    return int(row[0])


async def wrong_total(connection: Connection, number: int, moved: Mapping[int, int]) -> str | None:
    """An account whose balance at the block is not what the block moved makes it."""
    values = {"number": number, "accounts": list(moved), "fens": list(moved.values())}
    row = await fetch_row(connection, SQL["wrong_total"], values)
    return row[0] if row else None


async def newest_balance(connection: Connection) -> int:
    """The newest block that balances were sealed with."""
    row = await fetch_row(connection, SQL["newest_balance"])
    return row[0] or 0 if row else 0


async def unbalanced(connection: Connection, after: int, through: int) -> int | None:
    """The first transaction of a range whose legs do not sum to zero."""
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


def ranges(places: Sequence[int]) -> Multirange[int]:
    """Rising places as ranges."""
    if not places:
        return Multirange()
    breaks = [(before, after) for before, after in pairwise(places) if after != before + 1]
    starts = [places[0], *(after for _, after in breaks)]
    ends = [*(before for before, _ in breaks), places[-1]]
    return Multirange([Range(start, end + 1) for start, end in zip(starts, ends, strict=True)])


def _within(part: Range[int]) -> range:
    assert part.lower is not None
    assert part.upper is not None
    return range(part.lower, part.upper)
