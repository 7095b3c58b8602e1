"""The data behind an identifier, as named values with their units."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from protocols.dlt645.bcd import decode_bcd, digits_of, is_missing
from protocols.dlt645.identifiers import Field, Kind, Meaning, meaning, parts_of
from protocols.dlt645.load_records import decode_load_records
from protocols.dlt645.status import explain
from protocols.errors import FrameError

SEPARATOR: Final = 0xAA
"""Some meters put it behind each part of a block (1997: behind each element). No value begins with
it: its low byte is no BCD."""
TAIL: Final = "undecoded_tail"
"""What bytes behind the last field are called."""
DIGITS_OF_1997: Final = 4
"""In an identifier of the 1997 version."""


class Value(NamedTuple):
    """One value as text.

    Decimals are as the meter sends them ("0.00"), a time is in the digits of its layout, which is
    then the unit. None where the meter has no data."""

    name: str
    value: str | None
    unit: str


# Builds a Value without the detour over its constructor: this runs for every value of a meter.
_new = tuple.__new__


class _Place(NamedTuple):
    """One value in data of a known length."""

    name: str
    start: int
    end: int
    field: Field


class _Number(NamedTuple):
    """Where a BCD number stands in the hexadecimal text of the whole data turned round."""

    name: str
    unit: str
    integer: slice
    decimals: slice


class _Layout(NamedTuple):
    """Where the values stand in data of one length."""

    places: tuple[_Place, ...]
    end: int
    short: str
    """What is wrong when the data end inside a value."""
    numbers: tuple[_Number, ...]
    """The places once more, when all are unsigned BCD numbers with decimals that fill the data."""


def decode_values(identifier: str, data: bytes) -> list[Value]:
    """The values behind an identifier (8 hexadecimal digits; 4 for 1997).

    FrameError on data that do not fit, also when bytes are left behind the last field: an answer
    that is longer than its identifier is that to something else. An identifier that the table lacks
    gives its bytes as one value `data` with the unit "hex"; so does a block whose length fits no
    number of tariffs (a meter may freeze fewer parts)."""
    values, errors = try_values(identifier, data)
    if values and values[-1].name == TAIL:
        width = len(data) - len(values[-1].value or "") // 2
        errors.append(f"{len(data)} bytes, {identifier} has {width}")
    if errors:
        raise FrameError(f"{identifier}: {errors[0]}")
    return values


def try_values(
    identifier: str,
    data: bytes,
    *,
    whole: bool = True,
) -> tuple[list[Value], list[str]]:
    """Like `decode_values`, but gives the good values together with what is wrong with the others.

    Bytes behind the last field are the value `undecoded_tail`. With `whole` False the data may end
    anywhere: a follow-up frame has the rest."""
    layout = _layout(identifier, len(data), whole)
    if layout is None or (len(identifier) == DIGITS_OF_1997 and SEPARATOR in data):
        data = _without_separators(identifier, data)
        layout = _layout(identifier, len(data), whole)
    if layout is None:
        return _as_hex(data), []
    if layout.numbers:
        # The usual case, and the fast one: one conversion of all data, cut in its places.
        digits = data[::-1].hex()
        if digits.isdigit():
            values = []
            for name, unit, integer, decimals in layout.numbers:
                text = f"{digits[integer].lstrip('0') or '0'}.{digits[decimals]}"
                values.append(_new(Value, (name, text, unit)))
            return values, []
    return _values_in(layout, data)


def without_separators(data: bytes, width: int) -> bytes:
    """Elements of `width` bytes, without the AA that a meter may send before or behind each."""
    kept = b""
    at = 0
    while at < len(data):
        if data[at] == SEPARATOR:
            at += 1
        kept += data[at : at + width]
        at += width
    return kept


def _values_in(layout: _Layout, data: bytes) -> tuple[list[Value], list[str]]:
    values: list[Value] = []
    errors: list[str] = []
    for place in layout.places:
        try:
            values += _values(place.name, place.field, data[place.start : place.end])
        except FrameError as error:
            errors.append(f"{place.name}: {error}")
    tail = data[layout.end :]
    if tail:
        values.append(Value(TAIL, tail.hex().upper(), "hex"))
    if layout.short:
        errors.append(layout.short)
    return values, errors


@lru_cache(maxsize=4096)
def _layout(identifier: str, length: int, whole: bool) -> _Layout | None:
    """None for an identifier that the table lacks, and for a length that it cannot have."""
    known = meaning(identifier)
    if known is None:
        return None
    # Another vendor may mean something else by the identifier: another length says so.
    if known.is_vendors_own and length != known.record.width:
        return None
    repetitions = _repetitions(known, length)
    if repetitions is None:
        return None
    places, short = _places(known, length, repetitions)
    end = places[-1].end if places else 0
    fills_the_data = end == length and not short
    numbers = _plain_numbers(places, length) if fills_the_data else ()
    return _Layout(tuple(places), end, short if whole else "", numbers)


def _places(known: Meaning, length: int, repetitions: int) -> tuple[list[_Place], str]:
    """The places of the values, and what is wrong when the data end inside one."""
    places: list[_Place] = []
    at = 0
    for name, field in _fields(known, repetitions):
        left = length - at
        width = field.width or left
        if left < max(width, 1):
            return places, f"{name}: {left} bytes, needs {field.width or 'at least 1'}"
        places.append(_Place(name, at, at + width, field))
        at += width
    return places, ""


def _plain_numbers(places: list[_Place], length: int) -> tuple[_Number, ...]:
    """The places as numbers; none when one of them holds something else."""
    if not all(_is_plain_number(place.field) for place in places):
        return ()
    return tuple(_number(place, length) for place in places)


def _is_plain_number(field: Field) -> bool:
    has_both_sides = 0 < field.decimals < 2 * field.width
    return field.kind is Kind.NUMBER and not field.signed and has_both_sides


def _number(place: _Place, length: int) -> _Number:
    # Turned round, the first byte of the data is the last of the text.
    first = 2 * (length - place.end)
    end = 2 * (length - place.start)
    point = end - place.field.decimals
    return _Number(place.name, place.field.unit, slice(first, point), slice(point, end))


def _fields(known: Meaning, repetitions: int) -> Iterator[tuple[str, Field]]:
    """Each field with its name, in wire order."""
    for part in parts_of(known):
        for element in range(repetitions if part.repeats else 1):
            for field in part.record.fields:
                yield part.name(field, element), field


def _repetitions(known: Meaning, length: int) -> int | None:
    """How often the repeating parts of data of that length repeat, the last perhaps cut off.

    None for a length that a block of parts cannot have: the NUMBER of tariffs is the meter's, so
    it follows from L."""
    parts = parts_of(known)
    once = sum(part.record.width for part in parts if not part.repeats)
    each = sum(part.record.width for part in parts if part.repeats)
    if not known.record.parts:
        return max(1, -(-length // each)) if each else 1
    count, rest = divmod(length - once, each)
    return count if count > 0 and not rest else None


def _without_separators(identifier: str, data: bytes) -> bytes:
    """The data without an AA behind each part; unchanged where there is none."""
    known = meaning(identifier)
    if known is None:
        return data
    parts = parts_of(known)
    if len(parts) > 1:
        return _without_separators_of_parts(known, parts, data)
    if known.repeats and known.record.width:
        return without_separators(data, known.record.width)
    return data


def _without_separators_of_parts(known: Meaning, parts: tuple[Meaning, ...], data: bytes) -> bytes:
    # Meters differ in whether an AA stands behind the last part, too.
    for separators in (len(parts), len(parts) - 1):
        count = _repetitions(known, len(data) - separators)
        if count is not None:
            widths = []
            for part in parts:
                repetitions = count if part.repeats else 1
                widths.append(part.record.width * repetitions)
            kept = _cut_out(data, widths)
            if kept is not None:
                return kept
    return data


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
    if not data:
        return []
    return [Value("data", data.hex().upper(), "hex")]


def _values(name: str, field: Field, data: bytes) -> list[Value]:
    # A word of bits may have all of them set; FF is no fill there (rule V02 is about numbers).
    is_word = field.kind in (Kind.BITS, Kind.RAW)
    if not is_word and is_missing(data):
        return [Value(name, None, field.unit)]
    if field.kind is Kind.LOAD:
        return _load_records(name, data)
    value = Value(name, _text(field, data), field.unit)
    if field.kind is Kind.BITS:
        return [value, *_status_bits(name, data)]
    return [value]


def _text(field: Field, data: bytes) -> str:
    match field.kind:
        case Kind.NUMBER:
            return str(decode_bcd(data, field.decimals, signed=field.signed))
        case Kind.BITS:
            return f"0x{digits_of(data)}"
        case Kind.ASCII:
            text = data[::-1].decode("ascii", "backslashreplace")
            return text.strip("\0 ").replace("\0", " ")
        case Kind.RAW:
            return data.hex().upper()
        case Kind.SECRET:
            return "not shown"
    digits = digits_of(data)
    if field.kind is not Kind.HEX and not digits.isdigit():
        raise FrameError(f"not BCD: {digits}")
    return digits


def _status_bits(name: str, data: bytes) -> list[Value]:
    """The bits of a running status word in words; none for any other word of bits."""
    status = re.fullmatch(r"status_word_(\d)", name)
    if status is None:
        return []
    bits = explain(int(status[1]), int.from_bytes(data, "little"))
    return [Value(bit, text, "") for bit, text in bits]


def _load_records(name: str, data: bytes) -> list[Value]:
    values = []
    for number, record in enumerate(decode_load_records(data), 1):
        stored_at = f"{record.stored_at:%y%m%d%H%M}" if record.stored_at else None
        values.append(Value(f"{name}_{number}_time", stored_at, "YYMMDDhhmm"))
        for what, value, unit in record.values:
            text = None if value is None else str(value)
            values.append(Value(f"{name}_{number}_{what}", text, unit))
    return values
