"""DL/T 645-1997 function codes (D4..D0 of the control byte) and the bits of its error word.

Bits 0 and 1 of the error word mean other things than in the 2007 version.
"""

from __future__ import annotations

from typing import Final

READ: Final = 0x01
READ_FOLLOW: Final = 0x02
READ_AGAIN: Final = 0x03
WRITE: Final = 0x04
BROADCAST_TIME: Final = 0x08
WRITE_ADDRESS: Final = 0x0A
CHANGE_BAUD: Final = 0x0C
CHANGE_PASSWORD: Final = 0x0F
CLEAR_DEMAND: Final = 0x10

FUNCTION_NAMES: Final = {
    READ: "read",
    READ_FOLLOW: "read_follow",
    READ_AGAIN: "read_again",
    WRITE: "write",
    BROADCAST_TIME: "broadcast_time",
    WRITE_ADDRESS: "write_address",
    CHANGE_BAUD: "change_baud",
    CHANGE_PASSWORD: "change_password",
    CLEAR_DEMAND: "clear_demand",
}
"""The same words as in the 2007 version where the function is the same."""

ERROR_BITS: Final = (
    "illegal_data",
    "data_identifier",
    "password",
    "reserved",
    "year_zones_exceeded",
    "day_slots_exceeded",
    "tariffs_exceeded",
    "reserved",
)
"""Bit 0 first."""

NO_SUCH_DATA: Final = 0x02
"""Bit 1: the meter does not know the identifier."""
