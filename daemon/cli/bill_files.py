"""Sections of a bill as files for spreadsheets."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import BytesIO, StringIO
from typing import Final

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter

from daemon.cli.bill_sections import Section

FORMULA_SIGNS: Final = ("=", "+", "-", "@", "\t", "\r")
WIDTH: Final = 18


def csv_text(sections: Sequence[Section]) -> str:
    """Section by section: its name, its heads, its rows, an empty line. With a byte order mark,
    without which spreadsheets take Chinese for another encoding."""
    text = StringIO()
    writer = csv.writer(text)
    for section in sections:
        writer.writerow([section.name])
        writer.writerow(section.head)
        writer.writerows([_plain(cell) for cell in row] for row in section.rows)
        writer.writerow([])
    return "\ufeff" + text.getvalue()


def workbook(sections: Sequence[Section]) -> bytes:
    """An XLSX file with a sheet for each section; money is numbers."""
    book = Workbook(write_only=True)
    for section in sections:
        sheet = book.create_sheet(section.name)
        for column, _ in enumerate(section.head, 1):
            sheet.column_dimensions[get_column_letter(column)].width = WIDTH
        head = []
        for name in section.head:
            cell = WriteOnlyCell(sheet, name)
            cell.font = Font(bold=True)
            head.append(cell)
        sheet.append(head)
        for row in section.rows:
            cells: list[object] = []
            for value in row:
                if isinstance(value, str):
                    cell = WriteOnlyCell(sheet, value)
                    # What begins with an equals sign would be a formula: a name is none.
                    cell.data_type = "s"
                    cells.append(cell)
                else:
                    cells.append(value)
            sheet.append(cells)
    content = BytesIO()
    book.save(content)
    return content.getvalue()


def _plain(cell: object) -> object:
    """Spreadsheets take text that begins so for a formula; a number is none."""
    is_risky = isinstance(cell, str) and cell.startswith(FORMULA_SIGNS)
    return f"'{cell}" if is_risky else cell
