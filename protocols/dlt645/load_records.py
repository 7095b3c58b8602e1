"""Load records (identifiers 06): a meter's profile, several records in one answer, each in a frame
of its own.

A0 A0, a length, the time, six blocks each ended by AA (an empty one is AA alone), a sum and E5."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from protocols.dlt645.bcd import decode_bcd, decode_time, is_missing
from protocols.errors import FrameError

RECORD_START: Final = b"\xa0\xa0"
RECORD_END: Final = 0xE5
BLOCK_END: Final = 0xAA
STORED_AT: Final = "mm hh DD MM YY"

_PHASES: Final = ("_a", "_b", "_c")
_WITH_TOTAL: Final = ("", *_PHASES)
CLASSES: Final[tuple[tuple[tuple[str, str, int, int, bool], ...], ...]] = (
    (
        *((f"voltage{phase}", "V", 2, 1, False) for phase in _PHASES),
        *((f"current{phase}", "A", 3, 3, True) for phase in _PHASES),
        ("frequency", "Hz", 2, 2, False),
    ),
    (
        *((f"active_power{phase}", "kW", 3, 4, True) for phase in _WITH_TOTAL),
        *((f"reactive_power{phase}", "kvar", 3, 4, True) for phase in _WITH_TOTAL),
    ),
    tuple((f"power_factor{phase}", "", 2, 3, True) for phase in _WITH_TOTAL),
    (
        ("forward_active_energy", "kWh", 4, 2, False),
        ("reverse_active_energy", "kWh", 4, 2, False),
        ("combined_reactive_1_energy", "kvarh", 4, 2, True),
        ("combined_reactive_2_energy", "kvarh", 4, 2, True),
    ),
    tuple((f"quadrant_{number}_reactive_energy", "kvarh", 4, 2, False) for number in (1, 2, 3, 4)),
    (("active_demand", "kW", 3, 4, True), ("reactive_demand", "kvar", 3, 4, True)),
)
"""The six blocks: (name, unit, bytes, decimals, signed) of each value, in wire order."""


@dataclass(frozen=True, slots=True)
class LoadRecord:
    """One record. `stored_at`: the meter's wall clock, None when it has none; `values`: (name,
    value, unit), value None where the meter has no data. A block that the meter does not record has
    no values."""

    stored_at: datetime | None
    values: tuple[tuple[str, Decimal | None, str], ...]


def decode_load_records(data: bytes) -> list[LoadRecord]:
    """The records of one answer, its identifier cut off and its follow-ups joined. FrameError when
    they are no records.

    Sources do not agree whether the length counts the sum and E5; both are taken, the sum decides.
    """
    found: list[LoadRecord] = []
    at = 0
    while at < len(data):
        if data[at : at + 2] != RECORD_START or len(data) < at + 3:
            raise FrameError(
                f"no load record (A0 A0) at byte {at}: {data[at : at + 4].hex(' ').upper()}"
            )
        end = _end(data, at)
        found.append(_record(data[at + 3 : end - 2]))
        at = end
    return found


def _end(data: bytes, at: int) -> int:
    length = data[at + 2]
    for end in (at + 3 + length + 2, at + 3 + length):
        if (
            at + 5 <= end <= len(data)
            and data[end - 1] == RECORD_END
            and sum(data[at : end - 2]) & 0xFF == data[end - 2]
        ):
            return end
    raise FrameError(
        f"load record at byte {at}: its length {length} does not lead to its sum and E5"
    )


def _record(body: bytes) -> LoadRecord:
    if len(body) < 5:
        raise FrameError(f"a load record has at least its time (5 bytes), not {len(body)}")
    return LoadRecord(decode_time(body[:5], STORED_AT), tuple(_values(body[5:])))


def _values(blocks: bytes) -> Iterator[tuple[str, Decimal | None, str]]:
    at = 0
    for number, fields in enumerate(CLASSES, 1):
        if at >= len(blocks):
            raise FrameError(f"a load record has 6 blocks, this one ends before block {number}")
        if blocks[at] != BLOCK_END:
            for name, unit, width, decimals, signed in fields:
                part = blocks[at : at + width]
                if len(part) < width:
                    raise FrameError(
                        f"load record, block {number}: {name} has {len(part)} of {width} bytes"
                    )
                value = None if is_missing(part) else decode_bcd(part, decimals, signed=signed)
                yield name, value, unit
                at += width
        if blocks[at : at + 1] != bytes((BLOCK_END,)):
            raise FrameError(f"load record, block {number} does not end with AA")
        at += 1
    if at != len(blocks):
        raise FrameError(f"{len(blocks) - at} bytes behind the 6 blocks of a load record")
