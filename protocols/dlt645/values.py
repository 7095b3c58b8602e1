"""The data behind an identifier, told as named values with their units."""

from __future__ import annotations

import re
from dataclasses import dataclass

from protocols.dlt645.bcd import decode_bcd, is_missing
from protocols.dlt645.identifiers import Field, Kind, meaning
from protocols.dlt645.status import explain
from protocols.errors import FrameError


@dataclass(frozen=True, slots=True)
class Value:
    """One value as text: decimals as the meter sends them ("0.00"), a time in the digits of its layout, which is then
    the unit. None where the meter has no data."""

    name: str
    value: str | None
    unit: str


def decode_values(identifier: str, data: bytes) -> list[Value]:
    """The values behind an identifier (8 hexadecimal digits). FrameError on data that do not fit its format.

    An identifier that the table lacks gives its bytes as one value `data` with the unit "hex", bytes behind the last
    field as `undecoded_tail`.
    """
    values, wrong = try_values(identifier, data)
    if wrong:
        raise FrameError(f"{identifier}: {wrong[0]}")
    return values


def try_values(identifier: str, data: bytes, *, whole: bool = True) -> tuple[list[Value], list[str]]:
    """Like `decode_values`, but gives the good values together with what is wrong with the others.

    With `whole` False the data may end anywhere: a follow-up frame has the rest.
    """
    known = meaning(identifier)
    if known is None:
        return ([Value("data", data.hex().upper(), "hex")] if data else []), []
    values: list[Value] = []
    wrong: list[str] = []
    at = element = 0
    while True:
        for field in known.record.fields:
            part = data[at : at + field.width] if field.width else data[at:]
            name = known.name(field, element)
            if len(part) < max(field.width, 1):
                short = f"{name}: {len(part)} bytes, needs {field.width or 'at least 1'}"
                return _with_tail(values, part), [*wrong, short] if whole else wrong
            at += len(part)
            try:
                values += _values(name, field, part)
            except FrameError as error:
                wrong.append(f"{name}: {error}")
        element += 1
        if not known.repeats or at == len(data):
            return _with_tail(values, data[at:]), wrong


def _with_tail(values: list[Value], tail: bytes) -> list[Value]:
    return [*values, Value("undecoded_tail", tail.hex().upper(), "hex")] if tail else values


def _values(name: str, field: Field, data: bytes) -> list[Value]:
    if is_missing(data) and field.kind is not Kind.BITS:
        return [Value(name, None, field.unit)]
    if field.kind is Kind.NUMBER:
        return [Value(name, str(decode_bcd(data, field.decimals, signed=field.signed)), field.unit)]
    if field.kind is Kind.BITS:
        word = int.from_bytes(data, "little")
        status = re.fullmatch(r"status_word_(\d)", name)
        bits = explain(int(status[1]), word) if status else []
        told = Value(name, f"0x{word:0{2 * len(data)}X}", field.unit)
        return [told, *(Value(bit, text, "") for bit, text in bits)]
    if field.kind is Kind.ASCII:
        text = data[::-1].decode("ascii", "backslashreplace").strip("\0 ")
        return [Value(name, text.replace("\0", " "), field.unit)]
    digits = data[::-1].hex().upper()
    if field.kind is not Kind.HEX and not digits.isdigit():
        raise FrameError(f"not BCD: {digits}")
    return [Value(name, digits, field.unit)]
