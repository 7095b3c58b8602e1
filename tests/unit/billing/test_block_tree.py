"""The tree over blocks is that of RFC 6962, whatever is kept of it."""

from hashlib import sha256
from math import log2

import pytest

from daemon.billing.block_tree import needed_for, peak_of, root_of, way
from daemon.billing.sealing import FIRST, path, root, root_of_path

MOST = 70
BLOCKS = {number: sha256(b"%d" % number).digest() for number in range(1, MOST + 1)}


def grown() -> dict[int, bytes]:
    peaks: dict[int, bytes] = {}
    for number, block in BLOCKS.items():
        peaks[number] = peak_of(number, block, peaks)
    return peaks


PEAKS = grown()
LEAVES = [*BLOCKS.values()]


@pytest.mark.parametrize("size", range(1, MOST + 1))
def test_the_root_and_the_ways_to_it_are_those_of_a_tree_that_is_made_whole(size: int) -> None:
    whole = root(LEAVES[:size])
    assert root_of(size, PEAKS) == whole
    for number in range(1, size + 1):
        found = way(number, size, BLOCKS, PEAKS)
        assert found == path(LEAVES[:size], number - 1)
        assert root_of_path(BLOCKS[number], found) == whole


def test_before_the_first_block_stands_what_stands_for_none() -> None:
    assert root_of(0, {}) == FIRST


@pytest.mark.parametrize(("number", "size"), [(1, 1), (5, 64), (13, 70), (64, 65), (70, 70)])
def test_a_way_is_made_of_the_blocks_that_are_named_before(number: int, size: int) -> None:
    needed = needed_for(number, size)
    blocks = {it: BLOCKS[it] for it in needed}
    peaks = {it: PEAKS[it] for it in needed}
    assert way(number, size, blocks, peaks) == way(number, size, BLOCKS, PEAKS)


def test_a_way_over_a_million_blocks_asks_for_a_few_hundred_at_most() -> None:
    size = 10**6
    for number in (1, 2, 3, size // 3, size // 2, size - 1, size):
        assert len(needed_for(number, size)) <= log2(size) ** 2 / 2 + 40
