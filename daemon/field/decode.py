"""What recorded bytes say: DL/T 645 or Modbus, found out where it is not given."""

from __future__ import annotations

from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from pathlib import Path
from typing import Final

from config.bounded_file import MEBIBYTE, read_file
from protocols.dlt645.describe.description import FrameDescription
from protocols.dlt645.describe.frames import PROTOCOLS, describe_stream
from protocols.dlt645.describe.hex_text import parse_hex
from protocols.errors import FrameError

MOST_BYTES: Final = 64 * MEBIBYTE
"""Of a recording: what is said of it takes many times its room."""
AUTO: Final = "auto"
MODBUS: Final = "modbus"
MODBUS_KINDS: Final = ("modbus-rtu", "modbus-tcp", "modbus-pdu")
MODBUS_FUNCTIONS: Final = (1, 2, 3, 4, 5, 6, 15, 16)
"""What meters know; a damaged frame with another function is not taken for Modbus."""
DLT645_BEGINS: Final = b"\x68\xfe"
NOISE: Final = "noise"
TRUNCATED: Final = "truncated"


def describe_bytes(data: bytes, protocol: str = AUTO) -> list[FrameDescription]:
    """Everything in the bytes, in order: frames and skipped stretches, ready for JSON.

    Without a protocol they are DL/T 645 if anything in them is, even damaged; else Modbus, if that
    accounts for all of them or they are one damaged frame with a usual function. The last bytes of
    a frame of Modbus may look like the beginning of one of DL/T 645."""
    if protocol in PROTOCOLS:
        return [item.as_dict() for item in describe_stream(data, protocol)]
    if protocol != AUTO:
        return _describe_modbus(data, protocol)
    as_dlt645 = [item.as_dict() for item in describe_stream(data)]
    if not _all_skipped(as_dlt645, NOISE, TRUNCATED):
        return as_dlt645
    as_modbus = _describe_modbus(data, MODBUS)
    if not _has_skipped(as_modbus):
        return as_modbus
    if _all_skipped(as_dlt645, NOISE) and _is_one_damaged_modbus(data, as_modbus):
        return as_modbus
    return as_dlt645


def describe_recording(streams: list[bytes], protocol: str = AUTO) -> list[list[FrameDescription]]:
    """What each of many streams says. Numbers of alike frames are decoded together."""
    if protocol not in (AUTO, *PROTOCOLS):
        return [describe_bytes(stream, protocol) for stream in streams]
    # numpy takes a tenth of a second to import: only when a file is read.
    from protocols.dlt645.describe.recordings import cut, describe_streams

    forced = None if protocol == AUTO else protocol
    pieces = cut(streams[0]) if len(streams) == 1 else None
    if pieces:
        described = describe_streams(pieces, forced)
        if not any(_has_skipped(items) for items in described):
            return described
    # What no frame begins, or none ends, may still be Modbus.
    return [
        describe_bytes(stream, protocol) if _all_skipped(items, NOISE, TRUNCATED) else items
        for stream, items in zip(streams, describe_streams(streams, forced), strict=True)
    ]


def streams_of(path: Path) -> list[bytes]:
    """Each line of a file of hexadecimal text, without what follows a #.

    Bytes that are no text are one stream. FrameError, with its number, for a line of text that
    is no hexadecimal: it could be the one that matters. OSError, as `read_file`."""
    content = read_file(path, MOST_BYTES)
    text = _text(content)
    if text is None:
        return [content]
    streams = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            data = parse_hex(line.partition("#")[0])
        except FrameError as error:
            raise FrameError(f"line {number}: {error}") from None
        if data:
            streams.append(data)
    return streams


def _text(content: bytes) -> str | None:
    """The file as text; None when it is binary. PowerShell's `>` writes UTF-16."""
    encoding = "utf-16" if content[:2] in (BOM_UTF16_LE, BOM_UTF16_BE) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        return None
    is_text = all(char.isprintable() or char.isspace() for char in text)
    return text if is_text else None


def _describe_modbus(data: bytes, protocol: str) -> list[FrameDescription]:
    # pymodbus takes a tenth of a second to import: only when it is needed.
    from protocols.modbus import describe

    by_name = {
        MODBUS: describe.describe_any,
        "modbus-rtu": describe.describe_rtu,
        "modbus-tcp": describe.describe_tcp,
        "modbus-pdu": describe.describe_pdu,
    }
    return by_name[protocol](data)


def _is_one_damaged_modbus(data: bytes, described: list[FrameDescription]) -> bool:
    if len(described) != 1 or described[0]["reason"] == NOISE or len(data) < 2:
        return False
    return data[0] not in DLT645_BEGINS and data[1] in MODBUS_FUNCTIONS


def _all_skipped(described: list[FrameDescription], *reasons: str) -> bool:
    return all(item.get("reason") in reasons for item in described)


def _has_skipped(described: list[FrameDescription]) -> bool:
    return any("skipped" in item for item in described)
