"""CSV tables of the archive: read row by row, every mistake with file, line and column."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO, TextIOWrapper
from itertools import chain, islice
from typing import Any, Final, TextIO

from config.problems import Mistakes, did_you_mean
from config.table_text import (
    SEPARATORS,
    column_name,
    encoding_of,
    separator_of,
    told_separator,
)

Parse = Callable[[str], Any]
Columns = Mapping[str, tuple[Parse, Any]]
"""Column name -> (parser, default or REQUIRED)."""
MISSPELT: Final = 0.75
"""So like a known column that it is meant, not a further one."""
EMPTY: Final = " \r\n" + "".join(SEPARATORS)
"""What a line without anything in it consists of."""
MOST_ABOVE_THE_HEAD: Final = 20
"""Lines of a title."""


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


def read_table(
    data: bytes | None, columns: Columns, mistakes: Mistakes, keys: Keys
) -> Iterator[dict[str, Any]]:
    """Yield each good row; meanwhile `mistakes` stands at its line.

    Bad cells and missing columns are told and their rows left out; a further column is a warning,
    unless it looks like a known one that is misspelt. `keys` is filled with what stands in the
    first of `columns`. Nothing of `data` that is None."""
    encoding = None if data is None else encoding_of(data, mistakes)
    if data is None or encoding is None:
        return
    with TextIOWrapper(BytesIO(data), encoding=encoding, newline="") as file:
        above, first = _first_line(file)
        separator = told_separator(first)
        if separator is None:
            separator = separator_of(first, columns)
        else:
            above += 1
            first = file.readline()
        rows = csv.reader(chain([first], file), delimiter=separator, strict=True)
        try:
            head = _trimmed([column_name(cell) for cell in next(rows, [])])
            mistakes.line = 1 + above
            if columns.keys().isdisjoint(head):
                _tell_no_head(rows, above, columns, mistakes)
                return
            if not _head_is_good(head, columns, mistakes):
                return
            key = head.index(next(iter(columns)))
            defaults = {column: default for column, (_, default) in columns.items()}
            parsers = [(column, *columns.get(column, (None, None))) for column in head]
            for cells in rows:
                mistakes.line = rows.line_num + above
                cells = [cell.strip() for cell in cells]
                if not any(cells):
                    continue
                keys.seen.update(cells[key : key + 1])
                row = _row(cells, parsers, defaults, mistakes)
                if row is not None:
                    yield row
            keys.is_complete = True
        except csv.Error as error:
            mistakes.line = max(1, rows.line_num) + above
            mistakes.tell("file", f"is no CSV: {error}{_where_it_began(data, encoding, error)}")


def _first_line(file: TextIO) -> tuple[int, str]:
    """The first line with anything in it, and how many are above it."""
    above = 0
    first = file.readline()
    while first and not first.strip(EMPTY):
        above += 1
        first = file.readline()
    return above, first


def _tell_no_head(
    rows: Iterable[list[str]], above: int, columns: Columns, mistakes: Mistakes
) -> None:
    """The line that should name the columns names none of them: a title, a row, another file."""
    needed = [column for column, (_, default) in columns.items() if default is REQUIRED]
    for number, cells in enumerate(islice(rows, MOST_ABOVE_THE_HEAD), above + 2):
        if not columns.keys().isdisjoint(map(column_name, cells)):
            mistakes.tell("head", f"stands in line {number}: remove what is above it")
            return
    mistakes.tell(
        "head", f"the first line names none of the columns; it has to name {', '.join(needed)}"
    )


def _trimmed(cells: list[str]) -> list[str]:
    """Without the empty cells at the end, which spreadsheets write for columns once used."""
    last = len(cells)
    while last and not cells[last - 1]:
        last -= 1
    return cells[:last]


def _where_it_began(data: bytes, encoding: str, error: csv.Error) -> str:
    """Where a quotation that never ends was opened: the reader is at the end of the file then."""
    if "unexpected end" not in str(error):
        return ""
    for number, line in enumerate(data.decode(encoding, "replace").splitlines(), 1):
        if line.count('"') % 2:
            return f": a quotation mark is opened in line {number} and never closed"
    return ""


def _head_is_good(head: list[str], columns: Columns, mistakes: Mistakes) -> bool:
    before = len(mistakes.problems)
    for column in dict.fromkeys(head):
        if head.count(column) > 1:
            mistakes.tell(column or "(empty)", "stands twice")
        if column not in columns:
            # One that is there already is not meant once more.
            lacking = [known for known in columns if known not in head]
            hint = did_you_mean(column, lacking, MISSPELT)
            if hint:
                mistakes.tell(column, f"unknown column{hint}")
            else:
                mistakes.warn(column or "(empty)", "unknown column, it is not read")
    for column, (_, default) in columns.items():
        if default is REQUIRED and column not in head:
            mistakes.tell(column, "column is missing")
    return len(mistakes.problems) == before


def _row(
    cells: list[str],
    parsers: list[tuple[str, Parse | None, Any]],
    defaults: dict[str, Any],
    mistakes: Mistakes,
) -> dict[str, Any] | None:
    """`parsers`: (column, parser, default) of each cell; no parser for a further column."""
    if len(cells) != len(parsers):
        cells = _trimmed(cells)
        if len(cells) > len(parsers):
            mistakes.tell("row", f"has {len(cells)} cells, the head has {len(parsers)}")
            return None
        # Excel leaves out the empty cells at the end of a row.
        cells += [""] * (len(parsers) - len(cells))
    # Every mistake of a row is told, not only its first.
    row = defaults.copy()
    good = True
    for (column, parse, default), cell in zip(parsers, cells, strict=True):
        if parse is None or (not cell and default is not REQUIRED):
            continue
        try:
            row[column] = parse(cell)
        except (ValueError, ArithmeticError) as error:
            mistakes.tell(column, str(error), cell)
            good = False
    return row if good else None
