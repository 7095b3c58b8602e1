"""The prepared reads of many meters at once, with numpy: what is asked, and whether the answers are
as expected.

The same three reads as in `prepared`, one row for each meter. Whatever is not exactly as expected
is for the way that looks at one answer at a time; here it is only told apart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protocols.dlt645 import functions
from protocols.dlt645.bcd import ENERGY_WIDTH
from protocols.dlt645.frame import END, OVERHEAD, START, WAKE_UP
from protocols.dlt645.prepared import energies as batch
from protocols.dlt645.prepared.one import HEAD, REGISTERS, REQUEST_LENGTH, sent

CLOCK, STAMP, ENERGIES = range(3)
"""The reads: the time of day; the time stamp of a daily freeze; its forward active energies."""
ADDRESS: Final = 6
"""Bytes of an address as it is sent."""

_IDENTIFIERS: Final = ("04000102", "05060000", "05060100")
"""Of each read; the last byte of those of a freeze is its index, 1 = newest."""
_WIDTHS: Final = (3, 5, REGISTERS * ENERGY_WIDTH)
LONGEST: Final = len(WAKE_UP) + OVERHEAD + 4 + max(_WIDTHS)
"""Whatever is longer is left to those who look at one answer at a time."""
_TAILS: Final = np.array(
    [
        list(bytes((4 + width,)) + sent(bytes.fromhex(it)[::-1]))
        for it, width in zip(_IDENTIFIERS, _WIDTHS, strict=True)
    ],
    dtype=np.uint8,
)
"""What of an answer's head depends on the read: its length and its identifier."""
_SECONDS: Final = np.array([1, 60, 3600])
_ENDS_BEFORE: Final = np.array([60, 60, 24])


def wire_addresses(addresses: Iterable[str]) -> bytes:
    """Addresses of 12 digits as they are sent, one after the other."""
    return b"".join(bytes.fromhex(address)[::-1] for address in addresses)


def heads(
    addresses: NDArray[np.uint8], reads: NDArray[np.uint8], nths: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """What the answers begin with behind their wake-up. `addresses`: six bytes in each row as they
    are sent; `reads`: CLOCK, STAMP or ENERGIES; `nths`: of which daily freeze, 1 = newest."""
    made = np.empty((len(addresses), HEAD), dtype=np.uint8)
    made[:, 0] = made[:, 7] = START
    made[:, 1:7] = addresses
    made[:, 8] = functions.READ | 0x80
    made[:, 9:] = _TAILS[reads]
    made[:, 10] += np.where(reads == CLOCK, 0, nths).astype(np.uint8)
    return made


def requests(heads: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What is sent for these answers, REQUEST_LENGTH bytes in each row, wake-up included."""
    made = np.empty((len(heads), REQUEST_LENGTH), dtype=np.uint8)
    wake_up = len(WAKE_UP)
    made[:, :wake_up] = WAKE_UP[0]
    made[:, wake_up : wake_up + 8] = heads[:, :8]
    made[:, wake_up + 8] = functions.READ
    made[:, wake_up + 9] = 4
    made[:, wake_up + 10 : -2] = heads[:, 10:]
    made[:, -2] = made[:, wake_up:-2].sum(axis=1, dtype=np.uint8)
    made[:, -1] = END
    return made


def apart(data: bytes, most: int) -> tuple[list[bytes], bytes]:
    """So many frames at most that follow each other, with their wake-up, and the rest."""
    found: list[bytes] = []
    start, end = 0, len(data)
    while len(found) < most:
        at = data.find(START, start)
        if not 0 <= at < end - HEAD or data[start:at].strip(WAKE_UP):
            break
        stop = at + data[at + 9] + OVERHEAD
        if stop > end:
            break
        found.append(data[start:stop])
        start = stop
    return found, data[start:]


def laid(answers: Iterable[bytes]) -> NDArray[np.uint8]:
    """What came from each meter as a row, its end at the right; zeros for what is too long to be a
    good answer."""
    wake_up, nothing = WAKE_UP[:1], bytes(LONGEST)
    rows = [it.rjust(LONGEST, wake_up) if len(it) <= LONGEST else nothing for it in answers]
    return np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(-1, LONGEST)


def are_good(rows: NDArray[np.uint8], heads: NDArray[np.uint8], read: int) -> NDArray[np.bool_]:
    """For each row that `laid` made, whether it is exactly one good answer to this read with this
    head."""
    start = LONGEST - OVERHEAD - 4 - _WIDTHS[read]
    frames = rows[:, start:]
    good: NDArray[np.bool_] = (frames[:, :HEAD] == heads).all(axis=1)
    good &= (rows[:, :start] != START).all(axis=1)
    good &= frames[:, :-2].sum(axis=1, dtype=np.uint8) == frames[:, -2]
    good &= frames[:, -1] == END
    return good


def times_of_day(rows: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Seconds since 00:00 of good answers to CLOCK; negative for what is no time of day."""
    digits = rows[:, -2 - _WIDTHS[CLOCK] : -2] - np.uint8(0x33)
    tens, ones = digits >> 4, digits & 15
    values = 10 * tens.astype(np.int64) + ones
    is_time = (tens < 10) & (ones < 10) & (values < _ENDS_BEFORE)
    return np.where(is_time.all(axis=1), (values * _SECONDS).sum(axis=1), -1)


def stamps(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The time stamps of good answers to STAMP, five bytes as they are sent (see
    `prepared.midnight_stamp`)."""
    return rows[:, -2 - _WIDTHS[STAMP] : -2]


def energies(rows: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Five registers of good answers to ENERGIES in 0.01 kWh; negative for what is no BCD."""
    return batch.energies(rows[:, -2 - _WIDTHS[ENERGIES] : -2])
