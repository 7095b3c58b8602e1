"""Rows as binary COPY takes them, made of whole columns; and columns that come as arrays."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format

from storage.binary import NULL, WIDTHS

Integers = NDArray[np.int64]
Column = Integers | int | bytes | None
"""Of many rows: a value for each, one for all (as PostgreSQL sends it, where it is no integer), or
NULL in all; of an array type a row of values for each."""
ELEMENTS: Final = {"int4[]": (23, 4), "int8[]": (20, 8)}
"""By array type the number of its element's type, and the element's bytes."""
INTEGERS: Final = (1007, 1016)
"""The numbers of these array types."""


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
        elif isinstance(column, bytes):
            made[name] = np.void(column)
        else:
            made[name] = column
    return made.tobytes()


class IntegersLoader(Loader):
    """Arrays of integers as numpy's, without a NULL in them."""

    format = Format.BINARY

    def load(self, data: Any) -> Integers:
        """In its dimensions."""
        dimensions, nulls, number = struct.unpack_from(">iii", data)
        assert not nulls, "an array of integers has no NULL"
        sizes = struct.unpack_from(f">{2 * dimensions}i", data, 12)[::2]
        width = dict(ELEMENTS.values())[number]
        element = np.dtype([("length", ">i4"), ("value", f">i{width}")])
        values = np.frombuffer(data, element, offset=12 + 8 * dimensions)["value"]
        return values.astype(np.int64).reshape(sizes)


class IntegersDumper(Dumper):
    """One-dimensional arrays of numpy's, as PostgreSQL sends arrays itself."""

    format = Format.BINARY
    oid = INTEGERS[-1]

    def dump(self, obj: Integers) -> bytes:
        """Of bigint."""
        made: NDArray[Any] = np.empty(1, dtype=_field("int8[]", obj[None, :]))
        _put_arrays(made, "int8[]", obj[None, :])
        return made.tobytes()


def _field(type_name: str, column: Column) -> Any:
    if isinstance(column, bytes):
        return f"V{len(column)}"
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
