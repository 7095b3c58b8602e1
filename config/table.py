"""CSV tables of the archive: read row by row, every mistake with file, line and column."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from config.problems import Problem, did_you_mean

Parse = Callable[[str], Any]
Columns = Mapping[str, tuple[Parse, Any]]
"""Column name -> (parser, default or REQUIRED)."""


class Required:
    """Marks a column that must be there and be filled."""


REQUIRED = Required()


def read_table(
    path: Path, name: str, columns: Columns, problems: list[Problem]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, row) for each good row.

    Bad cells, unknown or missing columns are appended to `problems` and their rows left out.
    """
    try:
        text = path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        problems.append(Problem(name, 1, "file", f"cannot be read: {error.strerror}"))
        return
    with text:
        rows = csv.reader(text)
        try:
            head = [cell.strip() for cell in next(rows, [])]
            if not _head_is_good(head, name, columns, problems):
                return
            for cells in rows:
                if not any(cell.strip() for cell in cells):
                    continue
                row = _row(head, cells, name, rows.line_num, columns, problems)
                if row is not None:
                    yield rows.line_num, row
        except (csv.Error, UnicodeDecodeError) as error:
            problems.append(Problem(name, max(1, rows.line_num), "file", f"is no CSV in UTF-8: {error}"))


def _head_is_good(head: list[str], name: str, columns: Columns, problems: list[Problem]) -> bool:
    before = len(problems)
    for column in head:
        if column not in columns:
            problems.append(Problem(name, 1, column or "(empty)", f"unknown column{did_you_mean(column, columns)}"))
        elif head.count(column) > 1:
            problems.append(Problem(name, 1, column, "stands twice"))
    for column, (_, default) in columns.items():
        if default is REQUIRED and column not in head:
            problems.append(Problem(name, 1, column, "column is missing"))
    return len(problems) == before


def _row(
    head: list[str],
    cells: list[str],
    name: str,
    line: int,
    columns: Columns,
    problems: list[Problem],
) -> dict[str, Any] | None:
    if len(cells) != len(head):
        problems.append(Problem(name, line, "row", f"has {len(cells)} cells, the head has {len(head)}"))
        return None
    row = {column: default for column, (_, default) in columns.items()}
    good = True
    for column, cell in zip(head, cells, strict=True):
        parse, default = columns[column]
        cell = cell.strip()
        if not cell and default is not REQUIRED:
            continue
        try:
            row[column] = parse(cell)
        except (ValueError, ArithmeticError) as error:
            problems.append(Problem(name, line, column, str(error)))
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
    if cell == "999999999999":
        raise ValueError("999999999999 is the broadcast address, no meter has it")
    return cell


def unit(cell: str, line: str) -> str:
    """A Modbus unit, 1 to 247, to the name of the meter: LINE/UNIT."""
    if not (cell.isascii() and cell.isdigit()) or not 1 <= int(cell) <= 247:
        raise ValueError(f'"{cell}" is no Modbus unit (1 to 247)')
    return f"{line}/{int(cell)}"


def day(cell: str) -> date:
    try:
        return date.fromisoformat(cell)
    except ValueError:
        raise ValueError(f'"{cell}" is no date, write 2026-03-01') from None


def positive(cell: str) -> Decimal:
    try:
        value = Decimal(cell)
    except InvalidOperation:
        raise ValueError(f'"{cell}" is no number') from None
    if not value.is_finite() or value <= 0:
        raise ValueError(f"{cell} is not greater than zero")
    return value


def decimals(cell: str) -> int:
    """How many decimals a register has: 0 to 4."""
    if cell not in ("0", "1", "2", "3", "4"):
        raise ValueError(f'"{cell}" is not 0, 1, 2, 3 or 4')
    return int(cell)


def fen(cell: str) -> int:
    """An amount in yuan with at most two decimals, to integer fen."""
    try:
        value = Decimal(cell).scaleb(2)
    except InvalidOperation:
        raise ValueError(f'"{cell}" is no amount in yuan') from None
    if not value.is_finite() or value != int(value):
        raise ValueError(f"{cell} yuan is not a whole number of fen")
    return int(value)


def yes_no(cell: str) -> bool:
    if cell.lower() not in ("yes", "no"):
        raise ValueError(f'"{cell}" is neither yes nor no')
    return cell.lower() == "yes"


def one_of(*choices: str) -> Parse:
    def parse(cell: str) -> str:
        if cell not in choices:
            raise ValueError(f'"{cell}" is not one of {", ".join(choices)}{did_you_mean(cell, choices)}')
        return cell

    return parse
