"""The tree over all sealed blocks, which grows by a leaf with each block. Pure.

It is a tree of RFC 6962 over the hashes of the blocks, as they are. Each block keeps its *peak*:
the root of as many blocks up to it as the lowest bit of its number says, the largest part of the
tree that is whole with it. So the root of all blocks, and the way to it from any of them, take as
many hashes as their number has digits in binary, whatever lies between."""

from __future__ import annotations

from collections.abc import Mapping

from daemon.billing.sealing import FIRST, root

Hashes = Mapping[int, bytes]
"""By number of a block."""


def peaks_of(size: int) -> list[int]:
    """The blocks whose peaks make the root of the first `size` blocks, from the last one on."""
    numbers = []
    while size:
        numbers.append(size)
        size -= _lowest_bit(size)
    return numbers


def root_of(size: int, peaks: Hashes) -> bytes:
    """The root of the first `size` blocks; FIRST where there is none."""
    return _joined(peaks_of(size), peaks) if size else FIRST


def peak_of(number: int, block: bytes, peaks: Hashes) -> bytes:
    """The peak of a block, by its hash and the peaks of those before."""
    return _whole(number, _lowest_bit(number), {number: block}, peaks)


def way(number: int, size: int, blocks: Hashes, peaks: Hashes) -> list[tuple[bool, bytes]]:
    """From a block to the root of the first `size`: the hashes beside it, each with whether it
    stands to the left."""
    steps = []
    width = 1
    start = number - 1
    while (above := start // (2 * width) * 2 * width) + 2 * width <= size:
        is_left = start > above
        beside = peaks[above + width] if is_left else None
        steps.append((is_left, beside or _whole(above + 2 * width, width, blocks, peaks)))
        start = above
        width *= 2
    others = peaks_of(size)
    place = others.index(start + width)
    if place:
        steps.append((False, _joined(others[:place], peaks)))
    return [*steps, *((True, peaks[it]) for it in others[place + 1 :])]


def needed_for(number: int, size: int) -> set[int]:
    """The blocks whose hashes and peaks `way` asks for."""
    asked = _Asked()
    way(number, size, asked, asked)
    return {number, *asked.numbers}


class _Asked(dict[int, bytes]):
    """Knows nothing, and remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: set[int] = set()

    def __missing__(self, number: int) -> bytes:
        self.numbers.add(number)
        return FIRST


def _whole(number: int, width: int, blocks: Hashes, peaks: Hashes) -> bytes:
    """The root of so many blocks up to one, a power of two that divides its number."""
    reached = blocks[number]
    step = 1
    while step < width:
        reached = root([peaks[number - step], reached])
        step *= 2
    return reached


def _joined(numbers: list[int], peaks: Hashes) -> bytes:
    last, *others = numbers
    reached = peaks[last]
    for number in others:
        reached = root([peaks[number], reached])
    return reached


def _lowest_bit(number: int) -> int:
    return number & -number
