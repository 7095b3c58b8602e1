"""What a serial port makes of bytes that were sent at another speed than it listens at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

CHARACTER_BITS: Final = 11
"""8E1: start, 8 data bits, even parity, stop."""
DATA_BITS: Final = 8
IDLE: Final = 1
STEPS: Final = 16
"""A port looks that often in a bit for the edge of the next start bit."""


def heard_at(data: bytes, sent_baud: int, heard_baud: int) -> bytes:
    """The bytes that come out; those without stop bit or with a wrong parity are 00."""
    if sent_baud == heard_baud:
        return data
    wire = [level for byte in data for level in _levels(byte)]
    wire += [IDLE] * CHARACTER_BITS
    found = bytearray()
    # In steps of the hearer: exact, and no float decides about a bit.
    steps = len(wire) * STEPS * heard_baud // sent_baud
    at = 0

    def level(step: int) -> int:
        place = step * sent_baud // (STEPS * heard_baud)
        return wire[place] if place < len(wire) else IDLE

    while at < steps:
        if level(at) == IDLE:
            at += 1
            continue
        middle = at + STEPS // 2
        bits = [level(middle + number * STEPS) for number in range(1, CHARACTER_BITS)]
        found.append(_character(bits))
        at = middle + (CHARACTER_BITS - 1) * STEPS
        # Without a stop bit the port waits for an idle wire.
        while at < steps and level(at) != IDLE:
            at += 1
    return bytes(found)


def _levels(byte: int) -> list[int]:
    bits = [byte >> number & 1 for number in range(DATA_BITS)]
    return [0, *bits, sum(bits) % 2, IDLE]


def _character(bits: Sequence[int]) -> int:
    """The byte of eight data bits, parity and stop."""
    is_whole = bits[-1] == IDLE and sum(bits[:-1]) % 2 == 0
    if not is_whole:
        return 0
    return sum(bit << number for number, bit in enumerate(bits[:DATA_BITS]))
