"""What DL/T 645 frames say, field by field, in the version that each is written in.

Nothing here is needed to read a meter."""

from __future__ import annotations

from typing import Final

from protocols.dlt645 import functions, functions_1997
from protocols.dlt645.describe.both_versions import describe_refusal, describe_unknown
from protocols.dlt645.describe.description import Description, ErrorDescription, SkippedBytes
from protocols.dlt645.describe.hex_text import parse_hex
from protocols.dlt645.describe.version import DataDescription, Describer, Version
from protocols.dlt645.describe.version_1997 import VERSION_1997
from protocols.dlt645.describe.version_2007 import VERSION_2007
from protocols.dlt645.frame import Decoder, Frame, raw
from protocols.exchange import Skipped

__all__ = [
    "PROTOCOLS",
    "VERSIONS",
    "Description",
    "ErrorDescription",
    "SkippedBytes",
    "describe",
    "describe_stream",
    "parse_hex",
    "version_of",
]

VERSIONS: Final = {version.protocol: version for version in (VERSION_2007, VERSION_1997)}
PROTOCOLS: Final = tuple(VERSIONS)
"""By their names in `meterd decode --protocol`."""
ONLY_1997: Final = frozenset(functions_1997.FUNCTION_NAMES) - frozenset(functions.FUNCTION_NAMES)
SECURITY_CLASS: Final = 0x07
"""DI3 of everything that the 2007 function 03 carries."""


def describe_stream(data: bytes, protocol: str | None = None) -> list[Description | SkippedBytes]:
    """Everything in `data`, in order of appearance; nothing follows it.

    `protocol`: one of PROTOCOLS, found out for each frame when it is None."""
    version = None if protocol is None else VERSIONS[protocol]
    decoder = Decoder()
    return [
        SkippedBytes(item.data.hex().upper(), item.reason)
        if isinstance(item, Skipped)
        else describe(item, version)
        for item in decoder.feed(data) + decoder.flush()
    ]


def describe(frame: Frame, version: Version | None = None) -> Description:
    """One frame. Never raises, whatever the data are. `version`: None to find it out."""
    version = version or version_of(frame)
    found = DataDescription(version)
    if frame.is_response:
        found.check_reply_address(frame.address)
    _describer(frame, version)(frame, found)
    error = None
    if found.errors:
        error = ErrorDescription(found.error_bits, "; ".join(found.errors))
    return Description(
        protocol=version.protocol,
        direction="response" if frame.is_response else "request",
        address=frame.address,
        control=f"{frame.control:02X}",
        function=version.function_names.get(frame.function, "unknown"),
        identifier=found.identifier,
        values=tuple(found.values),
        error=error,
        follow=frame.has_more,
        raw=raw(frame).hex().upper(),
    )


def version_of(frame: Frame) -> Version:
    """The version that a frame is written in.

    The versions share the frame but few function codes: 03 re-reads in 1997 (a request has 2
    bytes) and carries security data (8 bytes and more, an identifier 07) in 2007; 08 is the
    same."""
    if frame.function in ONLY_1997:
        return VERSION_1997
    if frame.function == functions_1997.READ_AGAIN and _is_read_again(frame):
        return VERSION_1997
    return VERSION_2007


def _is_read_again(frame: Frame) -> bool:
    data = frame.data
    if not frame.is_response:
        return frame.control == functions_1997.READ_AGAIN and len(data) == 2
    if frame.is_abnormal:
        return len(data) == 1
    has_security_class = len(data) >= 4 and data[3] == SECURITY_CLASS
    return len(data) > 2 and not has_security_class


def _describer(frame: Frame, version: Version) -> Describer:
    if not frame.is_response:
        return version.requests.get(frame.function, describe_unknown)
    if frame.is_abnormal:
        return version.refusals.get(frame.function, describe_refusal)
    return version.replies.get(frame.function, describe_unknown)
