"""Rows as binary COPY takes them."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from itertools import chain
from typing import Final

from storage.sql import Connection

HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
"""Before the first row: the signature, no flags, no extension."""
TRAILER: Final = b"\xff\xff"
WIDTHS: Final = {"int2": 2, "int4": 4, "int8": 8, "date": 4, "timestamptz": 8}
"""Bytes of a value; others have no fixed number of them."""
FORMATS: Final = {2: "h", 4: "i", 8: "q"}
NULL: Final = -1
SINCE: Final = date(2000, 1, 1)
"""Where dates and moments are counted from."""


async def copy(connection: Connection, statement: str, rows: bytes) -> None:
    """Let a COPY ... FROM STDIN (FORMAT BINARY) take these rows."""
    async with connection.cursor() as cursor, cursor.copy(statement) as copying:
        await copying.write(HEADER + rows + TRAILER)


def unpacked(types: Mapping[str, str], rows: bytes) -> Iterator[tuple[int, ...]]:
    """The values of rows that have no NULL; dates in days since SINCE."""
    return (values[2::2] for values in _row(types).iter_unpack(rows))


def rows_of(types: Mapping[str, str], records: Sequence[Sequence[int | date]]) -> bytes:
    """Records whose fields are the columns, none of them NULL. `types`: by column its type."""
    widths = [WIDTHS[it] for it in types.values()]
    row = _row(types)
    made = []
    for record in records:
        values = [it if isinstance(it, int) else (it - SINCE).days for it in record]
        made.append(row.pack(len(widths), *chain.from_iterable(zip(widths, values, strict=True))))
    return b"".join(made)


def _row(types: Mapping[str, str]) -> struct.Struct:
    return struct.Struct(">h" + "".join(f"i{FORMATS[WIDTHS[it]]}" for it in types.values()))
