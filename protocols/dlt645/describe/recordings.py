"""What many stored frames say, decoded together where they are alike.

Whole answers with energies are the bulk of every log; their values come out of
`prepared.energies`. What is not alike, not good or without data is decoded one by one, and the
result is what `describe_stream` gives for each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from protocols.dlt645.bcd import ENERGY_WIDTH, digits_of
from protocols.dlt645.describe.description import FrameDescription
from protocols.dlt645.describe.frames import describe_stream
from protocols.dlt645.describe.version_2007 import IDENTIFIER_WIDTH, VERSION_2007
from protocols.dlt645.frame import (
    BROADCAST,
    END,
    FE,
    HEADER,
    LENGTH_AT,
    OVERHEAD,
    START,
    subtract_33,
)
from protocols.dlt645.functions import FUNCTION_NAMES, READ
from protocols.dlt645.identifiers import Kind, meaning
from protocols.dlt645.prepared import energies
from protocols.dlt645.values import decode_values

LONGEST: Final = OVERHEAD + 255
SHORTEST: Final = OVERHEAD + IDENTIFIER_WIDTH + ENERGY_WIDTH


class _Alike(NamedTuple):
    """Frames of one length with one identifier of energies, by the number of their stream."""

    identifier: str
    registers: int
    frames: dict[int, bytes]


def describe_streams(
    streams: Sequence[bytes],
    protocol: str | None = None,
) -> list[list[FrameDescription]]:
    """For each stream what `describe_stream` says, as dictionaries."""
    described: dict[int, FrameDescription] = {}
    if protocol in (None, VERSION_2007.protocol):
        for alike in _alike_energies(streams):
            described |= _describe_energies(alike)
    return [
        [described[number]]
        if number in described
        else [item.as_dict() for item in describe_stream(stream, protocol)]
        for number, stream in enumerate(streams)
    ]


def cut(data: bytes) -> list[bytes] | None:
    """The frames of a recording of nothing but frames of one length; None for any other."""
    start = data.find(START)
    if start < 0 or len(data) < start + OVERHEAD or data[:start].strip(FE):
        return None
    length_byte = data[start + LENGTH_AT]
    length = start + length_byte + OVERHEAD
    if len(data) % length:
        return None
    pieces = [data[at : at + length] for at in range(0, len(data), length)]
    marks = (START, length_byte, END)
    for piece in pieces:
        if (piece[start], piece[start + LENGTH_AT], piece[-1]) != marks:
            return None
    return pieces


def _alike_energies(streams: Sequence[bytes]) -> Iterator[_Alike]:
    by_shape: dict[tuple[int, bytes], dict[int, bytes]] = defaultdict(dict)
    for number, stream in enumerate(streams):
        frame = stream.lstrip(FE)
        if SHORTEST <= len(frame) <= LONGEST:
            by_shape[len(frame), frame[HEADER : HEADER + IDENTIFIER_WIDTH]][number] = frame
    for (length, wire), frames in by_shape.items():
        identifier = digits_of(subtract_33(wire))
        registers, rest = divmod(length - OVERHEAD - IDENTIFIER_WIDTH, ENERGY_WIDTH)
        if not rest and _is_energy(identifier, registers):
            yield _Alike(identifier, registers, frames)


def _is_energy(identifier: str, registers: int) -> bool:
    """Unsigned energies XXXXXX.XX, as many as the identifier has."""
    known = meaning(identifier)
    if known is None or len(known.record.fields) != 1:
        return False
    if registers > 1 and not known.repeats:
        return False
    field = known.record.fields[0]
    form = (field.kind, field.width, field.decimals, field.signed)
    return form == (Kind.NUMBER, ENERGY_WIDTH, 2, False)


def _describe_energies(alike: _Alike) -> dict[int, FrameDescription]:
    """The frames that are good answers with a number in each register and a meter's own address."""
    hundredths, good = energies.decode_registers(
        b"".join(alike.frames.values()), alike.identifier, registers=alike.registers
    )
    no_energies = bytes(ENERGY_WIDTH * alike.registers)
    names = [(value.name, value.unit) for value in decode_values(alike.identifier, no_energies)]
    has_numbers = (hundredths >= 0).all(axis=1)
    plain = (good & has_numbers).tolist()
    described: dict[int, FrameDescription] = {}
    rows = zip(alike.frames.items(), hundredths.tolist(), plain, strict=True)
    for (number, frame), row, is_plain in rows:
        address = digits_of(frame[1:7])
        if not is_plain or address.startswith("AA") or address == BROADCAST:
            continue
        values = []
        for (name, unit), value in zip(names, row, strict=True):
            text = f"{value // 100}.{value % 100:02d}"
            values.append({"name": name, "value": text, "unit": unit})
        described[number] = {
            "protocol": VERSION_2007.protocol,
            "direction": "response",
            "address": address,
            "control": "91",
            "function": FUNCTION_NAMES[READ],
            "identifier": alike.identifier,
            "values": values,
            "error": None,
            "follow": False,
            "raw": frame.hex().upper(),
        }
    return described
