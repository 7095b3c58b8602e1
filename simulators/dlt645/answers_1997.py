"""What a simulated meter has behind each identifier of DL/T 645-1997.

It follows from what the meter has behind the same quantity of 2007."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Final

from protocols.dlt645.bcd import decode_bcd, encode_bcd, is_missing
from protocols.dlt645.identifiers import Field, Kind, meaning, to_2007
from protocols.dlt645.values import SEPARATOR
from simulators.dlt645 import answers
from simulators.dlt645.access import Access
from simulators.state.meter import MeterState

DEVICE_CODE: Final = "C034"
METER_NUMBER_2007: Final = "04000402"
_ALL: Final = 0xF
"""In place of the last digit: the whole block."""
_FIXED: Final = {
    "C021": b"\x00",
    "C114": b"\x05",
    "C118": b"\x01",
}
_PHASE_BREAKS: Final = {
    "B31": bytes(2),
    "B32": bytes(3),
    "B33": bytes(4),
    "B34": bytes(4),
}
"""No phase ever broke."""
_PHASES_WITH_TOTAL: Final = 4
_TIMES_OF_RECORDS: Final = {
    "B210": "03300001",
    "B211": "03300201",
}
"""The last programming and the last demand clear, whose records of 2007 begin with their
seconds."""
_TABLES: Final = {
    "C32": "04010000",
    **{f"C3{2 + number:X}": f"040100{number:02X}" for number in range(1, 9)},
}
"""Time zones and day tables."""
_ENTRY_WIDTH: Final = 3


def read(
    state: MeterState,
    access: Access,
    identifier: str,
    at: datetime,
) -> bytes | None:
    """The data behind DI1 DI0; None for *no such data*."""
    known = meaning(identifier)
    if known is None:
        return None
    (field,) = known.record.fields
    in_2007 = to_2007(identifier)
    if in_2007 is None:
        data = _part_of_2007(state, access, identifier, at)
        return data if data is None or known.repeats else data[: field.width]
    data = answers.read(
        state,
        access,
        bytes.fromhex(in_2007),
        at,
    )
    as_2007 = meaning(in_2007)
    if data is None or as_2007 is None:
        return None
    converted = _converted(data, as_2007.record.fields, field)
    return converted + bytes((SEPARATOR,)) if known.repeats else converted


def _converted(
    data: bytes,
    fields: tuple[Field, ...],
    field: Field,
) -> bytes:
    """The values like `field` out of records of 2007."""
    first, source = _field_like(field, fields)
    record_width = sum(part.width for part in fields)
    converted = b""
    for start in range(first, len(data), record_width):
        converted += _convert(
            data[start : start + source.width],
            source,
            field,
        )
    return converted


def _field_like(field: Field, fields: tuple[Field, ...]) -> tuple[int, Field]:
    """Where in a record of 2007 the value stands.

    A demand and its time are one record there and two here."""
    first = 0
    for source in fields:
        if source.kind is field.kind:
            return first, source
        first += source.width
    return 0, fields[0]


def _part_of_2007(
    state: MeterState,
    access: Access,
    identifier: str,
    at: datetime,
) -> bytes | None:
    """What is a part of a longer record in 2007, or fixed in this meter.

    F in place of the last digit is all of it."""
    block = identifier[:3]
    entry = int(identifier[3], 16)
    if identifier in _FIXED:
        return _FIXED[identifier]
    if identifier == DEVICE_CODE:
        return answers.read(
            state,
            access,
            bytes.fromhex(METER_NUMBER_2007),
            at,
        )
    if block in _PHASE_BREAKS:
        return _PHASE_BREAKS[block] * (_PHASES_WITH_TOTAL if entry == _ALL else 1)
    if identifier in _TIMES_OF_RECORDS:
        record = bytes.fromhex(_TIMES_OF_RECORDS[identifier])
        data = answers.read(state, access, record, at)
        return data and data[1:]
    if block in _TABLES:
        return _entry(state.parameters.read(_TABLES[block]), entry)
    return None


def _entry(table: bytes | None, number: int) -> bytes | None:
    """One entry of a table of time zones or day slots (1 is the first), or all."""
    if table is None or number == _ALL:
        return table
    begin = _ENTRY_WIDTH * (number - 1)
    return table[begin : begin + _ENTRY_WIDTH] or None


def _convert(
    part: bytes,
    source: Field,
    field: Field,
) -> bytes:
    """A value in the width and decimals of 1997, cut off as a display does."""
    if field.kind is not Kind.NUMBER:
        return part[: field.width]
    if is_missing(part):
        return part[:1] * field.width
    number = decode_bcd(part, source.decimals, signed=source.signed)
    digits = int(abs(number).scaleb(field.decimals))
    cut = Decimal(digits).scaleb(-field.decimals)
    wraps = 10 ** (2 * field.width - field.decimals)
    return encode_bcd(cut % wraps, field.width, field.decimals)
