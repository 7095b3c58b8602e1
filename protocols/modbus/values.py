"""Registers to numbers and back: types, the four word orders, "no value".

A result is a Decimal or None, never a float.

A float in a register becomes the shortest decimal number that rounds to that very float (as `repr`
prints a float64, but for 32 bits too): 44 9A 51 EC is 1234.56, not 1234.56005859375. A float32 so
keeps every 0.01 up to 131072, where two neighbouring floats begin to lie further apart than 0.01.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from protocols.errors import FrameError
from protocols.modbus.profile import Item, Order, RegisterType, SerialNumber, width

_FORMATS: Final[dict[RegisterType, str]] = {
    "int16": ">h",
    "uint16": ">H",
    "int32": ">i",
    "uint32": ">I",
    "int64": ">q",
    "uint64": ">Q",
    "float32": ">f",
    "float64": ">d",
}
FLOATS: Final = frozenset({"float32", "float64"})
DIGITS_OF_FLOAT32: Final = 9
"""Digits that tell every float32 apart."""


def decode(item: Item, registers: Sequence[int]) -> Decimal | None:
    """The value in the quantity's unit; None for "no value", NaN and infinity."""
    data = ordered(registers, item.order)
    # 7FC00000 and FFFFFFFF (Schneider, Janitza), of INT64 8000000000000000: the profile says which.
    if data in item.not_available:
        return None
    number = interpret(data, item.type)
    if number is None:
        return None
    return _plain(number * item.factor)


def encode(item: Item, value: Decimal | None) -> tuple[int, ...]:
    """The registers that `decode` reads as `value`, cut to what the type can hold.

    None needs a pattern or a float. FrameError when the type cannot hold the value, or cannot say
    that there is none.
    """
    if value is None:
        return unordered(_no_value(item), item.order)
    exact = value / item.factor
    number = float(exact) if item.type in FLOATS else int(exact)
    try:
        data = struct.pack(_FORMATS[item.type], number)
    except (struct.error, OverflowError):
        raise FrameError(
            f"{value} {item.quantity.unit} does not fit into {item.type} x {item.factor}"
        ) from None
    return unordered(data, item.order)


def decode_serial(serial: SerialNumber, registers: Sequence[int]) -> str | None:
    """A serial number as it is printed on the meter; None where none was written.

    FrameError when a text cannot be printed."""
    data = ordered(registers, serial.order)
    if data.count(data[0]) == len(data) and data[0] in (0x00, 0xFF):
        return None
    if not serial.is_text:
        return str(int.from_bytes(data, "big"))
    text = data.rstrip(b"\0 \xff").decode("ascii", "replace").strip()
    if not text.isascii() or not text.isprintable():
        raise FrameError(f"serial number cannot be printed: {data.hex(' ').upper()}")
    return text or None


def encode_serial(serial: SerialNumber, number: str) -> tuple[int, ...]:
    """The registers that `decode_serial` reads as this number. FrameError when it does not fit."""
    size = 2 * serial.count
    try:
        data = number.encode("ascii") if serial.is_text else int(number).to_bytes(size, "big")
    except (ValueError, OverflowError):
        raise FrameError(f"serial number {number} does not fit into {size} bytes") from None
    if len(data) > size:
        raise FrameError(f"serial number {number} does not fit into {size} bytes")
    return unordered(data.ljust(size, b"\0"), serial.order)


def interpret(data: bytes, type_: RegisterType) -> Decimal | None:
    """Bytes, most significant first, as a number; None for NaN and infinity.

    FrameError on a wrong number of bytes.
    """
    if len(data) != 2 * width(type_):
        raise FrameError(f"{type_} has {2 * width(type_)} bytes, not {len(data)}")
    (number,) = struct.unpack(_FORMATS[type_], data)
    if type_ not in FLOATS:
        return Decimal(number)
    if not math.isfinite(number):
        return None
    if type_ == "float64":
        return _plain(Decimal(repr(number)))
    # The shortest text that packs to the same four bytes: 1234.56, not 1234.56005859375.
    for digits in range(1, DIGITS_OF_FLOAT32):
        text = f"{number:.{digits}g}"
        if _packs_to_float32(text, data):
            return _plain(Decimal(text))
    return _plain(Decimal(f"{number:.{DIGITS_OF_FLOAT32}g}"))


def ordered(registers: Sequence[int], order: Order) -> bytes:
    """The bytes of a value, most significant first."""
    words = [register.to_bytes(2, "big") for register in registers]
    if order in ("CDAB", "DCBA"):
        words.reverse()
    if order in ("BADC", "DCBA"):
        words = [word[::-1] for word in words]
    return b"".join(words)


def unordered(data: bytes, order: Order) -> tuple[int, ...]:
    """The registers of a value, from its bytes with the most significant first."""
    # Each order is its own inverse.
    words = [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]
    swapped = ordered(words, order)
    return tuple(int.from_bytes(swapped[at : at + 2], "big") for at in range(0, len(swapped), 2))


def _packs_to_float32(text: str, data: bytes) -> bool:
    try:
        return struct.pack(">f", float(text)) == data
    except OverflowError:  # rounded up beyond the largest float
        return False


def _plain(number: Decimal) -> Decimal:
    """Without exponent above zero and without minus zero: for people and for SQL."""
    number += 0
    exponent = number.as_tuple().exponent
    if isinstance(exponent, int) and exponent > 0:
        return Decimal(f"{number:f}")
    return number


def _no_value(item: Item) -> bytes:
    fitting = sorted(pattern for pattern in item.not_available if len(pattern) == 2 * item.count)
    if fitting:
        return fitting[0]
    if item.type in FLOATS:
        return struct.pack(_FORMATS[item.type], math.nan)
    raise FrameError(f"{item.quantity.label}: {item.type} has no pattern for no value")
