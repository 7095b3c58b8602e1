"""What a meter was given as its number, as both versions of DL/T 645 tell it."""

from __future__ import annotations

from typing import Final

from protocols.dlt645.bcd import decode_bcd, is_missing
from protocols.errors import FrameError

NUMBER_WIDTH: Final = 6


def meter_number(data: bytes) -> str | None:
    """12 digits (04000402, C032); None where nothing was ever written.

    FrameError when they are no digits."""
    if not data or is_missing(data) or not any(data):
        return None
    if len(data) != NUMBER_WIDTH:
        raise FrameError(f"{len(data)} bytes are no meter number, which has {NUMBER_WIDTH}")
    return f"{int(decode_bcd(data)):0{2 * NUMBER_WIDTH}d}"


def asset_number(data: bytes) -> str | None:
    """The text of 04000403, the last character first on the wire; None where it is blank.

    FrameError when it cannot be printed."""
    if not data or is_missing(data):
        return None
    characters = data[::-1].strip(b"\0 \xff")
    text = characters.decode("ascii", "replace").strip()
    if not text.isascii() or not text.isprintable():
        raise FrameError(f"asset number cannot be printed: {data.hex(' ').upper()}")
    return text or None
