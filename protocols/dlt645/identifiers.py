"""The identifiers of DL/T 645-2007 as a table: `identifiers.csv`, one row for each field of an answer, in wire order.

Columns: the identifier with its variable bytes in small letters (VARIABLE_BYTES), the name, the unit (for a time: its
layout), the format and how well the row is confirmed. Rows with the same identifier are the fields of one record.

Formats: `XXXXXX.XX` (or N) is a BCD number, two digits to the byte, `±` before it when the top bit is the sign;
`YYMMDDhhmm` and the like a time, `digits6` 6 bytes of plain digits, `hex4` 4 bytes as they are, `bits2` a word of
2 bytes, `ascii` text to the end. A `*` behind it: the record repeats to the end of the data.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from importlib.resources import files
from typing import Final

BLOCK: Final = 0xFF
"""In place of a tariff or phase: all of them, as many as the data hold."""
PHASES: Final = ("", "_a", "_b", "_c")
FREEZE_KINDS: Final = (
    "scheduled",
    "instant",
    "time_zone_switch",
    "day_slot_switch",
    "hourly",
    "price_switch",
    "daily",
    "ladder_switch",
)


@dataclass(frozen=True, slots=True)
class VariableByte:
    """What a byte of an identifier may be. A block starts with element `lowest`."""

    lowest: int
    highest: int
    has_block: bool = False

    def takes(self, byte: int) -> bool:
        """True for a value this byte may have."""
        return self.lowest <= byte <= self.highest or (self.has_block and byte == BLOCK)


VARIABLE_BYTES: Final = {
    "tt": VariableByte(0, 63, has_block=True),  # tariff, 0 = total
    "rr": VariableByte(1, 63, has_block=True),  # tariff without total
    "pp": VariableByte(1, 3, has_block=True),  # phase
    "qq": VariableByte(0, 3, has_block=True),  # phase, 0 = total
    "dd": VariableByte(0, 12),  # settlement day, 0 = now
    "kk": VariableByte(0, len(FREEZE_KINDS) - 1),  # what the freeze was taken for
    "mm": VariableByte(1, 254),  # the number of a table
    "nn": VariableByte(1, 254),  # the how many-th last
}


class Kind(Enum):
    """How the bytes of a field are to be read."""

    NUMBER = "number"
    TIME = "time"
    DIGITS = "digits"
    HEX = "hex"
    BITS = "bits"
    ASCII = "ascii"


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """One field of a record. `width` is in bytes, 0 for all that is left."""

    name: str
    unit: str
    kind: Kind
    width: int
    decimals: int = 0
    signed: bool = False
    source: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """The fields of one identifier or family of identifiers."""

    pattern: str
    fields: tuple[Field, ...]
    repeats: bool


@dataclass(frozen=True, slots=True, eq=False)
class Meaning:
    """A record with the variable bytes of one identifier filled in."""

    record: Record
    variables: tuple[tuple[str, int], ...]

    repeats: bool
    """True when the data hold as many elements as the meter has."""

    @lru_cache(maxsize=65_536)  # noqa: B019  a meaning lives as long as the table
    def name(self, field: Field, element: int) -> str:
        """The name of a field in the `element`-th repetition, counted from 0."""
        words = {"ii": f"_{element + 1}", "tt": _tariff(element)}
        for variable, value in self.variables:
            number = VARIABLE_BYTES[variable].lowest + element if value == BLOCK else value
            words[variable] = _words(variable, number)
        return field.name.format_map(words)


@lru_cache(maxsize=4096)
def meaning(identifier: str) -> Meaning | None:
    """What the table says of an identifier (8 hexadecimal digits), or None."""
    wanted = bytes.fromhex(identifier)
    for record in _RECORDS[identifier[:2].upper()]:
        variables = []
        for pair, byte in zip(_pairs(record.pattern), wanted, strict=True):
            variable = VARIABLE_BYTES.get(pair)
            if variable is None and int(pair, 16) == byte:
                continue
            if variable is None or not variable.takes(byte):
                break
            variables.append((pair, byte))
        else:
            return Meaning(record, tuple(variables), record.repeats or any(byte == BLOCK for _, byte in variables))
    return None


def _words(variable: str, number: int) -> str:
    if variable in ("tt", "rr"):
        return _tariff(number)
    if variable in ("pp", "qq"):
        return PHASES[number] if number < len(PHASES) else f"_phase_{number}"
    if variable == "kk":
        return FREEZE_KINDS[number]
    if variable == "dd":
        return f"_settlement_{number}" if number else ""
    return f"_{number}" if variable == "mm" else f"_last_{number}"


def _tariff(number: int) -> str:
    return f"_tariff_{number}" if number else ""


def _pairs(pattern: str) -> list[str]:
    return [pattern[i : i + 2] for i in range(0, 8, 2)]


def _field(row: dict[str, str]) -> Field:
    text = row["format"].rstrip("*")
    name, unit, source = row["name"], row["unit"], row["source"]
    if number := re.fullmatch(r"(±?)([XN]+)(?:\.([XN]+))?", text):
        sign, whole, part = number[1], number[2], number[3] or ""
        return Field(name, unit, Kind.NUMBER, (len(whole) + len(part)) // 2, len(part), bool(sign), source)
    if other := re.fullmatch(r"(digits|hex|bits)(\d+)", text):
        return Field(name, unit, Kind(other[1]), int(other[2]), source=source)
    if text == "ascii":
        return Field(name, unit, Kind.ASCII, 0, source=source)
    if re.fullmatch(r"(YY|MM|DD|WW|hh|mm|ss|NN)+", text):
        return Field(name, unit, Kind.TIME, len(text) // 2, source=source)
    raise ValueError(f"identifiers.csv: {row['identifier']}: no such format: {row['format']}")


def _read_table() -> dict[str, list[Record]]:
    fields: dict[str, list[Field]] = defaultdict(list)
    repeats: set[str] = set()
    table = files("protocols.dlt645").joinpath("identifiers.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(table.splitlines()):
        fields[row["identifier"]].append(_field(row))
        if row["format"].endswith("*"):
            repeats.add(row["identifier"])
    records: dict[str, list[Record]] = defaultdict(list)
    for pattern, of_record in fields.items():
        records[pattern[:2]].append(Record(pattern, tuple(of_record), pattern in repeats))
    return records


_RECORDS: Final = _read_table()
