"""What a simulated meter measures at the moment: identifiers 02, in wire order."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Final

from protocols.dlt645.bcd import encode_bcd
from protocols.dlt645.identifiers import BLOCK
from simulators.dlt645.demand import present_demand_mw
from simulators.dlt645.energies import APPARENT_PERMILLE, REACTIVE_PERMILLE
from simulators.dlt645.freezes import has_switched
from simulators.state.load import RATE_OF_HOUR

if TYPE_CHECKING:
    from simulators.state.meter import SimulatedMeter

VOLTAGE, CURRENT, ACTIVE_POWER, REACTIVE_POWER, APPARENT_POWER, POWER_FACTOR, PHASE_ANGLE = range(
    1, 8
)
"""DI2 of what every phase has."""
FREQUENCY, ACTIVE_DEMAND, REACTIVE_DEMAND = 0x02, 0x04, 0x05
"""DI0 of 028000."""
PRICE_SWITCH: Final = 0x05

_POWER_FACTOR_PERMILLE: Final = 950
_PHASE_ANGLE: Final = 182
"""In 0.1 degrees, of that power factor."""
_TENTHS_OF_A_VOLT_LOST_PER_KW: Final = 5
_POWERS: Final = {
    ACTIVE_POWER: 1000,
    REACTIVE_POWER: REACTIVE_PERMILLE,
    APPARENT_POWER: APPARENT_PERMILLE,
}
_WAVES: Final = {
    0x08: 1,
    0x09: 1,
    0x0A: 21,
    0x0B: 21,
}
"""DI2 of distortion and harmonics, and how many there are of each phase. The waves are pure: all
0."""
_CONSTANTS: Final = {
    FREQUENCY: "0050",
    0x07: "5002",
    0x08: "6003",
    0x09: "6003",
    0x0A: "00000000",
    0x0B: "00000000",
}
"""50 Hz, 25 °C, both batteries 3.60 V and never used, no price by steps."""


def read(meter: SimulatedMeter, identifier: bytes, at: datetime) -> bytes | None:
    """The data behind 02 DI2 DI1 DI0; FF in the phases that a single-phase meter does not have."""
    _, kind, which, last = identifier
    match kind, which:
        case 0x80, 0x00:
            return single(meter, last, at)
        case ((0x03 | 0x04 | 0x05 | 0x06), _) if not last:
            return pick(with_total(meter, kind, at), which)
        case ((0x01 | 0x02 | 0x07), _) if not last:
            return pick([b"", *phases(meter, kind, at)], which)
        case ((0x08 | 0x09 | 0x0A | 0x0B), _):
            pure = [
                b"\0\0" * (_WAVES[kind] if last == BLOCK else 1) if it else b"\xff\xff"
                for it in _present(meter)
            ]
            return pick([b"", *pure], which)
    return None


def pick(items: list[bytes], which: int) -> bytes | None:
    """One of the items, or all of them for FF."""
    if which == BLOCK:
        return b"".join(items)
    return (items[which] or None) if which < len(items) else None


def phases(meter: SimulatedMeter, kind: int, at: datetime) -> list[bytes]:
    """Phases A, B and C."""
    return with_total(meter, kind, at)[1:]


def with_total(meter: SimulatedMeter, kind: int, at: datetime) -> list[bytes]:
    """The total, of voltage, current and angle phase A, and each phase."""
    power_mw = meter.power_mw(at)
    phase_mw = power_mw // meter.phases
    factor = _POWER_FACTOR_PERMILLE if power_mw else 1000
    match kind:
        case 0x01:
            total = phase = encode_bcd(volts(meter, at), 2)
        case 0x02:
            total = phase = _at_most(phase_mw * 10_000 // (volts(meter, at) * factor), 3)
        case 0x06:
            total = phase = encode_bcd(factor, 2)
        case 0x07:
            total = phase = encode_bcd(_PHASE_ANGLE if power_mw else 0, 2)
        case _:
            share = _POWERS[kind]
            total, phase = (_at_most(it * share // 100_000, 3) for it in (power_mw, phase_mw))
    return [total, *(phase if it else b"\xff" * len(phase) for it in _present(meter))]


def single(meter: SimulatedMeter, which: int, at: datetime) -> bytes | None:
    """The data behind 028000 DI0."""
    if constant := _CONSTANTS.get(which):
        return bytes.fromhex(constant)
    match which:
        case 0x01:  # nothing comes back through the neutral of three equal phases
            return phases(meter, CURRENT, at)[0] if meter.phases == 1 else bytes(3)
        case 0x03:
            return with_total(meter, ACTIVE_POWER, at)[0]
        case 0x04 | 0x05 | 0x06:
            share = (1000, REACTIVE_PERMILLE, APPARENT_PERMILLE)[which - 4]
            return _at_most(present_demand_mw(meter, at) * share // 100_000, 3)
        case 0x20 | 0x21:
            table = 2 if has_switched(meter, PRICE_SWITCH, at) else 1
            return meter.parameters.read(f"04050{table}{RATE_OF_HOUR[at.hour]:02X}")
    return None


def volts(meter: SimulatedMeter, at: datetime) -> int:
    """In 0.1 V; it drops with the load."""
    phase_mw = meter.power_mw(at) // meter.phases
    return max(1, int(meter.voltage_v * 10) - phase_mw * _TENTHS_OF_A_VOLT_LOST_PER_KW // 1_000_000)


def _present(meter: SimulatedMeter) -> Iterator[bool]:
    return (number < meter.phases for number in range(3))


def _at_most(value: int, width: int) -> bytes:
    """A signed quantity, or the greatest one that the display has: the top bit is the sign."""
    return encode_bcd(min(value, 8 * 10 ** (2 * width - 1) - 1), width)
