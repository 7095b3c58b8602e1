"""What was posted to customers, and the way from each line of it to the hash of a block."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date
from typing import Any, Final

from psycopg import AsyncConnection

from daemon.billing.block_tree import needed_for, way
from daemon.billing.posting import Stream
from daemon.billing.proof.bill import BlockFact, HeadFact, Path, SealedLine, Seals
from daemon.billing.sealing import levels, path_in
from daemon.transactions.sealing import head_of, leaves_of, sealed_now
from protocols.errors import MeterdError
from storage import proofs, seals
from storage.proofs import AccountName, NumberedAccount, StreamName, TransactionRow
from storage.seals import Block


class NotSealed(MeterdError):
    """A bill cannot be proved yet, or not up to that block. Whoever asks acts."""


Tree = list[list[bytes]]
BLOCKS_AT_ONCE: Final = 32
"""Of which trees are made: one of 4,096 rows takes 0.9 MB with them while it is made."""


@dataclass(frozen=True, slots=True)
class Posted:
    """What was posted to a customer.

    `charged`: fen by stream of the months that the bill explains."""

    charged: Mapping[Stream, int]
    seals: Seals


@dataclass(frozen=True, slots=True)
class _Names:
    """Of accounts and streams of the ledger, by the numbers that transactions know them by."""

    accounts: Mapping[int, AccountName]
    streams: Mapping[int, StreamName]

    def of(self, rows: Iterable[TransactionRow]) -> Iterator[AccountName | StreamName]:
        """Those that transactions refer to, each once."""
        told = list(rows)
        yield from (self.accounts[it] for it in {it for row in told for it in row.accounts})
        yield from (self.streams[it] for it in {it for row in told for it in _streams(row)})


async def posted(
    connection: AsyncConnection[Any],
    accounts: Sequence[NumberedAccount],
    month: date,
    rated: Mapping[int, Collection[date]],
    head: int | None,
) -> dict[int, Posted]:
    """By account: charges about its `rated` months, and all else that counts for the month.

    `head`: the block up to which it is proved, None: the newest. NotSealed."""
    rows: defaultdict[int, list[TransactionRow]] = defaultdict(list)
    for row in await proofs.transactions(connection, accounts, month, rated):
        rows[row.account_id].append(row)
    every = [row for of_account in rows.values() for row in of_account]
    names = await _names(connection, every)
    places = {row.place for row in every} | {it.place for it in names.of(every)}
    sealed = await _sealed(connection, places, head)
    result = {}
    for account in accounts:
        of_account = rows[account.id]
        told = {row.place: _transaction(row) for row in of_account}
        told |= {it.place: _name(it) for it in names.of(of_account)}
        charged = _charged(of_account, names, rated[account.id])
        result[account.id] = Posted(charged, sealed.of(told))
    return result


@dataclass(frozen=True, slots=True)
class _Sealed:
    """The ways of places to blocks, and of blocks to the head."""

    in_block: Mapping[int, int]
    paths: Mapping[int, Path]
    blocks: Mapping[int, BlockFact]
    head: HeadFact

    def of(self, told: Mapping[int, dict[str, Any]]) -> Seals:
        """Of some places, with what was sealed at each."""
        lines = [
            SealedLine(told[place], self.in_block[place], self.paths[place])
            for place in sorted(told)
        ]
        numbers = sorted({line.block for line in lines} - {self.head.head.number})
        return Seals(lines, [self.blocks[number] for number in numbers], self.head)


async def _sealed(
    connection: AsyncConnection[Any], places: Collection[int], head: int | None
) -> _Sealed:
    found = await proofs.sealed_in(connection, places)
    in_block = {place: number for place, number in found.items() if number is not None}
    if len(in_block) < len(found):
        raise NotSealed("what was posted last is not sealed yet; ask again in a minute")
    numbers = set(in_block.values())
    last = await _head(connection, head, max(numbers, default=0))
    blocks = {it.number: it for it in await seals.some_blocks(connection, numbers)}
    paths: dict[int, Path] = {}
    wanted: defaultdict[int, set[int]] = defaultdict(set)
    for place, number in in_block.items():
        wanted[number].add(place)
    to_head: Path = []
    async for block, tree in _trees(connection, {**blocks, last.number: last}):
        paths |= _paths(block, tree, wanted[block.number])
        if block == last:
            to_head = path_in(tree, 0)
    size = last.number - 1
    earlier = numbers - {last.number}
    needed = {it for number in earlier for it in needed_for(number, size)}
    hashes, peaks = await proofs.hashes(connection, needed)
    facts = {
        number: BlockFact(number, hashes[number], way(number, size, hashes, peaks))
        for number in earlier
    }
    return _Sealed(in_block, paths, facts, HeadFact(head_of(last), last.hash, to_head))


async def _head(connection: AsyncConnection[Any], head: int | None, newest: int) -> Block:
    """The block up to which is proved."""
    last = await seals.last_block(connection)
    if last is None:
        raise NotSealed("nothing was sealed yet; ask again in a minute")
    if head is None or head == last.number:
        return last
    if head < newest:
        raise NotSealed(
            f"block {head} was sealed before all of it was posted; the first that holds it is "
            f"{newest}: --head {newest}"
        )
    found = await seals.some_blocks(connection, [head])
    if not found:
        raise NotSealed(f"there is no block {head}, the last one is {last.number}")
    return found[0]


async def _names(connection: AsyncConnection[Any], rows: Sequence[TransactionRow]) -> _Names:
    accounts = {account for row in rows for account in row.accounts}
    streams = {stream for row in rows for stream in _streams(row)}
    return _Names(
        {it.account: it for it in await proofs.account_names(connection, accounts)},
        {it.stream: it for it in await proofs.stream_names(connection, streams)},
    )


def _paths(block: Block, tree: Tree, places: Collection[int]) -> dict[int, Path]:
    numbered = enumerate(block.in_order(), 1)
    return {place: path_in(tree, number) for number, place in numbered if place in places}


async def _trees(
    connection: AsyncConnection[Any], blocks: Mapping[int, Block]
) -> AsyncIterator[tuple[Block, Tree]]:
    """Of blocks, made of the rows that they sealed: a block keeps its root alone."""
    in_order = [blocks[number] for number in sorted(blocks)]
    for start in range(0, len(in_order), BLOCKS_AT_ONCE):
        portion = in_order[start : start + BLOCKS_AT_ONCE]
        there = await sealed_now(connection, portion)
        for block, sealed in zip(portion, there, strict=True):
            tree = levels(leaves_of(block, sealed))
            if tree[-1] != [block.hash]:
                raise NotSealed(
                    f"block {block.number} does not hold what was sealed: "
                    "`meterd ledger verify` names what was changed"
                )
            yield block, tree


def _charged(
    rows: Iterable[TransactionRow], names: _Names, rated: Collection[date]
) -> dict[Stream, int]:
    """What revenue and others were credited; the customer's side says no month."""
    charged: defaultdict[Stream, int] = defaultdict(int)
    for row in rows:
        for account, fen, stream in zip(
            row.accounts, row.fen, row.streams or (None,) * len(row.fen), strict=True
        ):
            if stream is not None and account < 0:
                of = names.streams[stream]
                charged[Stream(of.month, of.component).about] += fen
    return {stream: fen for stream, fen in charged.items() if fen and stream.period in rated}


def _streams(row: TransactionRow) -> set[int]:
    return {stream for stream in row.streams or () if stream is not None}


def _transaction(row: TransactionRow) -> dict[str, Any]:
    """By the words of transactions.jsonl."""
    told = row._asdict()
    del told["account_id"]
    instant = row.recorded_at.astimezone(UTC).isoformat()
    return {**told, "recorded_at": instant, "value_date": row.value_date.isoformat()}


def _name(name: AccountName | StreamName) -> dict[str, Any]:
    told = name._asdict()
    return {**told, "month": f"{name.month:%Y-%m}"} if isinstance(name, StreamName) else told
