"""The rows of the batch poller: one for each request that a client may have in flight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from math import inf
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from daemon.acquisition.polling.in_flight import InFlightRequest
from daemon.acquisition.polling.packed_slots import (
    MOST_AGE,
    MOST_NTH,
    NTH_AT,
    NUMBER_AT,
    STEP_AT,
    STEP_MASK,
)
from protocols.dlt645.prepared.one import HEAD

NO_ROW: Final = -1
NOBODY: Final = 2**32 - 1
"""The number of no meter: nothing was taken out of the plan yet."""
LEAST_GROWTH: Final = 64
ROW: Final = np.dtype(
    [
        ("head", "u1", HEAD),
        ("step", "u1"),
        ("nth", "u1"),
        ("asked_at", "f8"),
        ("begins_by", "f8"),
        ("ends_at", "f8"),
        ("wait_s", "f4"),
        ("delay_s", "f4"),
        ("number", "u4"),
        ("answers", "u4"),
        ("group", "i4"),
        ("age", "u1"),
        ("is_troubled", "u1"),
    ],
    align=True,
)
"""One cache line each. The names that InFlightRequest has too mean the same; `begins_by` is
infinite while nothing is asked. `ends_at`: begin no slot after that second; `answers`: good ones so
far; `group`: the first row of the same client; `is_troubled`: when its slot began a meter of that
line was silent, so the line must be told of each that answers."""
SHARED: Final = tuple(
    each.name for each in fields(InFlightRequest) if each.init and each.name in (ROW.names or ())
)
Rows = NDArray[np.intp]
"""Places of rows."""


class RowTable:
    """Rows that are lent out and given back; it grows as they are asked for."""

    __slots__ = ("free", "values")

    def __init__(self) -> None:
        self.values = np.empty(0, dtype=ROW)
        """All rows. Another array each time they become more."""
        self.free: list[int] = []

    def take(self, count: int, ends_at: float) -> list[int]:
        """Rows of one client, in a group, with nothing asked."""
        while len(self.free) < count:
            self._grow()
        rows = [self.free.pop() for _ in range(count)]
        values = self.values
        values["group"][rows] = rows[0]
        values["ends_at"][rows] = ends_at
        values["number"][rows] = NOBODY
        values["answers"][rows] = 0
        return rows

    def give_back(self, rows: Sequence[int]) -> None:
        """Nothing is asked in them any more."""
        self.values["begins_by"][rows] = inf
        self.free += rows

    def _grow(self) -> None:
        taken = len(self.values)
        more = np.zeros(max(LEAST_GROWTH, taken), dtype=ROW)
        more["begins_by"] = inf
        self.values = np.concatenate([self.values, more])
        self.free += reversed(range(taken, taken + len(more)))

    def set_slots(self, rows: Rows, slots: list[int]) -> NDArray[np.bool_]:
        """These slots are read next. For each row, whether its meter is another than before."""
        values = self.values
        packed = np.array(slots, dtype=np.uint64)
        numbers = packed >> np.uint64(NUMBER_AT)
        changed: NDArray[np.bool_] = numbers != values["number"][rows]
        values["number"][rows] = numbers
        values["age"][rows] = packed & np.uint64(MOST_AGE)
        values["step"][rows] = packed >> np.uint64(STEP_AT) & np.uint64(STEP_MASK)
        values["nth"][rows] = packed >> np.uint64(NTH_AT) & np.uint64(MOST_NTH)
        return changed


def in_flight(row: Any) -> InFlightRequest:
    """The record of what is asked in this row."""
    return InFlightRequest(**{name: row[name].item() for name in SHARED})
