"""SQL lives in .sql files: one file per subject, one named block per question."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from importlib.resources import files
from typing import Any, Final, TypeVar

from psycopg import AsyncConnection
from psycopg.rows import class_row, dict_row

from storage.texts import storable

T = TypeVar("T")
Connection = AsyncConnection[Any]
"""A connection whose rows are asked for in one of the ways below."""
Row = tuple[Any, ...]
Values = Mapping[str, Any]
NULL: Final = "\\N"
ESCAPES: Final = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
"""What means something to COPY."""
_HEAD = re.compile(r"^-- (?P<name>\w+) -- .+$", re.MULTILINE)


def load(subject: str) -> dict[str, str]:
    """The questions of `storage/<subject>.sql` by name; a block begins with `-- name -- intent`."""
    text = files("storage").joinpath(f"{subject}.sql").read_text(encoding="utf-8")
    heads = list(_HEAD.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    return {
        head["name"]: text[head.end() : end].strip() for head, end in zip(heads, ends, strict=True)
    }


def array(values: Iterable[int | date | None]) -> str:
    """An array parameter as PostgreSQL writes it: made in a tenth of the time that a list takes.

    The statement casts it: `%(days)s::date[]`."""
    return f"{{{','.join(['NULL' if value is None else f'{value}' for value in values])}}}"


def days(values: Iterable[date]) -> str:
    """The same of days: many values, but few days, of which each is written once."""
    known = list(values)
    texts = {day: str(day) for day in set(known)}
    return f"{{{','.join([texts[day] for day in known])}}}"


def texts(values: Iterable[str]) -> str:
    """The same of texts."""
    quoted = [value.replace("\\", "\\\\").replace('"', '\\"') for value in values]
    return "{" + ",".join(f'"{value}"' for value in quoted) + "}"


def table_text(rows: Sequence[Row]) -> str:
    """Rows as COPY takes them, made of whole columns: a fraction of what each would take by itself.

    What no text of the database can hold becomes U+FFFD."""
    columns = map(_cells, zip(*rows, strict=True))
    return "".join(["\t".join(row) + "\n" for row in zip(*columns, strict=True)])


def _cells(column: tuple[Any, ...]) -> list[str]:
    cells = [NULL if it is None else str(it) for it in column]
    together = "".join(cells)
    if together.isprintable() and together.count("\\") == column.count(None):
        return cells  # nothing in it means anything to COPY
    return [NULL if it is None else storable(str(it)).translate(ESCAPES) for it in column]


async def fetch_rows(
    connection: Connection, statement: str, values: Values | None = None, *, binary: bool = False
) -> list[Row]:
    """Every row of the answer, its columns in the order of the statement. `binary`: how large
    values travel."""
    cursor = await connection.execute(statement, values, binary=binary)
    return await cursor.fetchall()


async def fetch_row(
    connection: Connection, statement: str, values: Values | None = None, *, binary: bool = False
) -> Row | None:
    """The first row of the answer. `binary`: how large values travel."""
    cursor = await connection.execute(statement, values, binary=binary)
    row: Row | None = await cursor.fetchone()
    return row


async def fetch_records(
    connection: Connection,
    record: type[T],
    statement: str,
    values: Values | None = None,
    *,
    prepare: bool | None = None,
) -> list[T]:
    """Every row of the answer as a `record`, whose fields are the columns.

    `prepare`: whether the server keeps its plan; None: when it was asked for some times."""
    async with connection.cursor(row_factory=class_row(record)) as cursor:
        await cursor.execute(statement, values, prepare=prepare)
        return await cursor.fetchall()


async def fetch_dicts(
    connection: Connection, statement: str, values: Values | None = None
) -> list[dict[str, Any]]:
    """Every row of the answer by the names of its columns."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement, values)
        return await cursor.fetchall()
