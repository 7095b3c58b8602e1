"""DL/T 645-2007 function codes (D4..D0 of the control byte) and the bits of the error word."""

from __future__ import annotations

from typing import Final

SECURITY: Final = 0x03
BROADCAST_TIME: Final = 0x08
READ: Final = 0x11
READ_FOLLOW: Final = 0x12
READ_ADDRESS: Final = 0x13
WRITE: Final = 0x14
WRITE_ADDRESS: Final = 0x15
FREEZE: Final = 0x16
CHANGE_BAUD: Final = 0x17
CHANGE_PASSWORD: Final = 0x18
CLEAR_DEMAND: Final = 0x19
CLEAR_METER: Final = 0x1A
CLEAR_EVENTS: Final = 0x1B
CONTROL: Final = 0x1C

FUNCTION_NAMES: Final = {
    0x00: "reserved",
    SECURITY: "security_auth",
    BROADCAST_TIME: "broadcast_time",
    READ: "read",
    READ_FOLLOW: "read_follow",
    READ_ADDRESS: "read_address",
    WRITE: "write",
    WRITE_ADDRESS: "write_address",
    FREEZE: "freeze",
    CHANGE_BAUD: "change_baud",
    CHANGE_PASSWORD: "change_password",
    CLEAR_DEMAND: "clear_demand",
    CLEAR_METER: "clear_meter",
    CLEAR_EVENTS: "clear_events",
    CONTROL: "control",
}

UNAUTHORISED: Final = "password_or_unauthorised"
ERROR_BITS: Final = (
    "other",
    "no_such_data",
    UNAUTHORISED,
    "baud_cannot_change",
    "year_zones_exceeded",
    "day_slots_exceeded",
    "tariffs_exceeded",
    "reserved",
)
"""Bit 0 first."""

NO_SUCH_DATA: Final = 0x02


BAUD_RATES: Final = {
    0x02: 600,
    0x04: 1200,
    0x08: 2400,
    0x10: 4800,
    0x20: 9600,
    0x40: 19200,
}
"""The speed in Bd by the word that a change of speed (17) carries: one bit each."""


def error_bits(word: int, names: tuple[str, ...] = ERROR_BITS) -> tuple[str, ...]:
    """The names of the bits set in an error word, bit 0 first. `names`: those of a version."""
    return tuple(name for bit, name in enumerate(names) if word >> bit & 1)
