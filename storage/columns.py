"""Rows as binary COPY takes them, made of whole columns at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from storage.binary import NULL, WIDTHS

Column = NDArray[np.int64] | int | None
"""Of many rows: a value for each, one for all, or NULL in all; of an array type a row of values
for each."""
ELEMENTS: Final = {"int4[]": (23, 4), "int8[]": (20, 8)}
"""By array type the number of its element's type, and the element's bytes."""


def rows(types: Mapping[str, str], columns: Mapping[str, Column], count: int) -> bytes:
    """`count` rows as `binary.copy` takes them.

    `types`: by column, in order, its type. `columns`: what is not in it is NULL; a date is in days
    and a timestamptz in microseconds since 2000."""
    fields: list[tuple[str, str]] = [("fields", ">i2")]
    for name, type_name in types.items():
        fields.append((f"{name} length", ">i4"))
        if columns.get(name) is not None:
            fields.append((name, _field(type_name, columns[name])))
    made: NDArray[Any] = np.empty(count, dtype=fields)
    made["fields"] = len(types)
    for name, type_name in types.items():
        column = columns.get(name)
        if column is None:
            made[f"{name} length"] = NULL
            continue
        made[f"{name} length"] = made.dtype[name].itemsize
        if type_name in ELEMENTS:
            _put_arrays(made[name], type_name, column)
        else:
            made[name] = column
    return made.tobytes()


def _field(type_name: str, column: Column) -> Any:
    if type_name not in ELEMENTS:
        return f">i{WIDTHS[type_name]}"
    assert isinstance(column, np.ndarray)
    element = [("length", ">i4"), ("value", f">i{ELEMENTS[type_name][1]}")]
    head = [(part, ">i4") for part in ("dimensions", "nulls", "type", "length", "lowest")]
    return [*head, ("elements", element, (column.shape[1],))]


def _put_arrays(made: NDArray[Any], type_name: str, column: Column) -> None:
    assert isinstance(column, np.ndarray)
    number, width = ELEMENTS[type_name]
    made["dimensions"] = 1
    made["nulls"] = 0
    made["type"] = number
    made["length"] = column.shape[1]
    made["lowest"] = 1
    made["elements"]["length"] = width
    made["elements"]["value"] = column
