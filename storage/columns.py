"""Rows as binary COPY takes them, made of whole columns at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.binary import NULL, WIDTHS

Column = NDArray[np.int64] | int | None
"""Of many rows: a value for each, one for all, or NULL in all."""


def rows(types: Mapping[str, str], columns: Mapping[str, Column], count: int) -> bytes:
    """`count` rows as `binary.copy` takes them.

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
