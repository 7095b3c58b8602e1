"""Random numbers that repeat, without a stored state.

The same seed gives the same ones on every machine, in any order."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

_64_BITS: Final = (1 << 64) - 1


def series(*names: object) -> int:
    """The key of an independent series of numbers.

    Series are told apart by their names: (7, "000000001600", "noise")."""
    text = "/".join(map(str, names))
    digest = blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def random_bits(key: int, number: int) -> int:
    """64 evenly spread bits: entry `number` of the series `key`."""
    # The mixing steps of splitmix64.
    bits = (key + number * 0x9E3779B97F4A7C15) & _64_BITS
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & _64_BITS
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & _64_BITS
    return bits ^ (bits >> 31)


def below(
    key: int,
    number: int,
    limit: int,
) -> int:
    """Entry `number` of the series, from 0 to `limit` - 1."""
    return random_bits(key, number) * limit >> 64


def happens(
    key: int,
    number: int,
    permille: int,
) -> bool:
    """True for `permille` of 1000 entries."""
    return below(key, number, 1000) < permille
