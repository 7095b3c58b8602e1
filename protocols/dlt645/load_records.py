"""Load records (identifiers 06): a meter's profile, several records in one answer.

A record is A0 A0, a length, the time, six blocks each ended by AA (an empty one is AA alone), a sum
and E5."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from protocols.dlt645.bcd import decode_bcd, decode_time, is_missing
from protocols.errors import FrameError

RECORD_START: Final = b"\xa0\xa0"
RECORD_END: Final = 0xE5
BLOCK_END: Final = 0xAA
STORED_AT: Final = "mm hh DD MM YY"

TIME_WIDTH: Final = 5
HEAD_WIDTH: Final = 3
"""A0 A0 and the length."""
TAIL_WIDTH: Final = 2
"""The sum and E5."""


class LoadQuantity(NamedTuple):
    """One value of a block: its bytes and how to read them."""

    name: str
    unit: str
    width: int
    decimals: int
    signed: bool = False


def _of_phases(quantity: LoadQuantity, *, total: bool) -> tuple[LoadQuantity, ...]:
    """The quantity of the phases A, B and C, with that of all three before them."""
    phases = tuple(quantity._replace(name=f"{quantity.name}_{phase}") for phase in "abc")
    return (quantity, *phases) if total else phases


_VOLTAGE: Final = LoadQuantity("voltage", "V", 2, 1)
_CURRENT: Final = LoadQuantity("current", "A", 3, 3, signed=True)
_ACTIVE_POWER: Final = LoadQuantity("active_power", "kW", 3, 4, signed=True)
_REACTIVE_POWER: Final = LoadQuantity("reactive_power", "kvar", 3, 4, signed=True)
_POWER_FACTOR: Final = LoadQuantity("power_factor", "", 2, 3, signed=True)

CLASSES: Final = (
    (
        *_of_phases(_VOLTAGE, total=False),
        *_of_phases(_CURRENT, total=False),
        LoadQuantity("frequency", "Hz", 2, 2),
    ),
    (
        *_of_phases(_ACTIVE_POWER, total=True),
        *_of_phases(_REACTIVE_POWER, total=True),
    ),
    _of_phases(_POWER_FACTOR, total=True),
    (
        LoadQuantity("forward_active_energy", "kWh", 4, 2),
        LoadQuantity("reverse_active_energy", "kWh", 4, 2),
        LoadQuantity("combined_reactive_1_energy", "kvarh", 4, 2, signed=True),
        LoadQuantity("combined_reactive_2_energy", "kvarh", 4, 2, signed=True),
    ),
    (
        LoadQuantity("quadrant_1_reactive_energy", "kvarh", 4, 2),
        LoadQuantity("quadrant_2_reactive_energy", "kvarh", 4, 2),
        LoadQuantity("quadrant_3_reactive_energy", "kvarh", 4, 2),
        LoadQuantity("quadrant_4_reactive_energy", "kvarh", 4, 2),
    ),
    (
        LoadQuantity("active_demand", "kW", 3, 4, signed=True),
        LoadQuantity("reactive_demand", "kvar", 3, 4, signed=True),
    ),
)
"""The values of the six blocks, in wire order."""


class LoadValue(NamedTuple):
    """One value of a record; None where the meter has no data."""

    name: str
    value: Decimal | None
    unit: str


@dataclass(frozen=True, slots=True)
class LoadRecord:
    """One record.

    `stored_at`: the meter's wall clock, None when it has none. A block that the meter does not
    record has no values."""

    stored_at: datetime | None
    values: tuple[LoadValue, ...]


def decode_load_records(data: bytes) -> list[LoadRecord]:
    """The records of one answer, its identifier cut off and its follow-ups joined.

    FrameError when they are no records."""
    found: list[LoadRecord] = []
    at = 0
    while at < len(data):
        if data[at : at + 2] != RECORD_START or len(data) < at + HEAD_WIDTH:
            raise FrameError(
                f"no load record (A0 A0) at byte {at}: {data[at : at + 4].hex(' ').upper()}"
            )
        end = _end(data, at)
        found.append(_record(data[at + HEAD_WIDTH : end - TAIL_WIDTH]))
        at = end
    return found


def _end(data: bytes, at: int) -> int:
    length = data[at + 2]
    # Sources do not agree whether the length counts the sum and E5: both are tried.
    without_tail = at + HEAD_WIDTH + length
    for end in (without_tail + TAIL_WIDTH, without_tail):
        has_room = at + HEAD_WIDTH + TAIL_WIDTH <= end <= len(data)
        if has_room and _is_record(data[at:end]):
            return end
    raise FrameError(
        f"load record at byte {at}: its length {length} does not lead to its sum and E5"
    )


def _is_record(record: bytes) -> bool:
    return record[-1] == RECORD_END and sum(record[:-TAIL_WIDTH]) & 0xFF == record[-TAIL_WIDTH]


def _record(body: bytes) -> LoadRecord:
    if len(body) < TIME_WIDTH:
        raise FrameError(f"a load record has at least its time (5 bytes), not {len(body)}")
    stored_at = decode_time(body[:TIME_WIDTH], STORED_AT)
    return LoadRecord(stored_at, tuple(_values(body[TIME_WIDTH:])))


def _values(blocks: bytes) -> Iterator[LoadValue]:
    at = 0
    for number, quantities in enumerate(CLASSES, 1):
        if at >= len(blocks):
            raise FrameError(f"a load record has 6 blocks, this one ends before block {number}")
        if blocks[at] != BLOCK_END:
            for quantity in quantities:
                data = blocks[at : at + quantity.width]
                yield _value(quantity, data, number)
                at += quantity.width
        if blocks[at : at + 1] != bytes((BLOCK_END,)):
            raise FrameError(f"load record, block {number} does not end with AA")
        at += 1
    if at != len(blocks):
        raise FrameError(f"{len(blocks) - at} bytes behind the 6 blocks of a load record")


def _value(quantity: LoadQuantity, data: bytes, number: int) -> LoadValue:
    if len(data) < quantity.width:
        raise FrameError(
            f"load record, block {number}: {quantity.name} has {len(data)} of"
            f" {quantity.width} bytes"
        )
    value = None
    if not is_missing(data):
        value = decode_bcd(data, quantity.decimals, signed=quantity.signed)
    return LoadValue(quantity.name, value, quantity.unit)
