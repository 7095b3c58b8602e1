"""The identifiers of DL/T 645 as tables: `identifiers.csv` for 2007 (8 digits),
`identifiers_1997.csv` for 1997 (4).

One row for each field of an answer, in wire order. Columns: the identifier with its variable parts
in small letters (VARIABLES), the name in English and in Chinese, the unit (for a time: its layout),
the format and how well the row is confirmed; for 1997 also the identifier of the same quantity in
2007. Rows with the same identifier are the fields of one record.

Formats: `XXXXXX.XX` (or N) is a BCD number, two digits to the byte, `±` before it when the top bit
is the sign; `YYMMDDhhmm` and the like a time, `digits6` 6 bytes of plain digits, `hex4` 4 bytes as
they are written, `raw4` 4 bytes as they are sent, `secret4` a password, `bits2` a word of 2 bytes,
`ascii` text to the end, `load` load records, `parts 00 01` a block of other records, with these
DI1. A `*` behind it: the record repeats to the end of the data."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from importlib.resources import files
from typing import Final

from protocols.errors import FrameError

BLOCK: Final = 0xFF
"""In place of a tariff or phase: all of them, as many as the data hold. In 1997 it is the digit
F."""
MEASURED: Final = frozenset({0x00, 0x01, 0x02, 0x03, 0x05, 0x06, 0x1D, 0x1E})
"""DI3 of what a meter measures or records: readable, never written."""
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
"""What a freeze 05 kk was taken for, from kk = 00 on."""
FREEZE_KINDS_CHINESE: Final = (
    "定时",
    "瞬时",
    "时区表切换",
    "日时段表切换",
    "整点",
    "费率电价切换",
    "日",
    "阶梯切换",
)
LOAD_CLASSES: Final = ("", "_class_1", "_class_2", "_class_3", "_class_4", "_class_5", "_class_6")
LOAD_ORDER: Final = ("_earliest", "_since", "_latest")
"""06 cc 00 NN: the earliest record, those since a given time, the latest."""


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
    """The fields of one identifier or family of identifiers, or the patterns of the records it is a
    block of."""

    pattern: str
    fields: tuple[Field, ...]
    repeats: bool
    parts: tuple[str, ...] = ()
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
        return field.name.format_map(self._words(element, _ENGLISH))

    def chinese(self, field: Field, element: int) -> str:
        """Likewise in Chinese, as the standard prints it."""
        return field.chinese.format_map(self._words(element, _CHINESE))

    def _words(self, element: int, language: dict[str, tuple[str, ...] | str]) -> dict[str, str]:
        words = {"ii": _word("ii", element + 1, language), "tt": _word("tt", element, language)}
        for variable, value in self.variables:
            of = VARIABLES[variable]
            words[variable] = _word(
                variable, of.lowest + element if value == of.block else value, language
            )
        return words


@lru_cache(maxsize=4096)
def meaning(identifier: str) -> Meaning | None:
    """What the table says of an identifier (8 hexadecimal digits, or 4 of the 1997 version), or
    None.

    FrameError when it is neither."""
    table, size = (_TABLE_2007, 2) if len(identifier) == 8 else (_TABLE_1997, 1)
    try:
        wanted = [int(part, 16) for part in _parts(identifier, size)]
    except ValueError:
        wanted = []
    if len(wanted) != 4:
        raise FrameError(
            f"identifier {identifier!r} is not 8 hexadecimal digits, nor 4 as in the 1997 version"
        )
    for record in table[identifier[:size].upper()]:
        variables = []
        for part, number in zip(_parts(record.pattern, size), wanted, strict=True):
            variable = VARIABLES.get(part)
            if variable is None and int(part, 16) == number:
                continue
            if variable is None or not variable.takes(number):
                break
            variables.append((part, number))
        else:
            blocks = sum(number == VARIABLES[part].block for part, number in variables)
            return (
                Meaning(record, tuple(variables), record.repeats or blocks > 0)
                if blocks < 2
                else None
            )
    return None


@lru_cache(maxsize=1024)
def chinese_names(identifier: str, elements: int = 64) -> dict[str, str]:
    """Chinese by English name, for the values behind an identifier; empty for one that the table
    lacks."""
    known = meaning(identifier)
    if known is None:
        return {}
    names: dict[str, str] = {}
    for part in parts_of(known):
        for element in range(elements if part.repeats else 1):
            names |= {
                part.name(field, element): part.chinese(field, element)
                for field in part.record.fields
            }
    return names


def parts_of(block: Meaning) -> tuple[Meaning, ...]:
    """The records that a block is made of, in wire order; the record itself when it is none."""
    if not block.record.parts:
        return (block,)
    variables = dict(block.variables)
    found = []
    for pattern in block.record.parts:
        number = "".join(
            f"{variables[part]:02X}" if part in variables else part for part in _parts(pattern, 2)
        )
        if (part := meaning(number)) is None:
            raise AssertionError(f"identifiers.csv: {block.record.pattern}: there is no {number}")
        found.append(part)
    return tuple(found)


def to_1997(identifier: str) -> str | None:
    """The 1997 identifier of the quantity behind one of 2007, None where the 1997 version has none.
    Widths and decimals may differ; the time of a maximum demand is another identifier there (B0,
    B4, B8)."""
    found = meaning(identifier)
    if found is None:
        return None
    wanted = [int(part, 16) for part in _parts(identifier, 2)]
    for record in _MAPPED:
        if (numbers := _match(record.pattern_2007, wanted)) is not None:
            return _fill(record.pattern, numbers)
    return None


def to_2007(identifier: str) -> str | None:
    """The 2007 identifier of the quantity behind one of 1997, None where the table has no
    counterpart."""
    found = meaning(identifier)
    if found is None or not found.record.pattern_2007:
        return None
    numbers = {
        name[0]: BLOCK if number == VARIABLES[name].block else number
        for name, number in found.variables
    }
    return "".join(
        f"{numbers[part[0]]:02X}" if part in VARIABLES else part
        for part in _parts(found.record.pattern_2007, 2)
    )


def records(version: str = "2007") -> list[Record]:
    """All records of the table of a version ("2007" or "1997"), in its order."""
    table = _TABLE_2007 if version == "2007" else _TABLE_1997
    return [record for family in table.values() for record in family]


def _match(pattern: str, wanted: list[int]) -> dict[str, int] | None:
    """The variable parts of a 2007 pattern, by their first letter; None when the identifier is
    another one."""
    numbers = {}
    for part, number in zip(_parts(pattern, 2), wanted, strict=True):
        variable = VARIABLES.get(part)
        if variable is None:
            if int(part, 16) != number:
                return None
        elif variable.takes(number):
            numbers[part[0]] = number
        else:
            return None
    return numbers


def _fill(pattern: str, numbers: dict[str, int]) -> str | None:
    """A 1997 pattern with its variable digits; None when a number has no digit there (tariff 15 and
    above)."""
    digits = ""
    for part in pattern:
        variable = VARIABLES.get(part)
        if variable is None:
            digits += part
            continue
        number = numbers[part]
        if number == BLOCK:
            number = variable.block or 0
        elif number > variable.highest:
            return None
        digits += f"{number:X}"
    return digits


_ENGLISH: Final[dict[str, tuple[str, ...] | str]] = {
    "pp": PHASES,
    "qq": PHASES,
    "kk": FREEZE_KINDS,
    "cc": LOAD_CLASSES,
    "oo": LOAD_ORDER,
    "tt": "_tariff_{}",
    "dd": "_settlement_{}",
    "nn": "_last_{}",
    "hh": "_harmonic_{}",
    "mm": "_{}",
    "ll": "_{}",
    "ii": "_{}",
    "more phases": "_phase_{}",
}
"""The word for each number of a variable part, or a text to put the number in; where there is a
total or a now, 0 has no word."""
_CHINESE: Final[dict[str, tuple[str, ...] | str]] = {
    "pp": ("", "A相", "B相", "C相"),
    "qq": ("总", "A相", "B相", "C相"),
    "kk": FREEZE_KINDS_CHINESE,
    "cc": ("", "第1类", "第2类", "第3类", "第4类", "第5类", "第6类"),
    "oo": ("最早", "给定时间", "最近"),
    "tt": "费率{}",
    "dd": "上{}结算日",
    "nn": "上{}次",
    "hh": "{}次",
    "mm": "{}",
    "ll": "{}",
    "ii": "第{}项",
    "more phases": "第{}相",
}
_SAME_WORDS: Final = {"rr": "tt", "t": "tt", "p": "pp", "q": "qq", "n": "ii"}
_SILENT_AT_ZERO: Final = frozenset(("tt", "dd"))


def _word(variable: str, number: int, language: dict[str, tuple[str, ...] | str]) -> str:
    variable = _SAME_WORDS.get(variable, variable)
    if not number and variable in _SILENT_AT_ZERO:
        return "总" if variable == "tt" and language is _CHINESE else ""
    words = language[variable]
    if isinstance(words, str):
        return words.format(number)
    return words[number] if number < len(words) else str(language["more phases"]).format(number)


def _parts(text: str, size: int) -> list[str]:
    return [text[i : i + size] for i in range(0, len(text), size)]


def _field(row: dict[str, str]) -> Field:
    text = row["format"].rstrip("*")
    name, chinese, unit, source = row["name"], row["chinese"], row["unit"], row["source"]
    if number := re.fullmatch(r"(±?)([XN]+)(?:\.([XN]+))?", text):
        sign, whole, part = number[1], number[2], number[3] or ""
        width = (len(whole) + len(part) + 1) // 2
        return Field(name, chinese, unit, Kind.NUMBER, width, len(part), bool(sign), source)
    if other := re.fullmatch(r"(digits|hex|raw|secret|bits)(\d+)", text):
        return Field(name, chinese, unit, Kind(other[1]), int(other[2]), source=source)
    if text in ("ascii", "load"):
        return Field(name, chinese, unit, Kind(text), 0, source=source)
    if re.fullmatch(r"(YY|MM|DD|WW|hh|mm|ss|NN)+", text):
        return Field(name, chinese, unit, Kind.TIME, len(text) // 2, source=source)
    raise ValueError(f"identifiers: {row['identifier']}: no such format: {row['format']}")


def _read_table(name: str, size: int) -> dict[str, list[Record]]:
    """Records by the first part of their identifier."""
    fields: dict[str, list[Field]] = defaultdict(list)
    repeats: set[str] = set()
    parts: dict[str, tuple[str, ...]] = {}
    in_2007: dict[str, str] = {}
    text = files("protocols.dlt645").joinpath(name).read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        pattern = row["identifier"]
        in_2007[pattern] = row.get("identifier_2007", "")
        if row["format"].startswith("parts "):
            parts[pattern] = tuple(
                f"{pattern[:4]}{part}{pattern[6:]}" for part in row["format"].split()[1:]
            )
            fields[pattern] = []
            continue
        fields[pattern].append(_field(row))
        if row["format"].endswith("*"):
            repeats.add(pattern)
    table: dict[str, list[Record]] = defaultdict(list)
    for pattern, of_record in fields.items():
        record = Record(
            pattern, tuple(of_record), pattern in repeats, parts.get(pattern, ()), in_2007[pattern]
        )
        table[pattern[:size]].append(record)
    return table


_TABLE_2007: Final = _read_table("identifiers.csv", 2)
_TABLE_1997: Final = _read_table("identifiers_1997.csv", 1)
_MAPPED: Final = [record for record in records("1997") if record.pattern_2007]
