"""What a simulated meter measures at the moment: identifiers 02, in wire order."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from protocols.dlt645.bcd import encode_bcd
from protocols.dlt645.identifiers import BLOCK
from simulators.dlt645.demand import present_demand_mw
from simulators.dlt645.energies import APPARENT_PERMILLE, REACTIVE_PERMILLE
from simulators.dlt645.freezes import has_switched
from simulators.state.load import RATE_OF_HOUR
from simulators.state.meter import MeterState

VOLTAGE: Final = 0x01
CURRENT: Final = 0x02
ACTIVE_POWER: Final = 0x03
REACTIVE_POWER: Final = 0x04
APPARENT_POWER: Final = 0x05
POWER_FACTOR: Final = 0x06
PHASE_ANGLE: Final = 0x07
"""DI2 of what every phase has."""
_WITH_TOTAL: Final = (ACTIVE_POWER, REACTIVE_POWER, APPARENT_POWER, POWER_FACTOR)
_WITHOUT_TOTAL: Final = (VOLTAGE, CURRENT, PHASE_ANGLE)

SINGLE: Final = 0x80
"""DI2 of what a meter has once; DI0 says what."""
NEUTRAL_CURRENT: Final = 0x01
FREQUENCY: Final = 0x02
MEAN_POWER: Final = 0x03
ACTIVE_DEMAND: Final = 0x04
REACTIVE_DEMAND: Final = 0x05
APPARENT_DEMAND: Final = 0x06
PRESENT_PRICE: Final = 0x20
PRESENT_TARIFF_PRICE: Final = 0x21
PRICE_SWITCH: Final = 0x05
"""The kind of freeze that is taken when the second prices take effect."""

_PHASES: Final = 3
_POWER_FACTOR_PERMILLE: Final = 950
_PHASE_ANGLE: Final = 182
"""In 0.1 degrees, of that power factor."""
_TENTHS_OF_A_VOLT_LOST_PER_KW: Final = 5
_POWERS: Final = {
    ACTIVE_POWER: 1000,
    REACTIVE_POWER: REACTIVE_PERMILLE,
    APPARENT_POWER: APPARENT_PERMILLE,
}
_DEMANDS: Final = {
    ACTIVE_DEMAND: 1000,
    REACTIVE_DEMAND: REACTIVE_PERMILLE,
    APPARENT_DEMAND: APPARENT_PERMILLE,
}
"""In permille of the active power."""
_WAVES: Final = {
    0x08: 1,
    0x09: 1,
    0x0A: 21,
    0x0B: 21,
}
"""DI2 of distortion and harmonics, and how many there are of each phase. The waves are pure: all
0."""
# DL/T 645-2007, 028000: the widths differ, so they stand here as bytes in wire order.
_CONSTANTS: Final = {
    FREQUENCY: "0050",
    0x07: "5002",
    0x08: "6003",
    0x09: "6003",
    0x0A: "00000000",
    0x0B: "00000000",
}
"""50 Hz, 25 °C, both batteries 3.60 V and never used, no price by steps."""


def read(
    state: MeterState,
    identifier: bytes,
    at: datetime,
) -> bytes | None:
    """The data behind 02 DI2 DI1 DI0; FF in the phases that a single-phase meter does not have."""
    _, kind, which, last = identifier
    if kind == SINGLE and not which:
        return single(state, last, at)
    if kind in _WAVES:
        wave = b"\0\0" * (_WAVES[kind] if last == BLOCK else 1)
        return pick([b"", *_in_phases(state, wave, absent=b"\xff\xff")], which)
    if last:
        return None
    if kind in _WITH_TOTAL:
        return pick(with_total(state, kind, at), which)
    if kind in _WITHOUT_TOTAL:
        return pick([b"", *phases(state, kind, at)], which)
    return None


def pick(items: list[bytes], which: int) -> bytes | None:
    """One of the items, or all of them for FF."""
    if which == BLOCK:
        return b"".join(items)
    if which >= len(items):
        return None
    return items[which] or None


def phases(
    state: MeterState,
    kind: int,
    at: datetime,
) -> list[bytes]:
    """Phases A, B and C."""
    return with_total(state, kind, at)[1:]


def with_total(
    state: MeterState,
    kind: int,
    at: datetime,
) -> list[bytes]:
    """The total, of voltage, current and angle phase A, and each phase."""
    power_mw = state.power_mw(at)
    phase_mw = power_mw // state.spec.phases
    if kind in _POWERS:
        total = _power(power_mw, _POWERS[kind])
        phase = _power(phase_mw, _POWERS[kind])
        return [total, *_in_phases(state, phase)]
    factor = _POWER_FACTOR_PERMILLE if power_mw else 1000
    if kind == VOLTAGE:
        value = encode_bcd(volts(state, at), 2)
    elif kind == CURRENT:
        # mW by 0.1 V and permille: 10,000 makes it 0.001 A.
        value = _at_most(phase_mw * 10_000 // (volts(state, at) * factor), 3)
    elif kind == POWER_FACTOR:
        value = encode_bcd(factor, 2)
    else:
        value = encode_bcd(_PHASE_ANGLE if power_mw else 0, 2)
    return [value, *_in_phases(state, value)]


def single(
    state: MeterState,
    which: int,
    at: datetime,
) -> bytes | None:
    """The data behind 028000 DI0."""
    if which in _CONSTANTS:
        return bytes.fromhex(_CONSTANTS[which])
    if which in _DEMANDS:
        return _power(present_demand_mw(state, at), _DEMANDS[which])
    if which == NEUTRAL_CURRENT:
        # Nothing comes back through the neutral of three equal phases.
        return phases(state, CURRENT, at)[0] if state.spec.phases == 1 else bytes(3)
    if which == MEAN_POWER:
        return with_total(state, ACTIVE_POWER, at)[0]
    if which in (PRESENT_PRICE, PRESENT_TARIFF_PRICE):
        table = 2 if has_switched(state, PRICE_SWITCH, at) else 1
        return state.parameters.read(f"04050{table}{RATE_OF_HOUR[at.hour]:02X}")
    return None


def volts(state: MeterState, at: datetime) -> int:
    """In 0.1 V; it drops with the load."""
    phase_mw = state.power_mw(at) // state.spec.phases
    lost = phase_mw * _TENTHS_OF_A_VOLT_LOST_PER_KW // 1_000_000
    return max(1, int(state.spec.voltage_v * 10) - lost)


def _in_phases(
    state: MeterState,
    value: bytes,
    absent: bytes = b"",
) -> Iterable[bytes]:
    """The same in each phase that there is; `absent`, or FF, in the others."""
    for number in range(_PHASES):
        yield value if number < state.spec.phases else absent or b"\xff" * len(value)


def _power(active_mw: int, permille: int) -> bytes:
    # 0.0001 kW are 100 mW, and another 1000 for the permille.
    return _at_most(active_mw * permille // 100_000, 3)


def _at_most(value: int, width: int) -> bytes:
    """A signed quantity, or the greatest one that the display has: the top bit is the sign."""
    greatest = 8 * 10 ** (2 * width - 1) - 1
    return encode_bcd(min(value, greatest), width)
