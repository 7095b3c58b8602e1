"""Seal what was posted, behind the writers, and verify what was sealed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import structlog
from psycopg import AsyncConnection

from daemon.billing.sealing import FIRST, Head, cut, root
from storage import seals
from storage.seals import BEFORE_ALL, Block, Leaf

log = structlog.get_logger("billing")

MOST: Final = 4096
"""Transactions of a block: what must be read to prove one of them."""


@dataclass(frozen=True, slots=True)
class Fault:
    """The first thing that is not as it was sealed, in words."""

    block: int
    transaction: int | None
    told: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What a look at sealed blocks found. `last` and `hash`: of the last one that was looked at.

    `fault`: None where everything is as it was sealed."""

    first: int
    last: int
    hash: bytes
    transactions: int
    fault: Fault | None = None


async def seal(connection: AsyncConnection[Any], now: datetime, most: int = MOST) -> int:
    """Seal every transaction that no running one can come before, at most so many in a block.

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
    before: Block | None = None
    found = Verified(first, first - 1, FIRST, 0)
    async for number, block in _blocks(connection, first, last):
        if block is None:
            gone = Fault(number, None, f"block {number} was removed")
            return replace(found, fault=gone)
        if number >= first:
            fault = _chain_fault(before, block) or await _fault_of(connection, block)
            count = found.transactions + len(cut(block.leaves))
            found = Verified(first, number, block.hash, count, fault)
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


async def _blocks(
    connection: AsyncConnection[Any], first: int, last: int | None
) -> AsyncIterator[tuple[int, Block | None]]:
    """By number, from the one before the first on; None where one is missing."""
    newest = await seals.last_block(connection)
    end = newest.number if newest else 0
    for number in range(max(first - 1, 1), min(end, last or end) + 1):
        one = await seals.blocks(connection, number, number)
        yield number, one[0] if one else None


def _chain_fault(before: Block | None, block: Block) -> Fault | None:
    previous = before.hash if before else FIRST
    after = before.through if before else 0
    if block.previous != previous or block.after != after:
        told = f"block {block.number} does not follow block {block.number - 1}"
        return Fault(block.number, None, f"{told}: one of them was changed")
    return None


async def _fault_of(connection: AsyncConnection[Any], block: Block) -> Fault | None:
    # Behind nothing: before the first block there is no row that would not be one too many.
    after = block.after if block.number > 1 else BEFORE_ALL
    there = await seals.leaves(connection, after, block.through)
    sealed = dict(zip(block.ids(), cut(block.leaves), strict=False))
    fault = _first_difference(block.number, sealed, there)
    if fault is not None:
        return fault
    if root([_head(block).leaf(), *cut(block.leaves)]) != block.hash:
        return Fault(block.number, None, f"block {block.number} itself was changed")
    unbalanced = await seals.unbalanced(connection, after, block.through)
    if unbalanced is not None:
        return Fault(block.number, unbalanced, f"transaction {unbalanced} does not sum to zero")
    wrong = await seals.wrong_totals(connection, block)
    if wrong:
        told = f"the balance of {wrong[0]} at block {block.number} is not what was posted"
        return Fault(block.number, None, told)
    return None


def _first_difference(number: int, sealed: dict[int, bytes], there: Sequence[Leaf]) -> Fault | None:
    now = {leaf.transaction: leaf for leaf in there}
    for transaction in sorted(sealed.keys() | now.keys()):
        leaf = now.get(transaction)
        if leaf is None or leaf.key is None:
            told = "was removed" if transaction in sealed else "has legs, but never was there"
        elif transaction not in sealed:
            told = f"({leaf.key}) was added after its block was sealed"
        elif sealed[transaction] != leaf.leaf:
            told = f"({leaf.key}) or one of its legs was changed"
        else:
            continue
        return Fault(number, transaction, f"transaction {transaction} {told}")
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
        through = await seals.reach(connection, after, mark.through, most)
        leaves = await seals.leaves(connection, after, through)
        if not leaves:
            return False  # what drew these ids was rolled back
        block = _block(last, through, leaves, now)
        await seals.add_block(connection, block)
    # In the log too: whoever would make the whole chain anew would have to change this as well.
    log.info("block sealed", block=block.number, transactions=len(leaves), hash=block.hash.hex())
    return True


def _block(last: Block | None, through: int, leaves: Sequence[Leaf], now: datetime) -> Block:
    block = Block(
        number=last.number + 1 if last else 1,
        after=last.through if last else 0,
        through=through,
        transactions=seals.ranges([leaf.transaction for leaf in leaves]),
        leaves=b"".join(leaf.leaf for leaf in leaves),
        previous=last.hash if last else FIRST,
        hash=FIRST,
        sealed_at=now,
    )
    head = _head(block).leaf()
    return replace(block, hash=root([head, *(leaf.leaf for leaf in leaves)]))


def _head(block: Block) -> Head:
    return Head(block.number, block.after, block.through, block.previous, block.sealed_at)
