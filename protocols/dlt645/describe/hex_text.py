"""Bytes that people paste as hexadecimal text."""

from __future__ import annotations

from typing import Final

from protocols.errors import FrameError

SEPARATORS: Final = " \t\r\n\v\f,;:|-_\"'[](){}"
HEX_DIGITS: Final = "0123456789abcdefABCDEF"
SHOWN_AROUND: Final = 8
"""Characters on either side of a mistake that a message repeats."""


def parse_hex(text: str) -> bytes:
    """Bytes from what people paste: blanks, 0x, commas, colons ... between bytes.

    FrameError names the wrong place."""
    digits: list[str] = []
    at = 0
    while at < len(text):
        if text[at] in SEPARATORS:
            at += 1
        elif text.startswith(("0x", "0X"), at):
            at += 2
        else:
            digits.append(_byte_at(text, at))
            at += 2
    return bytes.fromhex("".join(digits))


def _byte_at(text: str, at: int) -> str:
    """Two digits. A lone digit is refused: 6 8 could be 06 08 as well as 68."""
    for place in (at, at + 1):
        if place == len(text) or text[place] in SEPARATORS:
            raise FrameError(
                f"half a byte at position {at + 1}: {_around(text, at)} (two digits make a byte)"
            )
        if text[place] not in HEX_DIGITS:
            raise FrameError(
                f"no hexadecimal digit at position {place + 1}: {_around(text, place)}"
            )
    return text[at : at + 2]


def _around(text: str, at: int) -> str:
    # repr: what was pasted may hold control characters that a terminal obeys.
    return repr(text[max(at - SHOWN_AROUND, 0) : at + SHOWN_AROUND])
