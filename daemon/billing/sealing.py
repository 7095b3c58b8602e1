"""Sealed blocks: what is hashed, and how one transaction is proved to be in a block. Pure.

A block's hash is the root of a Merkle tree over SHA-256 as RFC 6962 has it: a leaf is the hash of
00 and its bytes, a node that of 01 and its two children, and the left child holds the largest
power of two that leaves something for the right one. The first leaf is the block's head, the
others are what has a place in the journal in that order: transactions, the names that they refer
to by number, each where it came into being, and the steps of commands to meters.

The bytes of the head are a JSON array, UTF-8, as Python's json.dumps writes one:
`["block", number, after, through, previous hash in hex, history in hex, sealed at]`: the history is
the root over the hashes of all blocks before (block_tree), the instant in microseconds since 1970
(UTC). Those of the others are a record as PostgreSQL sends it, numbers big-endian: int4 number of
fields, then of each int4 type, int4 length (-1: NULL) and the value. A transaction: int8 place,
timestamptz recorded at (microseconds since 2000), date value date (days since 2000), bytea kind,
int4[] accounts, int8[] fen, int4[] streams, bytea actor, key, channel, content (NULL: empty), int4
document, int8 reverses; texts in UTF-8, an actor of NULL is the daemon's settlement. An account:
int8 place, int4 number, bytea name. A stream: int8 place, int4 number, date month, bytea component.
A step of a command: int8 place, uuid command, timestamptz at, bytea state, detail, guard (the text
of its jsonb; NULL: none).

All that has a place is in one block, because a block begins behind the last place of the block
before."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256

LEAF_BYTES = 32
PAIR_BYTES = 2 * LEAF_BYTES
SHORT_BYTES = 4
FIRST = bytes(LEAF_BYTES)
"""What stands for the block before the first one."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Head:
    """What a block says of itself."""

    number: int
    after: int
    through: int
    previous: bytes
    history: bytes
    sealed_at: datetime

    def leaf(self) -> bytes:
        """The first leaf of its tree."""
        sealed_us = (self.sealed_at - EPOCH) // timedelta(microseconds=1)
        hashes = [self.previous.hex(), self.history.hex()]
        told = ["block", self.number, self.after, self.through, *hashes, sealed_us]
        return leaf(json.dumps(told).encode())


def leaf(content: bytes) -> bytes:
    """The leaf of bytes."""
    return sha256(b"\x00" + content).digest()


def levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """A tree from its leaves to its root; of a block the first leaf is that of its head."""
    tree = [list(leaves)]
    # Level by level: an odd one out goes up as it is, which makes the tree of RFC 6962.
    while len(tree[-1]) > 1:
        level = tree[-1]
        above = [_node(*pair) for pair in zip(level[::2], level[1::2], strict=False)]
        tree.append(above + level[len(above) * 2 :])
    return tree


def root(leaves: Sequence[bytes]) -> bytes:
    """The root of a tree."""
    level = b"".join(leaves)
    # Level by level: an odd one out goes up as it is, which makes the tree of RFC 6962.
    while len(level) > LEAF_BYTES:
        paired = len(level) - len(level) % PAIR_BYTES
        above = [
            sha256(b"\x01" + level[at : at + PAIR_BYTES]).digest()
            for at in range(0, paired, PAIR_BYTES)
        ]
        level = b"".join(above) + level[paired:]
    return level


def path(leaves: Sequence[bytes], place: int) -> list[tuple[bool, bytes]]:
    """From a leaf to the root: the hashes beside it, each with whether it stands to the left."""
    return path_in(levels(leaves), place)


def path_in(tree: Sequence[Sequence[bytes]], place: int) -> list[tuple[bool, bytes]]:
    """The same, where more than one is asked for."""
    steps = []
    for level in tree:
        beside = place ^ 1
        if beside < len(level):
            steps.append((beside < place, level[beside]))
        place //= 2
    return steps


def root_of_path(of_leaf: bytes, steps: Sequence[tuple[bool, bytes]]) -> bytes:
    """The root that a path leads to."""
    reached = of_leaf
    for is_left, beside in steps:
        reached = _node(beside, reached) if is_left else _node(reached, beside)
    return reached


def cut(leaves: bytes, size: int = LEAF_BYTES) -> list[bytes]:
    """The leaves of a block that stand one behind the other, one by one."""
    return [leaves[at : at + size] for at in range(0, len(leaves), size)]


def short(leaves: bytes) -> bytes:
    """What a block keeps of its leaves: enough to tell which row differs, where its hash says that
    one does."""
    return b"".join(it[:SHORT_BYTES] for it in cut(leaves))


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()
