"""What DL/T 645 frames say: tells the versions apart and each frame field by field.

Nothing here is needed to read a meter.
"""

from __future__ import annotations

from typing import Final

from protocols.dlt645 import functions, functions_1997
from protocols.dlt645.describe import version_1997 as describe_1997
from protocols.dlt645.describe import version_2007 as describe_2007
from protocols.dlt645.describe.description import Description, SkippedBytes, Wrong, parse_hex
from protocols.dlt645.frame import Decoder, Frame
from protocols.dlt645.values import Value
from protocols.exchange import Skipped

__all__ = [
    "PROTOCOLS",
    "Description",
    "SkippedBytes",
    "Value",
    "Wrong",
    "describe",
    "describe_stream",
    "parse_hex",
]

PROTOCOLS: Final = (describe_2007.PROTOCOL, describe_1997.PROTOCOL)
"""By their names in `meterd decode --protocol`."""
ONLY_1997: Final = frozenset(functions_1997.FUNCTION_NAMES) - frozenset(functions.FUNCTION_NAMES)
SECURITY_CLASS: Final = 0x07
"""DI3 of everything that the 2007 function 03 carries."""


def describe_stream(data: bytes, protocol: str | None = None) -> list[Description | SkippedBytes]:
    """Everything in `data`, in order of appearance; nothing follows it. `protocol`: one of
    PROTOCOLS, found out for each frame when it is None."""
    decoder = Decoder()
    return [
        SkippedBytes(item.data.hex().upper(), item.reason)
        if isinstance(item, Skipped)
        else describe(item, protocol)
        for item in decoder.feed(data) + decoder.flush()
    ]


def describe(frame: Frame, protocol: str | None = None) -> Description:
    """One frame. Never raises, whatever the data are. `protocol`: one of PROTOCOLS, None to find
    out."""
    return _DESCRIBERS[protocol or protocol_of(frame)](frame)


def protocol_of(frame: Frame) -> str:
    """The version that a frame is written in. The versions share the frame but few function codes:
    03 re-reads in 1997 (a request has 2 bytes) and carries security data (8 bytes and more, an
    identifier 07) in 2007; 08 is the same."""
    if frame.function in ONLY_1997:
        return describe_1997.PROTOCOL
    if frame.function == functions_1997.READ_AGAIN:
        return describe_1997.PROTOCOL if _is_read_again(frame) else describe_2007.PROTOCOL
    return describe_2007.PROTOCOL


def _is_read_again(frame: Frame) -> bool:
    data = frame.data
    if not frame.is_response:
        return frame.control == functions_1997.READ_AGAIN and len(data) == 2
    if frame.is_abnormal:
        return len(data) == 1
    return len(data) > 2 and not (len(data) >= 4 and data[3] == SECURITY_CLASS)


_DESCRIBERS: Final = {
    describe_2007.PROTOCOL: describe_2007.describe,
    describe_1997.PROTOCOL: describe_1997.describe,
}
