"""What a simulated meter has behind each identifier, as bytes in wire order."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import Final

from protocols.dlt645.bcd import encode_bcd, encode_time
from protocols.dlt645.identifiers import BLOCK, meaning
from simulators.dlt645 import event_records, prepaid, variables
from simulators.dlt645.access import Access
from simulators.dlt645.energies import (
    KINDS,
    PHASE_A,
    demands,
    energies,
    phase_energy,
    registers_on_the_wire,
)
from simulators.dlt645.freezes import (
    DAILY,
    FREEZE_TIME,
    HOURLY,
    KEPT,
    SETTLEMENTS_KEPT,
    numbered,
    settlements,
)
from simulators.dlt645.missing_value import missing_value
from simulators.dlt645.status import status_words
from simulators.dlt645.variables import pick
from simulators.state.meter import Freeze, MeterState

_REMAINING: Final = 0x90
_REMAINING_KINDS: Final = (prepaid.ENERGY, prepaid.MONEY)
_SETTLEMENT_TIME: Final = 0xFE
_PURCHASES: Final = (0x32, 0x33)
_CLOCK: Final = 0x01
_IDENTITY: Final = 0x04
_STATUS: Final = 0x05
_CLOCK_LAYOUTS: Final = {
    0x01: "WW DD MM YY",
    0x02: "ss mm hh",
    0x0C: "ss mm hh WW DD MM YY",
}
_ADDRESS: Final = 0x01
_METER_NUMBER: Final = 0x02
_RATED_VOLTAGE: Final = 0x04
_RATED_VOLTAGE_WIDTH: Final = 6
_FROZEN_REMAINING: Final = (0x08, 0x02)
_FREEZE_TIME: Final = 0x00
_ENERGIES_IN_FREEZES: Final = range(0x01, 0x09)
_FORWARD_IN_FREEZES: Final = 0x01
_DEMANDS_IN_FREEZES: Final = range(0x09, 0x0B)
_VARIABLES_IN_FREEZES: Final = 0x10
_HOURLY_ITEMS: Final = (_FREEZE_TIME, 0x01, 0x02)
_ITEMS: Final = (*range(0x0B), _VARIABLES_IN_FREEZES)
"""What block FF of a freeze is made of."""


def read(
    state: MeterState,
    access: Access,
    identifier: bytes,
    at: datetime,
) -> bytes | None:
    """The data behind DI3 DI2 DI1 DI0; None for *no such data*."""
    if len(identifier) != 4:
        return None
    match identifier[0]:
        case 0x00:
            return _energy(state, identifier, at)
        case 0x01:
            return _maximum_demand(state, identifier, at)
        case 0x02:
            return variables.read(state, identifier, at)
        case 0x03 if identifier[1] in _PURCHASES:
            return prepaid.read_purchase(state.spec, identifier)
        case 0x03 | 0x1D | 0x1E:
            return event_records.read(state, identifier, at)
        case 0x04:
            return _parameter(state, access, identifier, at)
        case 0x05:
            return _frozen(state, identifier, at)
    return None


def _energy(
    state: MeterState,
    identifier: bytes,
    at: datetime,
) -> bytes | None:
    _, kind, tariff, day = identifier
    # What a bench is asked most, on the shortest way.
    if kind == 0x01 and day == 0:
        return pick(registers_on_the_wire(state.registers(at)), tariff)
    is_overdraft = day == 1
    if kind == _REMAINING and tariff in _REMAINING_KINDS and day in (0, 1):
        return prepaid.read_remaining(state.spec, tariff, overdraft=is_overdraft)
    if kind < KINDS:
        return _settled(
            state,
            identifier,
            at,
            lambda at: pick(energies(state, kind, at), tariff),
        )
    if tariff:
        return None
    if kind == _SETTLEMENT_TIME:
        return _settled_times(state, identifier, at)
    if kind >= PHASE_A:
        return _settled(
            state,
            identifier,
            at,
            lambda at: phase_energy(state, kind, at),
        )
    return None


def _maximum_demand(
    state: MeterState,
    identifier: bytes,
    at: datetime,
) -> bytes | None:
    _, kind, tariff, _ = identifier
    if not 0 < kind < KINDS:
        return None
    return _settled(
        state,
        identifier,
        at,
        lambda at: pick(demands(state, kind, at), tariff),
    )


def _settled(
    state: MeterState,
    identifier: bytes,
    at: datetime,
    data_at: Callable[[datetime], bytes | None],
) -> bytes | None:
    """Of now (DI0 0), of one of the last settlements, or for FF of all of them."""
    return _of_settlements(
        state,
        identifier,
        at,
        lambda freeze: data_at(freeze.at),
    )


def _settled_times(
    state: MeterState,
    identifier: bytes,
    at: datetime,
) -> bytes | None:
    return _of_settlements(state, identifier, at, _stamp)


def _of_settlements(
    state: MeterState,
    identifier: bytes,
    at: datetime,
    data_of: Callable[[Freeze], bytes | None],
) -> bytes | None:
    day = identifier[3]
    now = Freeze(state.clock.shows(at), at)
    if day == 0:
        return data_of(now)
    known = meaning(identifier.hex().upper())
    if known is None:
        return None
    found = list(islice(settlements(state, at), SETTLEMENTS_KEPT))
    if day != BLOCK:
        if day > len(found):
            return missing_value(state.spec, identifier)
        return data_of(found[day - 1])
    # DI0 FF begins with now; settlements that were not yet are FF at the end.
    data = data_of(now)
    if not data:
        return None
    for settlement in found:
        data += data_of(settlement) or b""
    none = b"\xff" * known.record.width
    return data + none * (SETTLEMENTS_KEPT - len(found))


def _parameter(
    state: MeterState,
    access: Access,
    identifier: bytes,
    at: datetime,
) -> bytes | None:
    _, group, kind, which = identifier
    data = None
    if group == 0 and kind == _CLOCK and which in _CLOCK_LAYOUTS:
        data = encode_time(state.clock.shows(at), _CLOCK_LAYOUTS[which])
    elif group == 0 and kind == _IDENTITY:
        data = _identity(state, which)
    elif group == 0 and kind == _STATUS:
        words = status_words(state, access, at)
        encoded = [word.to_bytes(2, "little") for word in words]
        data = pick([b"", *encoded], which)
    if data is None:
        return state.parameters.read(identifier.hex().upper())
    return data


def _identity(state: MeterState, which: int) -> bytes | None:
    if which == _ADDRESS:
        return encode_bcd(int(state.address), 6)
    if which == _METER_NUMBER:
        return encode_bcd(int(state.serial), 6)
    if which == _RATED_VOLTAGE:
        text = f"{int(state.spec.voltage_v)}V".encode()
        return text.ljust(_RATED_VOLTAGE_WIDTH, b"\0")[::-1]
    return None


def _frozen(
    state: MeterState,
    identifier: bytes,
    at: datetime,
) -> bytes | None:
    """Item 00 of a freeze is its time, 10 its variables, FF everything in order.

    An hourly one has the totals alone."""
    _, kind, item, number = identifier
    if (kind, item) == _FROZEN_REMAINING:
        return prepaid.read_frozen(state, identifier, at)
    if not 0 < number <= KEPT.get(kind, 0):
        return None
    items = _HOURLY_ITEMS if kind == HOURLY else _ITEMS
    if item != BLOCK and item not in items:
        return None
    freeze = numbered(state, kind, number, at)
    if freeze is None:
        return _missing_freeze(state, identifier)
    chosen = items if item == BLOCK else (item,)
    return b"".join(_frozen_item(state, kind, each, freeze) for each in chosen)


def _missing_freeze(state: MeterState, identifier: bytes) -> bytes | None:
    _, kind, item, _ = identifier
    if kind != HOURLY or item == _FREEZE_TIME:
        return missing_value(state.spec, identifier)
    if missing_value(state.spec, identifier) is None:
        return None
    # The table knows hourly freezes with all tariffs; this meter's have the totals alone.
    if item == BLOCK:
        return missing_value(state.spec, bytes((0x05, HOURLY, _FREEZE_TIME, 0x01)))
    return b"\xff" * 4


def _frozen_item(
    state: MeterState,
    kind: int,
    item: int,
    freeze: Freeze,
) -> bytes:
    if item == _FREEZE_TIME:
        return _stamp(freeze)
    wrong_kwh = state.spec.wrong_freezes.get(freeze.stamp.date()) if kind == DAILY else None
    if item == _FORWARD_IN_FREEZES and wrong_kwh is not None:
        return b"".join(registers_on_the_wire(_wrong_registers(state, freeze, wrong_kwh)))
    if item in _ENERGIES_IN_FREEZES:
        registers = energies(state, item, freeze.at)
        return registers[0] if kind == HOURLY else b"".join(registers)
    if item in _DEMANDS_IN_FREEZES:
        kind_of_energy = 1 + item - _DEMANDS_IN_FREEZES.start
        return b"".join(demands(state, kind_of_energy, freeze.at))
    powers = variables.with_total(state, variables.ACTIVE_POWER, freeze.at)
    powers += variables.with_total(state, variables.REACTIVE_POWER, freeze.at)
    return b"".join(powers)


def _wrong_registers(state: MeterState, freeze: Freeze, total_kwh: Decimal) -> list[int]:
    """Another total, and the rates in the shares that they truly have, so that they add up."""
    _, *rates = state.registers(freeze.at)
    total = int(total_kwh.scaleb(2))
    if not rates:
        return [total]
    first = [total * rate // max(sum(rates), 1) for rate in rates[:-1]]
    return [total, *first, total - sum(first)]


def _stamp(freeze: Freeze) -> bytes:
    return encode_time(freeze.stamp, FREEZE_TIME)
