"""Whether the kernel says that something keeps the host's clock right (adjtimex(2))."""

from __future__ import annotations

import ctypes
from typing import Final

STA_UNSYNC: Final = 0x40
LARGER_THAN_ANY: Final = 256
"""Bytes that the structure of no kernel fills, behind the fields that are looked at."""


LIBRARY: Final = ctypes.CDLL(None)


class _Timex(ctypes.Structure):
    """The beginning of struct timex; `modes` 0 changes nothing."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * LARGER_THAN_ANY),
    )


def is_synchronised() -> bool | None:
    """None where the kernel cannot be asked."""
    told = _Timex()
    try:
        state = LIBRARY.adjtimex(ctypes.byref(told))
    except AttributeError:
        return None
    return None if state < 0 else not told.status & STA_UNSYNC
