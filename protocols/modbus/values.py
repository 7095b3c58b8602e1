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
LONG: Final = frozenset({"uint32", "uint64"})
FULL: Final = b"\xff" * 8
"""No counter of 32 bits is ever full: an erased cell is, or what the meter does not have."""
FLOATS: Final = frozenset({"float32", "float64"})
BCD: Final = "bcd"
MOD10K: Final = "mod10k"
TEN_THOUSAND: Final = 10_000
NO_SCALE: Final = 0x8000
"""In the scale register of a SunSpec point that the meter does not have."""
MOST_SCALE: Final = 10
"""SunSpec, point type sunssf: powers of ten from -10 to 10."""
DIGITS_OF_FLOAT32: Final = 9
"""Digits that tell every float32 apart."""


def decode(item: Item, registers: Sequence[int], scale: int | None = None) -> Decimal | None:
    """The value in the quantity's unit; None for "no value", NaN and infinity.

    `scale`: what stands in its scale register, where it has one. FrameError when that is no power
    of ten, or when digits are none."""
    data = ordered(registers, item.order)
    # 7FC00000 and FFFFFFFF (Schneider, Janitza), of INT64 8000000000000000: the profile says which.
    if data in item.not_available or (_is_never_full(item.type) and data == FULL[-len(data) :]):
        return None
    number = interpret(data, item.type)
    if number is None or scale == NO_SCALE:
        return None
    if item.mask is not None:
        number = Decimal((int(number) & item.mask) >> _lowest_bit(item.mask))
    value = number * item.factor
    return _plain(value if scale is None else value.scaleb(_power_of_ten(scale)))


def _is_never_full(type_: RegisterType) -> bool:
    # FFFF is no digits either, in a register of any width.
    return type_ in LONG or type_.startswith((BCD, MOD10K))


def encode(item: Item, value: Decimal | None) -> tuple[int, ...]:
    """The registers that `decode` reads as `value`, cut to what the type can hold.

    None needs a pattern or a float. FrameError when the type cannot hold the value, or cannot say
    that there is none.
    """
    if value is None:
        return unordered(_no_value(item), item.order)
    exact = value / item.factor
    try:
        data = _packed(exact, item)
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
    if type_.startswith(BCD):
        return _from_bcd(data)
    if type_.startswith(MOD10K):
        return _from_mod10k(data)
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


def _from_bcd(data: bytes) -> Decimal:
    digits = data.hex()
    if not digits.isdigit():
        raise FrameError(f"not BCD: {digits.upper()}")
    return Decimal(digits) + 0


def _from_mod10k(data: bytes) -> Decimal:
    number = 0
    for word in _words(data):
        if word >= TEN_THOUSAND:
            raise FrameError(f"not modulo 10000: a register holds {word}")
        number = number * TEN_THOUSAND + word
    return Decimal(number)


def _packed(number: Decimal, item: Item) -> bytes:
    """The bytes of a number, most significant first; struct.error, OverflowError when too large."""
    if item.type in FLOATS:
        return struct.pack(_FORMATS[item.type], float(number))
    whole = int(number)
    if item.type in _FORMATS:
        if item.mask is not None:
            whole <<= _lowest_bit(item.mask)
            if whole & ~item.mask:
                raise OverflowError
        return struct.pack(_FORMATS[item.type], whole)
    digits = f"{whole:0{4 * item.count}d}"
    if whole < 0 or len(digits) > 4 * item.count:
        raise OverflowError
    if item.type.startswith(BCD):
        return bytes.fromhex(digits)
    return b"".join(int(digits[at : at + 4]).to_bytes(2, "big") for at in range(0, len(digits), 4))


def _lowest_bit(mask: int) -> int:
    return (mask & -mask).bit_length() - 1


def _power_of_ten(scale: int) -> int:
    power = scale - 0x10000 if scale & 0x8000 else scale
    if abs(power) > MOST_SCALE:
        raise FrameError(f"the scale register holds {power}, no power of ten from -10 to 10")
    return power


def _words(data: bytes) -> list[int]:
    return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]


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
    return tuple(_words(ordered(_words(data), order)))


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
