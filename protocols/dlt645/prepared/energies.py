"""Many stored answers at once, with numpy: equal frames laid under one another, their values out of
a table."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protocols.dlt645.bcd import ENERGY_WIDTH
from protocols.dlt645.frame import END, HEADER, OVERHEAD, START

MOST_REGISTERS: Final = 62
NO_VALUE: Final = -1
"""In place of a register without data or with a nibble over 9: the general decoder tells which."""


class Registers(NamedTuple):
    """What a batch holds, one row for each frame."""

    hundredths: NDArray[np.int64]
    """One column for each register, in 0.01 kWh; NO_VALUE where there is none."""
    good: NDArray[np.bool_]
    """False for what is no answer with that identifier: its row means nothing."""


def _table() -> NDArray[np.int64]:
    """Two bytes as they are sent (plus 33H), as a little-endian number, to their four digits.

    What is no BCD is so far below zero that no other pair of its register makes up for it."""
    byte = np.arange(256, dtype=np.int64) - 0x33 & 0xFF
    tens = byte >> 4
    ones = byte & 15
    is_bcd = (tens < 10) & (ones < 10)
    digits = np.where(is_bcd, 10 * tens + ones, -(10**9))
    return (digits[:, None] * 100 + digits[None, :]).reshape(-1)


_PAIRS: Final = _table()


def decode_registers(data: bytes, identifier: str, *, registers: int) -> Registers:
    """The energies of equally long answers that stand in `data` one after the other.

    Each goes from 68H to 16H, without wake-up. ValueError when `data` are not a whole number of
    frames with that many registers of 4 bytes (62 at the most)."""
    length = OVERHEAD + 4 + ENERGY_WIDTH * registers
    if not 1 <= registers <= MOST_REGISTERS:
        raise ValueError(f"{registers} registers do not fit into one frame (1 to {MOST_REGISTERS})")
    if len(data) % length:
        raise ValueError(f"{len(data)} bytes are no frames of {length} bytes each")
    frames = np.frombuffer(data, dtype=np.uint8).reshape(-1, length)
    return Registers(energies(frames[:, HEADER + 4 : -2]), are_answers(frames, identifier))


def energies(data: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Rows of registers of 4 bytes as they are sent, in 0.01 kWh; NO_VALUE for what is no BCD."""
    digits = _PAIRS[np.ascontiguousarray(data).view("<u2")]
    hundredths: NDArray[np.int64] = np.maximum(digits[:, 0::2] + 10_000 * digits[:, 1::2], NO_VALUE)
    return hundredths


def are_answers(frames: NDArray[np.uint8], identifier: str) -> NDArray[np.bool_]:
    """For each row, whether it is a good frame with a whole answer (91H) to a read of that
    identifier."""
    length = frames.shape[1]
    wire = np.frombuffer(bytes.fromhex(identifier)[::-1], dtype=np.uint8) + np.uint8(0x33)
    # By its place in the frame: every byte that is the same in all good answers.
    expected = {
        0: START,
        7: START,
        8: 0x91,
        9: length - OVERHEAD,
        length - 1: END,
    }
    expected |= {HEADER + at: int(byte) for at, byte in enumerate(wire)}
    places = list(expected)
    values = np.array(list(expected.values()), dtype=np.uint8)
    good: NDArray[np.bool_] = (frames[:, places] == values).all(axis=1)
    good &= frames[:, :-2].sum(axis=1, dtype=np.uint8) == frames[:, -2]
    return good
