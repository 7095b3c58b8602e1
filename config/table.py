"""CSV tables of the archive: read row by row, every mistake with file, line and column."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any, Final

from config.problems import Problem, did_you_mean

Parse = Callable[[str], Any]
Columns = Mapping[str, tuple[Parse, Any]]
"""Column name -> (parser, default or REQUIRED)."""


BILLION = 1_000_000_000
OFTEN = 4096
"""Values of a column that stand in many rows: each is parsed once."""
UNITS_OF_RTU: Final = range(1, 248)
"""0 is the broadcast address, those above are reserved."""
UNITS_OF_TCP: Final = range(256)
MOST_RATES: Final = 63
"""DL/T 645-2007 has 63 tariff registers of each energy (table A.1)."""
_RATE_NAME: Final = re.compile(r"[\w-]+")


class Required:
    """Marks a column that must be there and be filled."""


REQUIRED = Required()


@dataclass
class Keys:
    """What stands in the first column of a table, in bad rows too.

    So a bad row is told once, not again by every row that refers to it."""

    seen: set[str] = field(default_factory=set)
    is_complete: bool = False

    def lack(self, key: str) -> bool:
        """True if the whole table was read and no row has this key."""
        return self.is_complete and key not in self.seen


@dataclass
class Mistakes:
    """The mistakes of one table. `line`: of the row that is looked at."""

    file: str
    line: int = 1
    problems: list[Problem] = field(default_factory=list)

    def tell(self, column: str, message: str) -> None:
        """Add a mistake in a column of the row that is looked at."""
        self.problems.append(Problem(self.file, self.line, column, message))


def table_text(path: Path, mistakes: Mistakes) -> bytes | None:
    """The bytes of a table; None, and a mistake, when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        mistakes.tell("file", f"cannot be read: {error.strerror}")
        return None


def read_table(
    text: bytes | None, columns: Columns, mistakes: Mistakes, keys: Keys
) -> Iterator[dict[str, Any]]:
    """Yield each good row; meanwhile `mistakes` stands at its line.

    Bad cells, unknown or missing columns are told and their rows left out. `keys` is filled with
    what stands in the first of `columns`. Nothing of a `text` that is None."""
    if text is None:
        return
    # With or without a byte order mark, as Excel writes CSV.
    with TextIOWrapper(BytesIO(text), encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, strict=True)
        try:
            head = [cell.strip() for cell in next(rows, [])]
            if not _head_is_good(head, columns, mistakes):
                return
            key = head.index(next(iter(columns)))
            defaults = {column: default for column, (_, default) in columns.items()}
            parsers = [(column, *columns[column]) for column in head]
            for cells in rows:
                mistakes.line = rows.line_num
                cells = [cell.strip() for cell in cells]
                if not any(cells):
                    continue
                keys.seen.update(cells[key : key + 1])
                row = _row(cells, parsers, defaults, mistakes)
                if row is not None:
                    yield row
            keys.is_complete = True
        except csv.Error as error:
            mistakes.line = max(1, rows.line_num)
            mistakes.tell("file", f"is no CSV: {error}")
        except UnicodeDecodeError:
            # The reader is ahead of the rows by a block, so its own count says nothing.
            mistakes.line = _first_bad_line(text)
            mistakes.tell("file", "is not written in UTF-8")


def _first_bad_line(text: bytes) -> int:
    for number, line in enumerate(text.split(b"\n"), 1):
        try:
            line.decode()
        except UnicodeDecodeError:
            return number
    return 1


def _head_is_good(head: list[str], columns: Columns, mistakes: Mistakes) -> bool:
    before = len(mistakes.problems)
    for column in head:
        if column not in columns:
            hint = did_you_mean(column, columns)
            mistakes.tell(column or "(empty)", f"unknown column{hint}")
        elif head.count(column) > 1:
            mistakes.tell(column, "stands twice")
    for column, (_, default) in columns.items():
        if default is REQUIRED and column not in head:
            mistakes.tell(column, "column is missing")
    return len(mistakes.problems) == before


def _row(
    cells: list[str],
    parsers: list[tuple[str, Parse, Any]],
    defaults: dict[str, Any],
    mistakes: Mistakes,
) -> dict[str, Any] | None:
    """`parsers`: (column, parser, default) of each cell."""
    if len(cells) != len(parsers):
        mistakes.tell("row", f"has {len(cells)} cells, the head has {len(parsers)}")
        return None
    # Every mistake of a row is told, not only its first.
    row = defaults.copy()
    good = True
    for (column, parse, default), cell in zip(parsers, cells, strict=True):
        if not cell and default is not REQUIRED:
            continue
        try:
            row[column] = parse(cell)
        except (ValueError, ArithmeticError) as error:
            mistakes.tell(column, str(error))
            good = False
    return row if good else None


def word(cell: str) -> str:
    """An identifier: not empty, printable, without blanks at its ends."""
    if not cell or not cell.isprintable():
        raise ValueError(f"{cell!r} is empty or not printable")
    return cell


def address(cell: str) -> str:
    """A DL/T 645 address: 12 digits as printed on the meter."""
    if len(cell) != 12 or not (cell.isascii() and cell.isdigit()):
        raise ValueError(f'"{cell}" is not 12 digits (label on the meter; pad with zeros in front)')
    # 99...99 is for the commands 08 (time) and 16 (freeze); no meter replies to it.
    if cell == "999999999999":
        raise ValueError("999999999999 is the broadcast address, no meter has it")
    return cell


def unit(cell: str, line: str, protocol: str) -> str:
    """A Modbus unit to the name of the meter: LINE/UNIT.

    On a wire 1 to 247. Over TCP a device of its own has 0 or 255 (MODBUS Messaging on TCP/IP
    Implementation Guide V1.0b, 4.4.1.2), and gateways may give their meters any number."""
    units = UNITS_OF_TCP if protocol == "modbus-tcp" else UNITS_OF_RTU
    if not (cell.isascii() and cell.isdigit()) or int(cell) not in units:
        raise ValueError(f'"{cell}" is no {protocol} unit ({units[0]} to {units[-1]})')
    return f"{line}/{int(cell)}"


@lru_cache(OFTEN)
def day(cell: str) -> date:
    """A local date, as ISO 8601 writes it."""
    try:
        return date.fromisoformat(cell)
    except ValueError:
        raise ValueError(f'"{cell}" is no date, write 2026-03-01') from None


@lru_cache(OFTEN)
def positive(cell: str) -> Decimal:
    """A number above zero of a size that can be meant: at most a billion, at most 8 decimals."""
    try:
        value = Decimal(cell)
    except InvalidOperation:
        raise ValueError(f'"{cell}" is no number') from None
    if not value.is_finite() or value <= 0:
        raise ValueError(f"{cell} is not greater than zero")
    exponent = value.as_tuple().exponent
    if value > BILLION or not isinstance(exponent, int) or exponent < -8:
        raise ValueError(f"{cell} is out of reason: at most {BILLION}, with at most 8 decimals")
    return value


@lru_cache(OFTEN)
def rate_names(cell: str) -> tuple[str, ...]:
    """Names of rate registers with blanks between them, in the order of their numbers."""
    names = tuple(cell.split())
    for name in names:
        if name == "total" or not _RATE_NAME.fullmatch(name):
            raise ValueError(
                f'"{name}" is no name of a rate register: letters, digits, _ and -, as "peak"'
            )
        if names.count(name) > 1:
            raise ValueError(f"{name} stands twice")
    if len(names) > MOST_RATES:
        raise ValueError(f"{len(names)} rates; a meter has at most {MOST_RATES}")
    return names


def phases(cell: str) -> int:
    """How many phases a connection has."""
    if cell not in ("1", "3"):
        raise ValueError(f'"{cell}" is neither 1 nor 3')
    return int(cell)


def decimals(cell: str) -> int:
    """How many decimals a register has: 0 to 4."""
    if cell not in ("0", "1", "2", "3", "4"):
        raise ValueError(f'"{cell}" is not 0, 1, 2, 3 or 4')
    return int(cell)


@lru_cache(OFTEN)
def fen(cell: str) -> int:
    """An amount in yuan with at most two decimals, to integer fen."""
    try:
        value = Decimal(cell)
    except InvalidOperation:
        raise ValueError(f'"{cell}" is no amount in yuan') from None
    if not value.is_finite() or abs(value) > BILLION:
        raise ValueError(f"{cell} yuan is out of reason")
    if value.scaleb(2) != int(value.scaleb(2)):
        raise ValueError(f"{cell} yuan is not a whole number of fen")
    return int(value.scaleb(2))


def text(cell: str) -> str:
    """Anything that can be printed; may be empty."""
    if not cell.isprintable():
        raise ValueError(f"{cell!r} holds characters that cannot be printed")
    return cell


def yes_no(cell: str) -> bool:
    """The words yes and no, in any case."""
    if cell.lower() not in ("yes", "no"):
        raise ValueError(f'"{cell}" is neither yes nor no')
    return cell.lower() == "yes"


def one_of(*choices: str) -> Parse:
    """A parser that takes these words and no other."""

    def parse(cell: str) -> str:
        if cell not in choices:
            raise ValueError(
                f'"{cell}" is not one of {", ".join(choices)}{did_you_mean(cell, choices)}'
            )
        return cell

    return parse
