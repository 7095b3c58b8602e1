"""What a simulated meter answers of a freeze, a settlement or a record that never was."""

from __future__ import annotations

from protocols.dlt645.identifiers import Kind, meaning, parts_of
from simulators.state.spec import MeterSpec


def missing_value(spec: MeterSpec, identifier: bytes) -> bytes | None:
    """Its data by `empty_freeze`, None for *no such data*.

    Zeros for times and FF for everything else, or all FF."""
    known = meaning(identifier.hex().upper())
    if known is None or spec.empty_freeze == "refuse":
        return None
    time = b"\x00" if spec.empty_freeze == "zeros" else b"\xff"
    data = b""
    for part in parts_of(known):
        repeats = 1 + spec.tariffs if part.repeats else 1
        for field in part.record.fields * repeats:
            filler = time if field.kind is Kind.TIME else b"\xff"
            data += filler * field.width
    return data
