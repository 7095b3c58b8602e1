"""How a link keeps its registers: those at its end, and how far each came since its begin.

A begin is mostly the end of the link before, and eight bytes; what was used takes four. Where that
does not say it, the begin is kept itself. The other way round is the database's: the functions
`begins` and `ends` of a link."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from storage.columns import Integers

PLACES: Final = ("total", "rate_1", "rate_2", "rate_3", "rate_4")
MOST_USED: Final = 2**31
COLUMNS: Final = {
    **{f"end_{it}": "int8" for it in PLACES},
    "more_ends": "int8[]",
    **{f"used_{it}": "int4" for it in PLACES},
    "told_begins": "int8[]",
}
"""Columns of a link and their types, in the order in which it is written."""


def columns(begins: Integers, ends: Integers) -> dict[str, Integers]:
    """Of links [links, registers] whose begins are told."""
    more = {"more_ends": ends[:, len(PLACES) :]} if ends.shape[1] > len(PLACES) else {}
    return {**_by_place("end", ends), **more, "told_begins": begins}


def columns_of_use(begins: Integers, ends: Integers, modulus: int) -> dict[str, Integers]:
    """Of links whose use says where they begin."""
    return {**_by_place("end", ends), **_by_place("used", _used(begins, ends, modulus))}


def say_begins(begins: Integers, ends: Integers, modulus: int) -> NDArray[np.bool_]:
    """By link whether its use says where it begins."""
    if begins.shape != ends.shape or begins.shape[1] > len(PLACES):
        return np.zeros(len(ends), dtype=bool)
    used = _used(begins, ends, modulus)
    is_small = (used >= -MOST_USED) & (used < MOST_USED)
    found: NDArray[np.bool_] = (
        is_small & (ends - used + np.where(ends < used, modulus, 0) == begins)
    ).all(axis=1)
    return found


def row(begins: Sequence[int], ends: Sequence[int], modulus: int) -> list[Any]:
    """The values of COLUMNS of one link; arrays are lists."""
    of_begins, of_ends = np.array([begins], dtype=np.int64), np.array([ends], dtype=np.int64)
    if say_begins(of_begins, of_ends, modulus)[0]:
        found = columns_of_use(of_begins, of_ends, modulus)
    else:
        found = columns(of_begins, of_ends)
    return [found[name][0].tolist() if name in found else None for name in COLUMNS]


def _used(begins: Integers, ends: Integers, modulus: int) -> Integers:
    used: Integers = ends - begins + np.where(ends < begins, modulus, 0)
    return used


def _by_place(what: str, registers: Integers) -> dict[str, Integers]:
    return {
        f"{what}_{place}": values
        for place, values in zip(PLACES, registers.T[: len(PLACES)], strict=False)
    }
