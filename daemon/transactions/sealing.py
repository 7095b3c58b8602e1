"""Seal what was posted, behind the writers, and verify what was sealed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import structlog
from psycopg import AsyncConnection

from daemon.billing.block_tree import peak_of, peaks_of, root_of
from daemon.billing.sealing import FIRST, SHORT_BYTES, Head, cut, root, short
from storage import seals
from storage.seals import BEFORE_ALL, Block, Sealed

log = structlog.get_logger("billing")

MOST: Final = 4096
"""Transactions and names of a block, at most: what must be read to prove one of them."""


@dataclass(frozen=True, slots=True)
class Fault:
    """The first thing that is not as it was sealed, in words.

    `place`: in the journal, of a transaction or a name; None where it is neither."""

    block: int
    place: int | None
    told: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What a look at sealed blocks found. `last` and `hash`: of the last one that was looked at.

    `places`: how many transactions, and names that they refer to, were compared. `fault`: None
    where everything is as it was sealed."""

    first: int
    last: int
    hash: bytes
    places: int
    fault: Fault | None = None


async def seal(connection: AsyncConnection[Any], now: datetime, most: int = MOST) -> int:
    """Seal every transaction that no running one can come before, at most so many in a block, names
    that they brought along included.

    Returns how many blocks. In no transaction of the caller's: each is committed by itself. What is
    posted meanwhile waits for nothing, and is sealed by one of the next calls."""
    sealed = await _seal_marked(connection, now, most)
    if await _mark_anew(connection):
        # Nothing runs beside on a quiet site: then there is no reason to wait for the next call.
        sealed += await _seal_marked(connection, now, most)
    return sealed


async def verify(
    connection: AsyncConnection[Any], first: int = 1, last: int | None = None
) -> Verified:
    """Compare blocks with the rows that they sealed; it ends at the first fault.

    Its cost is that of the blocks that are asked for. Rows behind the last block are not sealed
    yet. What was changed by the owner of the tables is found too, but for the hashes of all blocks
    from the change on made anew: who keeps a hash elsewhere sees that."""
    found = Verified(first, first - 1, FIRST, 0)
    newest = await _newest(connection)
    if first > max(newest, 1):
        return replace(found, fault=_no_block(first, newest))
    before: Block | None = None
    for number in range(max(first - 1, 1), min(newest, last or newest) + 1):
        blocks = await seals.blocks(connection, number, number)
        if not blocks:
            return replace(found, fault=Fault(number, None, f"block {number} was removed"))
        (block,) = blocks
        if number >= first:
            fault = (
                _chain_fault(before, block)
                or await _history_fault(connection, block)
                or await _fault_of(connection, block)
            )
            found = Verified(first, number, block.hash, found.places + len(block.in_order()), fault)
            if fault is not None:
                return found
        before = block
    if first == 1 and last is None:
        # Who asks for everything is told of the balances too, which all postings make.
        wrong = await seals.wrong_balance(connection)
        if wrong is not None:
            told = f"the balance of {wrong} is not what was posted"
            return replace(found, fault=Fault(found.last, None, told))
    return found


async def audit(
    connection: AsyncConnection[Any], before: Verified | None, since: datetime
) -> Verified | None:
    """Look at the blocks behind those of the audit before, each once; None where none is new.

    The one that it ended with must be as it was: who makes the chain anew is seen too. Without one
    before: the blocks that were sealed since. Checksums are compared, and what differs is verified
    by its hashes, which name the row. Who can compute a checksum anew is found by `verify` only."""
    if before is None:
        first = await seals.first_since(connection, since)
        return None if first is None else await _audited(connection, first)
    last = await seals.blocks(connection, before.last, before.last)
    if [block.hash for block in last] != [before.hash]:
        told = f"block {before.last} is another one than an hour ago"
        return replace(before, fault=Fault(before.last, None, told))
    if await _newest(connection) == before.last:
        return None
    return await _audited(connection, before.last + 1)


async def _audited(connection: AsyncConnection[Any], first: int) -> Verified:
    newest = await seals.last_block(connection)
    last = await _number_of(connection, newest)
    if newest is None or await seals.first_suspect(connection, first, last) is not None:
        # Where the rows are as they were the checksum is: of another server, or it was changed.
        return await verify(connection, first)
    return Verified(first, last, newest.hash, await seals.places_of(connection, first, last))


async def _newest(connection: AsyncConnection[Any]) -> int:
    """The number of the last block, also of one that was removed; 0: nothing is sealed."""
    return await _number_of(connection, await seals.last_block(connection))


async def _number_of(connection: AsyncConnection[Any], block: Block | None) -> int:
    # Balances are sealed with a block: they tell of one that is there no more.
    return max(block.number if block else 0, await seals.newest_balance(connection))


def _no_block(first: int, newest: int) -> Fault:
    told = f"there is no block {first}, the last one is {newest}: it was removed, or never was"
    return Fault(first, None, told)


def _chain_fault(before: Block | None, block: Block) -> Fault | None:
    previous = before.hash if before else FIRST
    after = before.through if before else 0
    if block.previous != previous or block.after != after:
        told = f"block {block.number} does not follow block {block.number - 1}"
        return Fault(block.number, None, f"{told}: one of them was changed")
    return None


async def _history_fault(connection: AsyncConnection[Any], block: Block) -> Fault | None:
    needed = peaks_of(block.number - 1)
    peaks = await seals.peaks(connection, needed)
    gone = set(needed) - peaks.keys()
    if gone:
        return Fault(min(gone), None, f"block {min(gone)} was removed")
    told = f"block {block.number} itself was changed"
    if block.peak != peak_of(block.number, block.hash, peaks):
        return Fault(block.number, None, told)
    if block.history != root_of(block.number - 1, peaks):
        told += ", or one before it"
        return Fault(block.number, None, told)
    return None


async def _fault_of(connection: AsyncConnection[Any], block: Block) -> Fault | None:
    itself = Fault(block.number, None, f"block {block.number} itself was changed")
    (there,) = await sealed_now(connection, [block])
    if not is_as_sealed(block, there):
        return await _first_difference(connection, block, there) or itself
    # The rows are what was hashed; what else the block says of them is no part of its hash.
    if there.places != tuple(block.in_order()) or short(there.leaves) != block.short_leaves:
        return itself
    after = _after(block)
    unbalanced = await seals.unbalanced(connection, after, block.through)
    if unbalanced is not None:
        return Fault(block.number, unbalanced, f"transaction {unbalanced} does not sum to zero")
    moved = await seals.moved(connection, after, block.through)
    wrong = await seals.wrong_total(connection, block.number, moved)
    if wrong is not None:
        told = f"the balance of {wrong} at block {block.number} is not what was posted"
        return Fault(block.number, None, told)
    return None


async def _first_difference(
    connection: AsyncConnection[Any], block: Block, there: Sealed
) -> Fault | None:
    """None where no row differs by what the block keeps of it: then it is the block that does."""
    places, leaves = block.in_order(), cut(block.short_leaves, SHORT_BYTES)
    if len(places) != len(leaves):
        return None
    sealed = dict(zip(places, leaves, strict=True))
    now = dict(zip(there.places, cut(short(there.leaves), SHORT_BYTES), strict=True))
    for place in sorted(sealed.keys() | now.keys()):
        if sealed.get(place) == now.get(place):
            continue
        called = await seals.called(connection, place) or f"transaction {place}"
        if place not in now:
            told = "was removed"
        elif place not in sealed:
            told = "was added after its block was sealed"
        else:
            told = "was changed"
        return Fault(block.number, place, f"{called} {told}")
    return None


async def _mark_anew(connection: AsyncConnection[Any]) -> bool:
    # Asked for outside: the number of the transaction that marks must be drawn after it.
    drawn = await seals.drawn(connection)
    async with connection.transaction():
        mark = await seals.mark(connection)
        is_done = mark is None or mark.is_foreign or (mark.is_reached and mark.through < drawn)
        if is_done:
            await seals.put_mark(connection, drawn)
    return is_done


async def _seal_marked(connection: AsyncConnection[Any], now: datetime, most: int) -> int:
    sealed = 0
    while await _seal_one(connection, now, most):
        sealed += 1
    return sealed


async def _seal_one(connection: AsyncConnection[Any], now: datetime, most: int) -> bool:
    async with connection.transaction():
        mark = await seals.mark(connection)
        if mark is None or mark.is_foreign or not mark.is_reached:
            return False
        last = await seals.last_block(connection)
        after = last.through if last else 0
        if after >= mark.through:
            return False
        first = await seals.first_place(connection, after, mark.through)
        if first is None:
            return False  # what drew these places was rolled back
        # Each has a place of its own: there are no more of them than places.
        through = min(mark.through, first + most - 1)
        (sealed,) = await seals.sealed_now(connection, [(after, through)])
        peaks = await seals.peaks(connection, peaks_of(last.number) if last else [])
        block = _block(last, through, sealed, peaks, now)
        moved = await seals.moved(connection, after, through)
        await seals.add_block(connection, block, moved)
    # In the log too: whoever would make the whole chain anew would have to change this as well.
    log.info("block sealed", block=block.number, places=len(sealed.places), hash=block.hash.hex())
    return True


def _block(
    last: Block | None, through: int, sealed: Sealed, peaks: Mapping[int, bytes], now: datetime
) -> Block:
    number = last.number + 1 if last else 1
    block = Block(
        number=number,
        after=last.through if last else 0,
        through=through,
        places=seals.ranges(sealed.places),
        short_leaves=short(sealed.leaves),
        previous=last.hash if last else FIRST,
        history=root_of(number - 1, peaks),
        hash=FIRST,
        peak=FIRST,
        sealed_at=now,
    )
    hash_ = root(leaves_of(block, sealed))
    return replace(block, hash=hash_, peak=peak_of(number, hash_, peaks))


async def sealed_now(connection: AsyncConnection[Any], blocks: Sequence[Block]) -> list[Sealed]:
    """What has the places of blocks, as it is now."""
    return await seals.sealed_now(connection, [(_after(it), it.through) for it in blocks])


def leaves_of(block: Block, there: Sealed) -> list[bytes]:
    """Of its tree."""
    return [head_of(block).leaf(), *cut(there.leaves)]


def is_as_sealed(block: Block, there: Sealed) -> bool:
    """Whether what has its places has the hash that was sealed."""
    return root(leaves_of(block, there)) == block.hash


def _after(block: Block) -> int:
    # Behind nothing: before the first block there is no row that would not be one too many.
    return block.after if block.number > 1 else BEFORE_ALL


def head_of(block: Block) -> Head:
    """What a block says of itself."""
    return Head(
        number=block.number,
        after=block.after,
        through=block.through,
        previous=block.previous,
        history=block.history,
        sealed_at=block.sealed_at,
    )
