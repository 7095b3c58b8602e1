"""Packed BCD as DL/T 645 sends it: low byte first, sign in the top bit of the last byte if the
identifier has one."""

from __future__ import annotations

from datetime import datetime
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow
from typing import Final

from protocols.errors import FrameError

ENERGY_WIDTH: Final = 4
_EXACT: Final = Context(Emin=-99, Emax=99, traps=[Inexact, Overflow, InvalidOperation])
"""Rounds nothing away, whatever number a person writes."""


def is_missing(data: bytes) -> bool:
    """True for the fills that mean *no data*: all FF, or all EE."""
    return bool(data) and data[0] in (0xFF, 0xEE) and data.count(data[0]) == len(data)


def digits_of(data: bytes) -> str:
    """Hexadecimal digits as they are written, most significant first: 56 34 12 -> 123456."""
    return data[::-1].hex().upper()


def decode_bcd(data: bytes, decimals: int = 0, *, signed: bool = False) -> Decimal:
    """Packed BCD to a number: 56 34 12 00, 2 -> 1234.56. FrameError if a nibble is over 9."""
    negative = signed and bool(data) and data[-1] > 0x7F
    digits = data[::-1].hex()
    if negative:
        digits = f"{data[-1] & 0x7F:02x}{digits[2:]}"
    if not digits.isdigit():
        raise FrameError(f"not BCD: {digits_of(data)}")
    value = Decimal(f"{digits[:-decimals]}.{digits[-decimals:]}" if decimals else digits)
    return -value if negative else value


def decode_registers(data: bytes, *, signed: bool = False) -> tuple[Decimal | None, ...]:
    """Energies XXXXXX.XX one after the other (total, tariff 1, ...); None where there is no data.
    FrameError when a nibble is over 9 or the data are not 4 bytes for each."""
    count, rest = divmod(len(data), ENERGY_WIDTH)
    if rest or not count:
        raise FrameError(f"{len(data)} bytes are not {ENERGY_WIDTH} for each register")
    digits = data[::-1].hex()
    if digits.isdigit() and not signed:
        return tuple([Decimal(digits[at : at + 8] + "E-2") for at in range(8 * count - 8, -1, -8)])
    parts = [data[at : at + ENERGY_WIDTH] for at in range(0, len(data), ENERGY_WIDTH)]
    return tuple(None if is_missing(part) else decode_bcd(part, 2, signed=signed) for part in parts)


def encode_bcd(
    value: Decimal | int, width: int, decimals: int = 0, *, signed: bool = False
) -> bytes:
    """A number to `width` bytes: 1234.56, 4, 2 -> 56 34 12 00. FrameError if it does not fit
    exactly."""
    number = Decimal(value)
    if not number.is_finite():
        raise FrameError(f"{value} is no number")
    misfit = FrameError(f"{value} does not fit into {width} BCD bytes with {decimals} decimals")
    try:
        scaled = _EXACT.scaleb(number, decimals)
    except ArithmeticError:
        raise misfit from None
    magnitude = abs(int(scaled))
    most = 10 ** (2 * width) if not signed else 8 * 10 ** (2 * width - 1)
    if scaled != int(scaled) or magnitude >= most or (scaled < 0 and not signed):
        raise misfit
    data = bytearray(bytes.fromhex(f"{magnitude:0{2 * width}d}")[::-1])
    if scaled < 0:
        data[-1] |= 0x80
    return bytes(data)


def decode_time(data: bytes, layout: str) -> datetime | None:
    """Wall clock from BCD bytes in wire order; `layout` names them: "ss mm hh DD MM YY", "mm hh DD
    MM YY".

    None for a time that was never set (all zero, FF or EE). FrameError if it is no date."""
    if is_missing(data) or not any(data):
        return None
    part = {
        "ss": 0,
        "mm": 0,
        "hh": 0,
        "DD": 1,
        "MM": 1,
        "YY": 0,
    }
    if len(data) != len(layout.split()):
        raise FrameError(
            f"{len(data)} bytes are no time of the layout {layout}: {data.hex(' ').upper()}"
        )
    for name, byte in zip(layout.split(), data, strict=True):
        part[name] = int(decode_bcd(bytes((byte,))))
    try:
        return datetime(  # noqa: DTZ001
            2000 + part["YY"],
            part["MM"],
            part["DD"],
            part["hh"],
            part["mm"],
            part["ss"],
        )
    except ValueError as error:
        raise FrameError(
            f"no such time: {data[::-1].hex(' ').upper()} ({layout}): {error}"
        ) from None


def encode_time(at: datetime, layout: str) -> bytes:
    """The opposite of `decode_time`; WW gives the weekday with 0 for Sunday."""
    part = {
        "ss": at.second,
        "mm": at.minute,
        "hh": at.hour,
        "DD": at.day,
        "MM": at.month,
        "YY": at.year % 100,
        "WW": at.isoweekday() % 7,
    }
    return b"".join(encode_bcd(part[name], 1) for name in layout.split())
