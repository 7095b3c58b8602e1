"""The steps of a daily freeze for many meters at once, with numpy: what is asked, and whether the
answers are as expected.

There is one row for each meter. Whatever is not exactly as expected is for the way that looks at
one answer at a time; here it is only told apart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protocols.dlt645 import functions
from protocols.dlt645.frame import END, OVERHEAD, START, WAKE_UP
from protocols.dlt645.prepared import energies as batch
from protocols.dlt645.prepared.one import HEAD, REQUEST_LENGTH, PreparedMeter, sent
from protocols.dlt645.prepared.steps import CLOCK, ENERGIES, STAMP, STEPS

ADDRESS: Final = 6
"""Bytes of an address as it is sent."""

_WIDTHS: Final = tuple(step.width for step in STEPS)
LONGEST: Final = len(WAKE_UP) + OVERHEAD + 4 + max(_WIDTHS)
"""Whatever is longer is left to those who look at one answer at a time."""
_TAILS: Final = np.array(
    [list(bytes((4 + step.width,)) + sent(bytes.fromhex(step.identifier)[::-1])) for step in STEPS],
    dtype=np.uint8,
)
"""What of an answer's head depends on the step: its length and its identifier."""
_IS_OF_FREEZE: Final = np.array([step.is_of_freeze for step in STEPS])
_SECONDS: Final = np.array([1, 60, 3600])
"""In each byte of a time of day, ss mm hh, ..."""
_ENDS_BEFORE: Final = np.array([60, 60, 24])
"""... and the first number that it cannot hold."""


def wire_addresses(addresses: Iterable[str]) -> bytes:
    """Addresses of 12 digits as they are sent, one after the other."""
    return b"".join(bytes.fromhex(address)[::-1] for address in addresses)


def meter_at(addresses: bytes, number: int) -> PreparedMeter:
    """The meter whose address stands at this place among those that `wire_addresses` gave."""
    at = ADDRESS * number
    return PreparedMeter(addresses[at : at + ADDRESS][::-1].hex())


def heads(
    addresses: NDArray[np.uint8], steps: NDArray[np.uint8], nths: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """What the answers begin with behind their wake-up.

    `addresses`: six bytes in each row as they are sent; `steps`: CLOCK, STAMP or ENERGIES; `nths`:
    of which daily freeze, 1 = newest."""
    made = np.empty((len(addresses), HEAD), dtype=np.uint8)
    made[:, 0] = START
    made[:, 7] = START
    made[:, 1:7] = addresses
    made[:, 8] = functions.READ | 0x80
    made[:, 9:] = _TAILS[steps]
    # The identifier is sent low byte first, so the index of the freeze is its first byte.
    made[:, 10] += nths * _IS_OF_FREEZE[steps]
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
    """Frames that follow each other, with their wake-up, `most` at the most; and the rest.

    Only lengths are looked at: whether they are good is for `are_good`."""
    found: list[bytes] = []
    start = 0
    end = len(data)
    while len(found) < most:
        at = data.find(START, start)
        has_head = 0 <= at < end - HEAD
        if not has_head or data[start:at].strip(WAKE_UP):
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
    wake_up = WAKE_UP[:1]
    nothing = bytes(LONGEST)
    rows = [
        answer.rjust(LONGEST, wake_up) if len(answer) <= LONGEST else nothing for answer in answers
    ]
    return np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(-1, LONGEST)


def are_good(rows: NDArray[np.uint8], heads: NDArray[np.uint8], step: int) -> NDArray[np.bool_]:
    """For each row that `laid` made, whether it is exactly one good answer to this step with this
    head."""
    start = LONGEST - OVERHEAD - 4 - _WIDTHS[step]
    frames = rows[:, start:]
    good: NDArray[np.bool_] = (frames[:, :HEAD] == heads).all(axis=1)
    # A START before the frame may be the beginning of another one: that is to be looked at.
    good &= (rows[:, :start] != START).all(axis=1)
    good &= frames[:, :-2].sum(axis=1, dtype=np.uint8) == frames[:, -2]
    good &= frames[:, -1] == END
    return good


def times_of_day(rows: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Seconds since 00:00 of good answers to CLOCK; negative for what is no time of day."""
    digits = rows[:, -2 - _WIDTHS[CLOCK] : -2] - np.uint8(0x33)
    tens = digits >> 4
    ones = digits & 15
    values = 10 * tens.astype(np.int64) + ones
    are_digits = (tens < 10) & (ones < 10)
    are_times = (are_digits & (values < _ENDS_BEFORE)).all(axis=1)
    return np.where(are_times, (values * _SECONDS).sum(axis=1), -1)


def stamps(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The time stamps of good answers to STAMP, five bytes as they are sent, as
    `midnight_stamp` gives them."""
    return rows[:, -2 - _WIDTHS[STAMP] : -2]


def energies(rows: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Five registers of good answers to ENERGIES in 0.01 kWh; negative for what is no BCD."""
    return batch.energies(rows[:, -2 - _WIDTHS[ENERGIES] : -2])
