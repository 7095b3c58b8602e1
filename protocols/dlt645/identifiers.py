"""The identifiers of DL/T 645 as tables.

`identifiers.csv` is for 2007 (8 digits), `identifiers_1997.csv` for 1997 (4). One row for each
field of an answer, in wire order. Columns: the identifier with its variable parts in small letters
(VARIABLES), the name in English and in Chinese, the unit (for a time: its layout), the format and
how well the row is confirmed; for 1997 also the identifier of the same quantity in 2007. Rows with
the same identifier are the fields of one record.

Formats: `XXXXXX.XX` (or N) is a BCD number, two digits to the byte, `±` before it when the top bit
is the sign; `YYMMDDhhmm` and the like a time, `digits6` 6 bytes of plain digits, `hex4` 4 bytes as
they are written, `raw4` 4 bytes as they are sent, `secret4` a password, `bits2` a word of 2 bytes,
`ascii` text to the end, `load` load records, `parts 00 01` a block of other records, with these
DI1. A `*` behind it: the record repeats to the end of the data."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final

from protocols.dlt645.identifier_words import (
    CHINESE,
    ENGLISH,
    FREEZE_KINDS,
    LOAD_CLASSES,
    LOAD_ORDER,
    Language,
    word,
)
from protocols.errors import FrameError

BLOCK: Final = 0xFF
"""In place of a tariff or phase: all of them, as many as the data hold. In 1997 it is the digit
F."""
MEASURED: Final = frozenset({0x00, 0x01, 0x02, 0x03, 0x05, 0x06, 0x1D, 0x1E})
"""DI3 of what a meter measures or records: readable, never written."""


@dataclass(frozen=True, slots=True)
class Variable:
    """What a variable part of an identifier may be. A block starts with element `lowest`."""

    lowest: int
    highest: int
    block: int | None = None

    def takes(self, number: int) -> bool:
        """True for a value this part may have."""
        return self.lowest <= number <= self.highest or number == self.block


VARIABLES: Final = {
    "tt": Variable(0, 63, BLOCK),  # tariff, 0 = total
    "rr": Variable(1, 63, BLOCK),  # tariff without total
    "ll": Variable(1, 63, BLOCK),  # step of a ladder
    "pp": Variable(1, 3, BLOCK),  # phase
    "qq": Variable(0, 3, BLOCK),  # phase, 0 = total
    "hh": Variable(1, 21, BLOCK),  # harmonic
    "dd": Variable(0, 12, BLOCK),  # settlement day, 0 = now
    "kk": Variable(0, len(FREEZE_KINDS) - 1),  # what the freeze was taken for
    "cc": Variable(0, len(LOAD_CLASSES) - 1),  # class of load records, 0 = all
    "oo": Variable(0, len(LOAD_ORDER) - 1),  # which load records
    "mm": Variable(1, 254),  # the number of a table
    "nn": Variable(1, 254),  # the how many-th last
    "t": Variable(0, 14, 0xF),  # 1997: tariff, 0 = total
    "p": Variable(1, 3, 0xF),  # 1997: phase
    "q": Variable(0, 3, 0xF),  # 1997: phase, 0 = total
    "n": Variable(1, 14, 0xF),  # 1997: the number of an entry
}


class Kind(Enum):
    """How the bytes of a field are to be read."""

    NUMBER = "number"
    TIME = "time"
    DIGITS = "digits"
    HEX = "hex"
    RAW = "raw"
    SECRET = "secret"  # noqa: S105
    BITS = "bits"
    ASCII = "ascii"
    LOAD = "load"


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """One field of a record. `width` is in bytes, 0 for all that is left."""

    name: str
    chinese: str
    unit: str
    kind: Kind
    width: int
    decimals: int = 0
    signed: bool = False
    source: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """The fields of one identifier or family of identifiers, or the parts of a block."""

    pattern: str
    fields: tuple[Field, ...]
    repeats: bool
    parts: tuple[str, ...] = ()
    """The patterns of the records that a block is made of."""
    pattern_2007: str = ""
    """The same quantity in the 2007 table, for a record of 1997."""

    @property
    def width(self) -> int:
        """Bytes of one repetition."""
        return sum(field.width for field in self.fields)


@dataclass(frozen=True, slots=True, eq=False)
class Meaning:
    """A record with the variable parts of one identifier filled in."""

    record: Record
    variables: tuple[tuple[str, int], ...]
    repeats: bool
    """True when the data hold as many elements as the meter has."""

    @property
    def is_vendors_own(self) -> bool:
        """Not of the standard: other vendors may mean something else by it."""
        return any(field.source.startswith("1 vendor") for field in self.record.fields)

    def name(self, field: Field, element: int) -> str:
        """The name of a field in the `element`-th repetition, counted from 0."""
        return field.name.format_map(self._words(element, ENGLISH))

    def chinese(self, field: Field, element: int) -> str:
        """Likewise in Chinese, as the standard prints it."""
        return field.chinese.format_map(self._words(element, CHINESE))

    def _words(self, element: int, language: Language) -> dict[str, str]:
        # A record that repeats without a variable part numbers its elements by ii, from 1, or by
        # tariff, from the total.
        words = {
            "ii": word("ii", element + 1, language),
            "tt": word("tt", element, language),
        }
        for name, value in self.variables:
            variable = VARIABLES[name]
            number = variable.lowest + element if value == variable.block else value
            words[name] = word(name, number, language)
        return words


@lru_cache(maxsize=4096)
def meaning(identifier: str) -> Meaning | None:
    """What the table says of an identifier (8 hexadecimal digits, or 4 of the 1997 version).

    None for one that the table lacks; FrameError when it is neither."""
    numbers = _numbers(identifier)
    version, size = ("2007", 2) if len(identifier) == 8 else ("1997", 1)
    for record in _table(version).get(identifier[:size].upper(), ()):
        variables = _match(_parts(record.pattern, size), numbers)
        if variables is not None:
            blocks = sum(number == VARIABLES[part].block for part, number in variables)
            # Two blocks at once: in which order their elements would come is not known.
            if blocks > 1:
                return None
            return Meaning(record, tuple(variables), record.repeats or blocks > 0)
    return None


@lru_cache(maxsize=1024)
def chinese_names(identifier: str, elements: int = 64) -> dict[str, str]:
    """Chinese by English name, for the values behind an identifier.

    Empty for an identifier that the table lacks."""
    known = meaning(identifier)
    if known is None:
        return {}
    names: dict[str, str] = {}
    for part in parts_of(known):
        for element in range(elements if part.repeats else 1):
            for field in part.record.fields:
                names[part.name(field, element)] = part.chinese(field, element)
    return names


def parts_of(block: Meaning) -> tuple[Meaning, ...]:
    """The records that a block is made of, in wire order; the record itself when it is none."""
    if not block.record.parts:
        return (block,)
    variables = dict(block.variables)
    found = []
    for pattern in block.record.parts:
        identifier = ""
        for part in _parts(pattern, 2):
            identifier += f"{variables[part]:02X}" if part in variables else part
        known = meaning(identifier)
        if known is None:
            raise AssertionError(
                f"identifiers.csv: {block.record.pattern}: there is no {identifier}"
            )
        found.append(known)
    return tuple(found)


def to_1997(identifier: str) -> str | None:
    """The 1997 identifier of the quantity behind one of 2007, None where there is none.

    Widths and decimals may differ; the time of a maximum demand is another identifier there (B0,
    B4, B8)."""
    if meaning(identifier) is None:
        return None
    numbers = _numbers(identifier)
    for record in _mapped():
        variables = _match(_parts(record.pattern_2007, 2), numbers)
        if variables is not None:
            # A part has the same first letter in both tables: tt and t.
            numbers_by_letter = {part[0]: number for part, number in variables}
            return _fill(record.pattern, numbers_by_letter)
    return None


def to_2007(identifier: str) -> str | None:
    """The 2007 identifier of the quantity behind one of 1997.

    None where the table has no counterpart."""
    found = meaning(identifier)
    if found is None or not found.record.pattern_2007:
        return None
    numbers = {}
    for name, number in found.variables:
        is_block = number == VARIABLES[name].block
        numbers[name[0]] = BLOCK if is_block else number
    digits = ""
    for part in _parts(found.record.pattern_2007, 2):
        digits += f"{numbers[part[0]]:02X}" if part in VARIABLES else part
    return digits


def records(version: str = "2007") -> list[Record]:
    """All records of the table of a version ("2007" or "1997"), in its order."""
    return [record for family in _table(version).values() for record in family]


def _numbers(identifier: str) -> list[int]:
    """The four bytes of a 2007 identifier, the four digits of one of 1997."""
    size = 2 if len(identifier) == 8 else 1
    try:
        numbers = [int(part, 16) for part in _parts(identifier, size)]
    except ValueError:
        numbers = []
    if len(numbers) != 4:
        raise FrameError(
            f"identifier {identifier!r} is not 8 hexadecimal digits, nor 4 as in the 1997 version"
        )
    return numbers


def _match(pattern: list[str], numbers: list[int]) -> list[tuple[str, int]] | None:
    """The variable parts of a pattern with their numbers; None when it is another identifier's."""
    variables = []
    for part, number in zip(pattern, numbers, strict=True):
        variable = VARIABLES.get(part)
        if variable is None:
            if int(part, 16) != number:
                return None
        elif variable.takes(number):
            variables.append((part, number))
        else:
            return None
    return variables


def _fill(pattern: str, numbers: dict[str, int]) -> str | None:
    """A 1997 pattern with its variable digits; None when a number has no digit there."""
    digits = ""
    for part in pattern:
        variable = VARIABLES.get(part)
        if variable is None:
            digits += part
            continue
        number = numbers[part]
        if number == BLOCK:
            number = variable.block or 0
        elif number > variable.highest:  # tariff 15 and above
            return None
        digits += f"{number:X}"
    return digits


def _parts(text: str, size: int) -> list[str]:
    return [text[i : i + size] for i in range(0, len(text), size)]


def _field(row: dict[str, str]) -> Field:
    text = row["format"].rstrip("*")
    number = re.fullmatch(r"(?P<sign>±?)(?P<whole>[XN]+)(?:\.(?P<part>[XN]+))?", text)
    if number:
        decimals = len(number["part"] or "")
        digits = len(number["whole"]) + decimals
        # Half a byte is sent as a whole one.
        return _new_field(
            row,
            Kind.NUMBER,
            (digits + 1) // 2,
            decimals=decimals,
            signed=bool(number["sign"]),
        )
    other = re.fullmatch(r"(?P<kind>digits|hex|raw|secret|bits)(?P<width>\d+)", text)
    if other:
        return _new_field(row, Kind(other["kind"]), int(other["width"]))
    if text in ("ascii", "load"):
        return _new_field(row, Kind(text), 0)
    if re.fullmatch(r"(YY|MM|DD|WW|hh|mm|ss|NN)+", text):
        return _new_field(row, Kind.TIME, len(text) // 2)
    raise ValueError(f"identifiers: {row['identifier']}: no such format: {row['format']}")


def _new_field(
    row: dict[str, str],
    kind: Kind,
    width: int,
    *,
    decimals: int = 0,
    signed: bool = False,
) -> Field:
    return Field(
        name=row["name"],
        chinese=row["chinese"],
        unit=row["unit"],
        kind=kind,
        width=width,
        decimals=decimals,
        signed=signed,
        source=row["source"],
    )


@cache
def _table(version: str) -> Mapping[str, list[Record]]:
    """Records by the first part of their identifier. Who never meets a version never reads it."""
    name, size = ("identifiers.csv", 2) if version == "2007" else ("identifiers_1997.csv", 1)
    rows: dict[str, list[dict[str, str]]] = defaultdict(list)
    text = files("protocols.dlt645").joinpath(name).read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        rows[row["identifier"]].append(row)
    table: dict[str, list[Record]] = defaultdict(list)
    for pattern, of_record in rows.items():
        table[pattern[:size]].append(_record(pattern, of_record))
    return dict(table)


@cache
def _mapped() -> list[Record]:
    """The records of 1997 that have a counterpart in 2007."""
    return [record for record in records("1997") if record.pattern_2007]


def _record(pattern: str, rows: list[dict[str, str]]) -> Record:
    """The record of the rows with one pattern: its fields, or the one row of a block of parts."""
    last = rows[-1]
    parts: tuple[str, ...] = ()
    fields: tuple[Field, ...] = ()
    if last["format"].startswith("parts "):
        parts = tuple(f"{pattern[:4]}{part}{pattern[6:]}" for part in last["format"].split()[1:])
    else:
        fields = tuple(_field(row) for row in rows)
    return Record(
        pattern=pattern,
        fields=fields,
        repeats=any(row["format"].endswith("*") for row in rows),
        parts=parts,
        pattern_2007=last.get("identifier_2007", ""),
    )
