"""The data behind an identifier, told as named values with their units."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from protocols.dlt645.bcd import decode_bcd, is_missing
from protocols.dlt645.identifiers import Field, Kind, Meaning, meaning, parts_of
from protocols.dlt645.load_records import decode_load_records
from protocols.dlt645.status import explain
from protocols.errors import FrameError

SEPARATOR: Final = 0xAA
"""Some meters put it behind each part of a block (1997: behind each element). No value begins with
it: its low byte is no BCD."""
DIGITS_OF_1997: Final = 4
"""In an identifier of the 1997 version."""


class Value(NamedTuple):
    """One value as text: decimals as the meter sends them ("0.00"), a time in the digits of its
    layout, which is then the unit. None where the meter has no data."""

    name: str
    value: str | None
    unit: str


_new = tuple.__new__
"""Builds a Value without the detour over its constructor: this runs for every value of a meter."""


class _Place(NamedTuple):
    """One value in data of a known length."""

    name: str
    start: int
    end: int
    field: Field


class _Number(NamedTuple):
    """A BCD number: where its integer and its decimals stand in the hexadecimal text of the whole
    data turned round."""

    name: str
    unit: str
    integer: slice
    decimals: slice


class _Layout(NamedTuple):
    """Where the values stand. `numbers`: the same once more, when all are unsigned BCD numbers with
    decimals and nothing is behind them."""

    places: tuple[_Place, ...]
    end: int
    short: str
    numbers: tuple[_Number, ...]


def decode_values(identifier: str, data: bytes) -> list[Value]:
    """The values behind an identifier (8 hexadecimal digits; 4 for 1997). FrameError on data that
    do not fit.

    An identifier that the table lacks gives its bytes as one value `data` with the unit "hex"; so
    does a block whose length fits no number of tariffs (a meter may freeze fewer parts). Bytes
    behind the last field are `undecoded_tail`."""
    values, wrong = try_values(identifier, data)
    if wrong:
        raise FrameError(f"{identifier}: {wrong[0]}")
    return values


def try_values(
    identifier: str, data: bytes, *, whole: bool = True
) -> tuple[list[Value], list[str]]:
    """Like `decode_values`, but gives the good values together with what is wrong with the others.

    With `whole` False the data may end anywhere: a follow-up frame has the rest.
    """
    layout = _layout(identifier, len(data), whole)
    if layout is None or (len(identifier) == DIGITS_OF_1997 and SEPARATOR in data):
        known = meaning(identifier)
        if known is None:
            return _as_hex(data), []
        data = _without_separators(known, data)
        layout = _layout(identifier, len(data), whole)
        if layout is None:
            return _as_hex(data), []
    if layout.numbers:
        digits = data[::-1].hex()
        if digits.isdigit():
            return [
                _new(
                    Value, (name, f"{digits[integer].lstrip('0') or '0'}.{digits[decimals]}", unit)
                )
                for name, unit, integer, decimals in layout.numbers
            ], []
    values: list[Value] = []
    wrong: list[str] = []
    for place in layout.places:
        try:
            values += _values(place.name, place.field, data[place.start : place.end])
        except FrameError as error:
            wrong.append(f"{place.name}: {error}")
    if layout.end < len(data):
        values.append(Value("undecoded_tail", data[layout.end :].hex().upper(), "hex"))
    if layout.short:
        wrong.append(layout.short)
    return values, wrong


@lru_cache(maxsize=4096)
def _layout(identifier: str, length: int, whole: bool) -> _Layout | None:
    """None for an identifier that the table lacks, and for a length that a block of parts or a
    vendor's own record cannot have."""
    known = meaning(identifier)
    if known is None or (known.is_vendors_own and length != known.record.width):
        return None
    repetitions = _repetitions(known, length)
    if repetitions is None:
        return None
    places: list[_Place] = []
    short = ""
    at = 0
    for name, field in _fields(known, length, repetitions):
        end = at + field.width if field.width else length
        have = min(end, length) - at
        if have < max(field.width, 1):
            short = f"{name}: {have} bytes, needs {field.width or 'at least 1'}" if whole else ""
            break
        places.append(_Place(name, at, end, field))
        at = end
    plain = at == length and not short and all(_is_plain(place.field) for place in places)
    return _Layout(
        tuple(places), at, short, tuple(_number(place, length) for place in places) if plain else ()
    )


def _is_plain(field: Field) -> bool:
    return field.kind is Kind.NUMBER and not field.signed and 0 < field.decimals < 2 * field.width


def _number(place: _Place, length: int) -> _Number:
    last = 2 * (length - place.start)
    point = last - place.field.decimals
    return _Number(
        place.name, place.field.unit, slice(2 * (length - place.end), point), slice(point, last)
    )


def _fields(known: Meaning, length: int, repetitions: int) -> Iterator[tuple[str, Field]]:
    """Each field with its name, until the data (or the parts of a block) end."""
    at = 0
    for part in parts_of(known):
        element = 0
        while True:
            for field in part.record.fields:
                yield part.name(field, element), field
                at += field.width or length
            element += 1
            if not part.repeats or (element >= repetitions if known.record.parts else at >= length):
                break


def _repetitions(known: Meaning, length: int) -> int | None:
    """How often the repeating parts of a block of that length repeat; 0 when the record is no block
    of parts."""
    if not known.record.parts:
        return 0
    parts = parts_of(known)
    once = sum(part.record.width for part in parts if not part.repeats)
    each = sum(part.record.width for part in parts if part.repeats)
    count, rest = divmod(length - once, each)
    return count if count > 0 and not rest else None


def _without_separators(known: Meaning, data: bytes) -> bytes:
    """The data without an AA behind each part; unchanged where there is none."""
    parts = parts_of(known)
    if len(parts) > 1:
        for separators in (len(parts), len(parts) - 1):
            count = _repetitions(known, len(data) - separators)
            if count:
                widths = [part.record.width * (count if part.repeats else 1) for part in parts]
                if (kept := _cut_out(data, widths)) is not None:
                    return kept
        return data
    width = known.record.width
    if not known.repeats or not width:
        return data
    kept = b""
    at = 0
    while at < len(data):
        if data[at] == SEPARATOR:
            at += 1
        kept += data[at : at + width]
        at += width
    return kept


def _cut_out(data: bytes, widths: list[int]) -> bytes | None:
    """The parts of these widths, when an AA stands behind each but perhaps the last."""
    kept = b""
    at = 0
    for width in widths:
        kept += data[at : at + width]
        at += width
        if at < len(data) and data[at] != SEPARATOR:
            return None
        at += 1
    return kept


def _as_hex(data: bytes) -> list[Value]:
    return [Value("data", data.hex().upper(), "hex")] if data else []


def _values(name: str, field: Field, data: bytes) -> list[Value]:
    if is_missing(data) and field.kind not in (Kind.BITS, Kind.RAW):
        return [Value(name, None, field.unit)]
    match field.kind:
        case Kind.NUMBER:
            return [
                Value(name, str(decode_bcd(data, field.decimals, signed=field.signed)), field.unit)
            ]
        case Kind.BITS:
            word = int.from_bytes(data, "little")
            status = re.fullmatch(r"status_word_(\d)", name)
            bits = explain(int(status[1]), word) if status else []
            told = Value(name, f"0x{word:0{2 * len(data)}X}", field.unit)
            return [told, *(Value(bit, text, "") for bit, text in bits)]
        case Kind.ASCII:
            text = data[::-1].decode("ascii", "backslashreplace").strip("\0 ")
            return [Value(name, text.replace("\0", " "), field.unit)]
        case Kind.RAW:
            return [Value(name, data.hex().upper(), field.unit)]
        case Kind.SECRET:
            return [Value(name, "not shown", field.unit)]
        case Kind.LOAD:
            return _load_records(name, data)
    digits = data[::-1].hex().upper()
    if field.kind is not Kind.HEX and not digits.isdigit():
        raise FrameError(f"not BCD: {digits}")
    return [Value(name, digits, field.unit)]


def _load_records(name: str, data: bytes) -> list[Value]:
    values = []
    for number, record in enumerate(decode_load_records(data), 1):
        stored_at = f"{record.stored_at:%y%m%d%H%M}" if record.stored_at else None
        values.append(Value(f"{name}_{number}_time", stored_at, "YYMMDDhhmm"))
        values += [
            Value(f"{name}_{number}_{what}", None if value is None else str(value), unit)
            for what, value, unit in record.values
        ]
    return values
