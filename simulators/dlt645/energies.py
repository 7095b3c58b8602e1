"""Energies and maximum demands of a simulated meter, by DI2 of their identifiers, in wire order.

It measures forward active energy; everything else is a fixed share of it. Its load is inductive,
with a power factor of 0.95: quadrant 1 alone counts, and nothing flows back."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Final

from protocols.dlt645.bcd import encode_bcd, encode_time
from simulators.dlt645.demand import Demand, maximum_demands
from simulators.dlt645.freezes import FREEZE_TIME
from simulators.state.load import MWH_PER_DIGIT, REGISTER_WRAPS

if TYPE_CHECKING:
    from simulators.state.meter import SimulatedMeter

KINDS: Final = 11
REACTIVE_PERMILLE: Final = 330
APPARENT_PERMILLE: Final = 1053
"""Of the active energy and power."""
SHARES: Final = {
    0x00: 1000,
    0x01: 1000,
    0x03: REACTIVE_PERMILLE,
    0x05: REACTIVE_PERMILLE,
    0x09: APPARENT_PERMILLE,
}
"""In permille of the forward active energy, by kind 00 (combined active) to 0A (reverse apparent);
the others are 0."""
RECORDED: Final = (0x01, 0x02, 0x05, 0x06, 0x07, 0x08)
"""The kinds in an event record, in its order."""
PHASE_A: Final = 0x15
_FIRST_OF_PHASES: Final = range(PHASE_A, PHASE_A + 3 * 0x14, 0x14)
_SIGNED: Final = (0x00, 0x03, 0x04)
_MW_PER_DIGIT: Final = 100
"""The last digit of a demand: 0.0001 kW."""


def registers_on_the_wire(registers: Iterable[int]) -> list[bytes]:
    """Registers of 8 digits, low byte first. What a bench answers most; ten times as fast as the
    general encoder."""
    return [bytes.fromhex(f"{register:08d}")[::-1] for register in registers]


def energies(meter: SimulatedMeter, kind: int, at: datetime) -> list[bytes]:
    """Total and each tariff of a kind 00 to 0A."""
    share = SHARES.get(kind, 0)
    if share == 1000:
        return registers_on_the_wire(meter.registers(at))
    wraps = 8 * REGISTER_WRAPS // 10 if kind in _SIGNED else REGISTER_WRAPS
    return registers_on_the_wire(
        mwh * share // 1000 // MWH_PER_DIGIT % wraps for mwh in meter.energy_mwh(at)
    )


def phase_energy(meter: SimulatedMeter, kind: int, at: datetime) -> bytes | None:
    """The total of one phase, by DI2 15 to 46; all phases carry the same. FF in a phase that the
    meter has not."""
    for phase, first in enumerate(_FIRST_OF_PHASES):
        if 0 <= kind - first < KINDS - 1:
            return of_phase(meter, 1 + kind - first, phase, at)
    return None


def of_phase(meter: SimulatedMeter, kind: int, phase: int, at: datetime) -> bytes:
    """The total of a kind in phase 0, 1 or 2."""
    if phase >= meter.phases:
        return b"\xff" * 4
    mwh = meter.energy_mwh(at)[0] * SHARES.get(kind, 0) // 1000 // meter.phases
    return registers_on_the_wire([mwh // MWH_PER_DIGIT % REGISTER_WRAPS])[0]


def demands(meter: SimulatedMeter, kind: int, at: datetime) -> list[bytes]:
    """Maximum demand and the time of its occurrence, of the total and each tariff of a kind 01 to
    0A."""
    share = SHARES.get(kind, 0)
    if not share:
        return [bytes(8)] * (1 + meter.tariffs)
    return [_demand(meter, found, share) for found in maximum_demands(meter, at)]


def demand_of_phase(meter: SimulatedMeter, kind: int, phase: int, at: datetime) -> bytes:
    """Likewise of phase 0, 1 or 2; all phases have theirs at the same time."""
    if phase >= meter.phases:
        return b"\xff" * 8
    share = SHARES.get(kind, 0)
    return _demand(meter, maximum_demands(meter, at)[0], share, meter.phases) if share else bytes(8)


def _demand(meter: SimulatedMeter, found: Demand, share: int, phases: int = 1) -> bytes:
    digits = found.mw * share // 1000 // phases // _MW_PER_DIGIT
    if found.ended is None:
        return bytes(8)
    return encode_bcd(min(digits, 799_999), 3) + encode_time(
        meter.clock.shows(found.ended), FREEZE_TIME
    )
