"""The text of a table as people have it: in which letters, parted by what, or in a workbook.

Spreadsheets save CSV in the letters and with the separator of their country."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Collection, Iterator, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from errno import ENOENT
from io import BytesIO, StringIO
from pathlib import Path
from typing import Final
from zipfile import ZipFile

from config.bounded_file import MOST_TABLE_BYTES, read_file
from config.problems import Mistakes, did_you_mean

UTF8: Final = "utf-8-sig"
"""With or without a byte order mark, as Excel writes it."""
CHINESE: Final = "gb18030"
"""GBK and more: what Excel saves CSV in on a Chinese Windows."""
UTF16_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
SEPARATORS: Final = (",", ";", "\t", "|")
WORKBOOK: Final = ".xlsx"
OF_PROGRAMS: Final = "~."
"""What the names of files begin with that programs keep beside an open one."""
VISIBLE: Final = "visible"
OTHER_FILES: Final = {
    b"PK\x03\x04": "is a workbook of Excel (XLSX): name it so, with .xlsx, or save it as CSV UTF-8",
    b"\xd0\xcf\x11\xe0": "is a workbook of an old Excel (XLS): save it as XLSX or as CSV UTF-8",
    b"<": "is a page (HTML) or XML, no CSV: open it in a spreadsheet and save it as CSV UTF-8",
}
"""What people name .csv all the same, by its first bytes."""
MOST_WORKBOOK_BYTES: Final = 512 * 1024 * 1024
"""Of a workbook when it is unpacked: a million rows have about 300 MB."""
MOST_CELLS: Final = 50_000_000
"""A single cell far to the right makes many empty ones before it."""
SHOWN_CHARACTERS: Final = 20


def table_file(path: Path) -> Path:
    """The file that a table is read from: the workbook in its place where there is no CSV."""
    workbook = path.with_suffix(WORKBOOK)
    return workbook if workbook.exists() and not path.exists() else path


def table_bytes(path: Path, mistakes: Mistakes) -> bytes | None:
    """The bytes of a CSV table, or of the workbook that is there in its place, as CSV.

    None, and a mistake, when it cannot be read."""
    workbook = path.with_suffix(WORKBOOK)
    try:
        if table_file(path) == workbook:
            return _workbook_as_csv(workbook, mistakes)
        if path.exists() and workbook.exists():
            mistakes.tell("file", f"{workbook.name} is there too: which one counts? Remove one")
            return None
        return read_file(path, MOST_TABLE_BYTES)
    except OSError as error:
        hint = did_you_mean(path.name, _called_alike(path), 0) if error.errno == ENOENT else ""
        mistakes.tell("file", f"cannot be read: {error.strerror}{hint}")
        return None


def _called_alike(path: Path) -> list[str]:
    """Meters.CSV, meters.csv.txt and meters.xls beside a meters.csv that is not there."""
    try:
        names = [file.name for file in path.parent.iterdir() if file.name[0] not in OF_PROGRAMS]
    except OSError:  # there is no such folder, or it may not be listed
        return []
    return [name for name in names if path.stem.lower() in name.lower()]


def encoding_of(data: bytes, mistakes: Mistakes) -> str | None:
    """The letters of a table; None, and a mistake at its line, when they are none that is known."""
    for beginning, told in OTHER_FILES.items():
        if data.startswith(beginning):
            mistakes.tell("file", told)
            return None
    if data.startswith(UTF16_MARKS):
        return _if_readable(data, "utf-16", mistakes)
    # UTF-16 without a mark: every other byte of plain letters is 0.
    if data[1:4:2] == b"\0\0":
        return _if_readable(data, "utf-16-le", mistakes)
    if data[:3:2] == b"\0\0":
        return _if_readable(data, "utf-16-be", mistakes)
    try:
        data.decode(UTF8)
    except UnicodeDecodeError as error:
        return _if_chinese(data, error.start, mistakes)
    return UTF8


def _if_readable(data: bytes, encoding: str, mistakes: Mistakes) -> str | None:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        mistakes.tell("file", "looks like UTF-16 and is not: save it as CSV UTF-8")
        return None
    if "\0" in text:
        mistakes.tell("file", "holds zero bytes, it is no text: save it as CSV UTF-8")
        return None
    return encoding


def _if_chinese(data: bytes, at: int, mistakes: Mistakes) -> str | None:
    mistakes.line = data.count(b"\n", 0, at) + 1
    try:
        text = data.decode(CHINESE)
    except UnicodeDecodeError as error:
        mistakes.line = data.count(b"\n", 0, error.start) + 1
        mistakes.tell("file", "is not written in UTF-8, nor in GB18030: save it as CSV UTF-8")
        return None
    # The word at which it shows.
    line = text.splitlines()[mistakes.line - 1]
    shown = next((word for word in _words(line) if not word.isascii()), line)
    mistakes.warn(
        "file",
        f'is not UTF-8 and was read as GB18030 (GBK): "{shown[:SHOWN_CHARACTERS]}"; '
        "if that is not what it says, save it as CSV UTF-8",
    )
    mistakes.line = 1
    return CHINESE


def _words(line: str) -> list[str]:
    for separator in SEPARATORS:
        line = line.replace(separator, " ")
    return line.split()


def separator_of(head: str, columns: Collection[str]) -> str:
    """What parts the cells: the one by which the head has most of the known columns."""

    def known(separator: str) -> int:
        return sum(column_name(cell) in columns for cell in head.split(separator))

    # A comma where nothing is known, so that the message names what stands there.
    return max(SEPARATORS, key=known)


def told_separator(line: str) -> str | None:
    """The separator of a first line `sep=;`, which is Excel's own and no row."""
    word = line.rstrip("\r\n").strip('"')
    return word[4] if word[:4].lower() == "sep=" and len(word) == 5 else None


def column_name(cell: str) -> str:
    """A cell of the head as a column: spreadsheets keep quotes, and people write capitals."""
    return cell.strip().strip('"').strip().lower()


def _workbook_as_csv(path: Path, mistakes: Mistakes) -> bytes | None:
    """The first sheet that people see of a workbook, as CSV in UTF-8.

    Each row is on the line of its number."""
    try:
        data = read_file(path, MOST_TABLE_BYTES)
        with ZipFile(BytesIO(data)) as archive:
            size = sum(part.file_size for part in archive.infolist())
        if size > MOST_WORKBOOK_BYTES:
            mistakes.tell("file", f"{path.name} has {size} bytes unpacked: save the sheet as CSV")
            return None
        text = StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows(_sheet_rows(BytesIO(data)))
    except OSError:
        raise
    except Exception as error:  # its reader raises of every kind
        mistakes.tell("file", f"{path.name} is no workbook of Excel: {error}")
        return None
    return text.getvalue().encode()


def _sheet_rows(data: BytesIO) -> Iterator[Sequence[str]]:
    # It takes a fifth of a second to import: only where a workbook is read.
    from openpyxl import load_workbook

    workbook = load_workbook(data, read_only=True, data_only=True)
    try:
        seen = [sheet for sheet in workbook.worksheets if sheet.sheet_state == VISIBLE]
        if not seen:
            raise ValueError("no sheet of it is seen")
        cells = 0
        for row in seen[0].iter_rows(values_only=True):
            cells += len(row)
            if cells > MOST_CELLS:
                raise ValueError(f"it has more than {MOST_CELLS} cells, empty ones among them")
            # A line break inside a cell would move all rows behind it.
            yield [" ".join(_cell_text(value).split("\n")) for value in row]
    finally:
        workbook.close()


def _cell_text(value: object) -> str:
    """A cell as somebody would have typed it."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{Decimal(repr(value)):f}".removesuffix(".0")
        case datetime() if value.time() == time():
            return value.date().isoformat()
        case date():
            return value.isoformat()
    return str(value)
