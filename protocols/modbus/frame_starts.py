"""Where in a long recording no frame can begin, found for many places at once.

The rest is for the framer to judge.

A checksum is linear: every bit that is set adds a weight of its own, whatever stands around it. So
the checksum of a stretch is right exactly when the sums of the weights up to both of its ends
agree, with the first 16 bits counted the other way round, because the checksum begins with FFFF.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from pymodbus.framer import FramerRTU

from protocols.modbus.frame import (
    EXCEPTION,
    LONGEST_FRAME,
    LONGEST_RTU,
    LONGEST_TCP,
    MBAP_BYTES,
    SHORTEST_TCP,
    FrameStarts,
    Rules,
)

BLOCK: Final = 16 * 1024
"""Bytes that are compared at once: they stay in the processor's cache."""
Marks = NDArray[np.bool_]


def frame_starts_rtu(data: bytes, rules: Rules) -> FrameStarts:
    """Plausible with a known function; possible where a stretch from there has a right checksum."""
    plausible = _is_known_function(data, 1, rules)
    possible = plausible.copy()
    for start in range(0, len(possible), BLOCK):
        block = np.frombuffer(data, np.uint8)[start : start + BLOCK + LONGEST_RTU]
        possible[start : start + BLOCK] &= _has_right_checksum(block)[: len(possible) - start]
    return _frame_starts(data, plausible, possible)


def frame_starts_tcp(data: bytes, rules: Rules) -> FrameStarts:
    """Plausible with protocol 0; possible with a length and function that there are, too."""
    octets = np.frombuffer(data, np.uint8)
    possible = _is_known_function(data, MBAP_BYTES + 1, rules)
    # Bytes 2 and 3 are the protocol, 4 and 5 the length, of which only the low byte is in use.
    two, three, four, length = (octets[place : place + len(possible)] for place in (2, 3, 4, 5))
    plausible = (two | three) == 0
    possible &= plausible & (four == 0) & (length >= SHORTEST_TCP) & (length <= LONGEST_TCP)
    return _frame_starts(data, plausible, possible)


def _frame_starts(data: bytes, plausible: Marks, possible: Marks) -> FrameStarts:
    """The last places are left to the framer: more bytes may follow."""
    rest = b"\1" * (len(data) - len(plausible))
    return FrameStarts(plausible.tobytes() + rest, possible.tobytes() + rest)


def _is_known_function(data: bytes, place: int, rules: Rules) -> Marks:
    """True where the byte at this place behind is a function; as far as a whole frame fits."""
    known = bytes(octet & ~EXCEPTION in rules.functions for octet in range(256))
    there = data[place : len(data) - LONGEST_FRAME + place].translate(known)
    return np.frombuffer(there, np.bool_).copy()


def _has_right_checksum(block: NDArray[np.uint8]) -> Marks:
    """True where a stretch that begins there, as long as a frame can be, has a right checksum."""
    bits = np.unpackbits(block, bitorder="little")
    sums = np.zeros(len(block) + 1, np.uint16)
    sums[1:] = np.bitwise_xor.accumulate(bits * _WEIGHTS[: len(bits)])[7::8]
    count = len(block) - LONGEST_RTU
    begins = sums[:count] ^ _FIRST_16[:count]
    found = np.zeros(count, np.bool_)
    for size in range(FramerRTU.MIN_SIZE, LONGEST_RTU + 1):
        found |= begins == sums[size : size + count]
    return found


def _weights(count: int) -> NDArray[np.uint16]:
    """What each bit of a stream adds, the first one 1: one step of the checksum back for each."""
    polynomial = FramerRTU.crc16_table[0x80]
    weights = np.empty(count, np.uint16)
    weight = 1
    for place in range(count):
        weights[place] = weight
        weight = (weight ^ polynomial) << 1 | 1 if weight & 0x8000 else weight << 1
    return weights


_WEIGHTS: Final = _weights(8 * (BLOCK + LONGEST_RTU))
_FIRST_16: Final = np.bitwise_xor.reduce(_WEIGHTS.reshape(-1, 8), axis=1)
_FIRST_16[:-1] ^= _FIRST_16[1:].copy()
