"""Rows as binary COPY takes them, made of whole columns at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from storage.sql import Connection

HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
"""Before the first row: the signature, no flags, no extension."""
TRAILER: Final = b"\xff\xff"
WIDTHS: Final = {"int2": 2, "int4": 4, "int8": 8, "date": 4, "timestamptz": 8}
"""Bytes of a value; others have no fixed number of them."""
NULL: Final = -1
SINCE: Final = date(2000, 1, 1)
"""Where dates and moments are counted from."""

Column = NDArray[np.int64] | int | None
"""Of many rows: a value for each, one for all, or NULL in all."""


async def copy(connection: Connection, statement: str, rows: bytes) -> None:
    """Let a COPY ... FROM STDIN (FORMAT BINARY) take these rows."""
    async with connection.cursor() as cursor, cursor.copy(statement) as copying:
        await copying.write(HEADER + rows + TRAILER)


def rows(types: Mapping[str, str], columns: Mapping[str, Column], count: int) -> bytes:
    """`count` rows without HEADER and TRAILER.

    `types`: by column, in order, its type. `columns`: what is not in it is NULL; a date is in days
    and a timestamptz in microseconds since 2000."""
    fields: list[tuple[str, str]] = [("fields", ">i2")]
    for name, type_name in types.items():
        fields.append((f"{name} length", ">i4"))
        if columns.get(name) is not None:
            fields.append((name, f">i{WIDTHS[type_name]}"))
    made: NDArray[Any] = np.empty(count, dtype=fields)
    made["fields"] = len(types)
    for name, type_name in types.items():
        column = columns.get(name)
        if column is None:
            made[f"{name} length"] = NULL
        else:
            made[f"{name} length"] = WIDTHS[type_name]
            made[name] = column
    return made.tobytes()


def rows_of(types: Mapping[str, str], records: Sequence[Sequence[int | date]]) -> bytes:
    """Records whose fields are the columns, none of them NULL."""
    columns: dict[str, Column] = {}
    for (name, type_name), values in zip(types.items(), zip(*records, strict=True), strict=False):
        if type_name == "date":
            days = {day: (day - SINCE).days for day in set(values)}
            columns[name] = np.array([days[day] for day in values], dtype=np.int64)
        else:
            columns[name] = np.array(values, dtype=np.int64)
    return rows(types, columns, len(records))
