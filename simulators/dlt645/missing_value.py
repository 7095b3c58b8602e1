"""What a simulated meter says of a freeze, a settlement or a record that never was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocols.dlt645.identifiers import Kind, meaning, parts_of

if TYPE_CHECKING:
    from simulators.state.meter import SimulatedMeter


def absent(meter: SimulatedMeter, identifier: bytes) -> bytes | None:
    """By `empty_freeze`: zeros for times and FF for everything else, all FF, or None for *no such
    data*."""
    known = meaning(identifier.hex().upper())
    if known is None or meter.empty_freeze == "refuse":
        return None
    said = b""
    for part in parts_of(known):
        fields = part.record.fields * (1 + meter.tariffs if part.repeats else 1)
        for field in fields:
            is_zero = field.kind is Kind.TIME and meter.empty_freeze == "zeros"
            said += (b"\x00" if is_zero else b"\xff") * field.width
    return said
