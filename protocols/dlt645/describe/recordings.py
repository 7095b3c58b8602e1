"""What many stored frames say, told at once where they are alike: whole answers with energies, the
bulk of every log.

The result is what `describe_stream` gives for each; the values come out of `batch`, and only what
is not alike, not good or without data is decoded one by one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from protocols.dlt645.bcd import ENERGY_WIDTH
from protocols.dlt645.describe.frames import describe_stream
from protocols.dlt645.describe.version_2007 import PROTOCOL
from protocols.dlt645.frame import BROADCAST, OVERHEAD
from protocols.dlt645.functions import FUNCTION_NAMES, READ
from protocols.dlt645.identifiers import Kind, meaning
from protocols.dlt645.prepared import energies as batch
from protocols.dlt645.values import decode_values

Told = dict[str, Any]
"""One frame or one skipped stretch, ready for JSON."""
LONGEST: Final = OVERHEAD + 255
SHORTEST: Final = OVERHEAD + 4 + ENERGY_WIDTH
_SUBTRACT_33: Final = bytes((i - 0x33) & 0xFF for i in range(256))


def describe_streams(streams: Sequence[bytes], protocol: str | None = None) -> list[list[Told]]:
    """For each stream what `describe_stream` says, as dictionaries."""
    alike: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    bodies = [stream.lstrip(b"\xfe") for stream in streams]
    for number, body in enumerate(bodies):
        if SHORTEST <= len(body) <= LONGEST:
            alike[len(body), body[10:14]].append(number)
    told: list[list[Told] | None] = [None] * len(streams)
    for (length, wire), numbers in alike.items():
        identifier = wire.translate(_SUBTRACT_33)[::-1].hex().upper()
        registers, rest = divmod(length - OVERHEAD - 4, ENERGY_WIDTH)
        if not rest and protocol in (None, PROTOCOL) and _is_energy(identifier, registers):
            _tell_energies(
                identifier,
                registers,
                numbers,
                bodies,
                told,
            )
    return [
        [item.as_dict() for item in describe_stream(stream, protocol)] if done is None else done
        for stream, done in zip(streams, told, strict=True)
    ]


def cut(data: bytes) -> list[bytes] | None:
    """The frames of a recording that is nothing but frames of one length, None when it is anything
    else."""
    start = data.find(0x68)
    if start < 0 or len(data) < start + OVERHEAD:
        return None
    length = start + data[start + 9] + OVERHEAD
    if len(data) % length or any(data[at + start] != 0x68 for at in range(0, len(data), length)):
        return None
    pieces = [data[at : at + length] for at in range(0, len(data), length)]
    ends_well = all(piece[start + 9] == data[start + 9] and piece[-1] == 0x16 for piece in pieces)
    return pieces if ends_well and not data[:start].strip(b"\xfe") else None


def _is_energy(identifier: str, registers: int) -> bool:
    """Unsigned energies XXXXXX.XX, as many as the identifier has."""
    known = meaning(identifier)
    if known is None or (registers > 1 and not known.repeats) or len(known.record.fields) != 1:
        return False
    field = known.record.fields[0]
    return (field.kind, field.width, field.decimals, field.signed) == (
        Kind.NUMBER,
        ENERGY_WIDTH,
        2,
        False,
    )


def _tell_energies(
    identifier: str,
    registers: int,
    numbers: list[int],
    bodies: list[bytes],
    told: list[list[Told] | None],
) -> None:
    hundredths, good = batch.decode_registers(
        b"".join([bodies[number] for number in numbers]), identifier, registers=registers
    )
    names = [
        (value.name, value.unit)
        for value in decode_values(identifier, bytes(ENERGY_WIDTH * registers))
    ]
    plain = good & (hundredths >= 0).all(axis=1)
    for number, row, is_plain in zip(numbers, hundredths.tolist(), plain.tolist(), strict=True):
        body = bodies[number]
        address = body[6:0:-1].hex().upper()
        if not is_plain or address.startswith("AA") or address == BROADCAST:
            continue
        told[number] = [
            {
                "protocol": PROTOCOL,
                "direction": "response",
                "address": address,
                "control": "91",
                "function": FUNCTION_NAMES[READ],
                "identifier": identifier,
                "values": [
                    {
                        "name": name,
                        "value": f"{value // 100}.{value % 100:02d}",
                        "unit": unit,
                    }
                    for (name, unit), value in zip(names, row, strict=True)
                ],
                "error": None,
                "follow": False,
                "raw": body.hex().upper(),
            }
        ]
