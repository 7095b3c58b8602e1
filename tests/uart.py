"""What a serial port makes of bytes that were said at another speed or with another parity."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from daemon.field.connection import Speed

IDLE: Final = 1
OVERSAMPLED: Final = 16


def heard_as(data: bytes, said: Speed, heard: Speed) -> bytes:
    """The bytes that a port at `heard` reads when `data` are said at `said`, one after the other.

    A byte without its stop bit or with the wrong parity is read as 00, as Linux does."""
    assert said.baud
    assert heard.baud
    levels = list(_levels(data, said))
    ratio = said.baud / heard.baud

    def level(at: float) -> int:
        """At a time in bits of the hearer."""
        place = int(at / ratio)
        return levels[place] if place < len(levels) else IDLE

    found = bytearray()
    at = 0.0
    end = len(levels) * ratio
    while at < end:
        if level(at) == IDLE:
            at += 1 / OVERSAMPLED
            continue
        bits = [level(at + 0.5 + number) for number in range(1, _bits(heard))]
        byte = sum(bit << number for number, bit in enumerate(bits[: heard.data_bits]))
        is_good = bits[-1] == IDLE and _parity_fits(bits, heard)
        found.append(byte if is_good else 0)
        at += _bits(heard) - 0.5
        # Without a stop bit the port waits until the wire is idle.
        while at < end and level(at) != IDLE:
            at += 1 / OVERSAMPLED
    return bytes(found)


def _parity_fits(bits: list[int], speed: Speed) -> bool:
    if speed.parity == "N":
        return True
    return sum(bits[: speed.data_bits + 1]) % 2 == (speed.parity == "O")


def _bits(speed: Speed) -> int:
    """Of a byte: start, data, parity, stop."""
    return 2 + speed.data_bits + (speed.parity != "N")


def _levels(data: bytes, speed: Speed) -> Iterator[int]:
    for byte in data:
        bits = [byte >> number & 1 for number in range(speed.data_bits)]
        yield 0
        yield from bits
        if speed.parity != "N":
            yield sum(bits) % 2 ^ (speed.parity == "O")
        yield IDLE
