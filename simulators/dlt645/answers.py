"""What a simulated meter has behind each identifier, as bytes in wire order."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Final

from protocols.dlt645.bcd import encode_bcd, encode_time
from protocols.dlt645.identifiers import BLOCK, meaning
from simulators.dlt645 import event_records as happenings
from simulators.dlt645 import variables
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
    Freeze,
    numbered,
    settlements,
)
from simulators.dlt645.missing_value import absent
from simulators.dlt645.variables import pick
from simulators.state.records import KEPT as RECORDS_KEPT

if TYPE_CHECKING:
    from simulators.state.meter import SimulatedMeter

PURCHASES: Final = 1
"""Whoever has a remaining amount bought it once, when the meter was installed."""
_ENERGIES_IN_FREEZES: Final = 0x08
_DEMANDS_IN_FREEZES: Final = (0x09, 0x0A)
_VARIABLES_IN_FREEZES: Final = 0x10
_HOURLY_ITEMS: Final = (0x00, 0x01, 0x02)
_ITEMS: Final = (*range(0x0B), _VARIABLES_IN_FREEZES)
"""What block FF of a freeze is made of."""


def read(meter: SimulatedMeter, identifier: bytes, at: datetime) -> bytes | None:
    """The data behind DI3 DI2 DI1 DI0; None for *no such data*."""
    match tuple(identifier):
        case (0x00, 0x01, tariff, 0x00):
            return pick(registers_on_the_wire(meter.registers(at)), tariff)
        case (0x00, 0x90, 0x01 | 0x02 as which, 0x00 | 0x01 as overdraft):
            return _remaining(meter, which, overdraft=bool(overdraft))
        case (0x00, 0xFE, 0x00, day):
            return _settled(
                meter,
                identifier,
                day,
                at,
                lambda settlement: _stamp(settlement),
            )
        case (0x00, kind, tariff, day) if kind < KINDS:
            return _settled(
                meter,
                identifier,
                day,
                at,
                lambda when: pick(energies(meter, kind, when.at), tariff),
            )
        case (0x00, kind, 0x00, day) if kind >= PHASE_A:
            return _settled(
                meter,
                identifier,
                day,
                at,
                lambda when: phase_energy(meter, kind, when.at),
            )
        case (0x01, kind, tariff, day) if 0 < kind < KINDS:
            return _settled(
                meter,
                identifier,
                day,
                at,
                lambda when: pick(demands(meter, kind, when.at), tariff),
            )
        case (0x02, _, _, _):
            return variables.read(meter, identifier, at)
        case (0x03, 0x32 | 0x33 as kind, item, number):
            return _purchase(
                meter,
                identifier,
                kind - 0x31,
                item,
                number,
            )
        case (0x03 | 0x1D | 0x1E, _, _, _):
            return happenings.read(meter, identifier, at)
        case (0x04, 0x00, kind, which):
            found = _parameter(meter, kind, which, at)
            return meter.parameters.read(identifier.hex().upper()) if found is None else found
        case (0x04, _, _, _):
            return meter.parameters.read(identifier.hex().upper())
        case (0x05, 0x08, 0x02, number):
            return _frozen_remaining(meter, identifier, number, at)
        case (0x05, kind, item, number) if number <= KEPT.get(kind, 0) and number:
            return _frozen(
                meter,
                identifier,
                kind,
                item,
                numbered(meter, kind, number, at),
            )
    return None


def _settled(
    meter: SimulatedMeter,
    identifier: bytes,
    day: int,
    at: datetime,
    say: Callable[[Freeze], bytes | None],
) -> bytes | None:
    """Of now (day 0), of one of the last settlements, or for FF of all of them."""
    now = Freeze(meter.clock.shows(at), at)
    if not day:
        return say(now)
    known = meaning(identifier.hex().upper())
    if known is None:
        return None
    found: list[Freeze] = list(islice(settlements(meter, at), SETTLEMENTS_KEPT))
    if day != BLOCK:
        return absent(meter, identifier) if day > len(found) else say(found[day - 1])
    none = b"\xff" * known.record.width
    said = [say(settlement) for settlement in (now, *found)]
    return (
        b"".join(it or b"" for it in said) + none * (SETTLEMENTS_KEPT - len(found))
        if said[0]
        else None
    )


def _remaining(meter: SimulatedMeter, which: int, *, overdraft: bool) -> bytes | None:
    """Energy (01) or money (02). One of remaining and overdraft is always 0."""
    remaining = meter.remaining(which)
    if remaining is None:
        return None
    return encode_bcd(max(-remaining if overdraft else remaining, Decimal(0)), 4, 2)


def _purchase(
    meter: SimulatedMeter,
    identifier: bytes,
    which: int,
    item: int,
    number: int,
) -> bytes | None:
    remaining = meter.remaining(which)
    if remaining is None or not 1 <= item <= 6 or not 1 <= number <= RECORDS_KEPT:
        return None
    if remaining <= 0 or number > PURCHASES:
        return absent(meter, identifier)
    bought = encode_bcd(remaining, 4, 2)
    time = encode_time(meter.installed, FREEZE_TIME)
    return (time, encode_bcd(PURCHASES, 2), bought, bytes(4), bought, bought)[item - 1]


def _parameter(meter: SimulatedMeter, kind: int, which: int, at: datetime) -> bytes | None:
    shown = meter.clock.shows(at)
    match kind, which:
        case 0x01, 0x01:
            return encode_time(shown, "WW DD MM YY")
        case 0x01, 0x02:
            return encode_time(shown, "ss mm hh")
        case 0x01, 0x0C:
            return encode_time(shown, "ss mm hh WW DD MM YY")
        case 0x04, 0x01 | 0x02:
            return encode_bcd(int(meter.address), 6)
        case 0x04, 0x04:
            return f"{int(meter.voltage_v)}V".encode().ljust(6, b"\0")[::-1]
        case 0x05, _:
            words = [b"", *(word.to_bytes(2, "little") for word in meter.status_words(at))]
            return pick(words, which)
    return None


def _frozen(
    meter: SimulatedMeter,
    identifier: bytes,
    kind: int,
    item: int,
    freeze: Freeze | None,
) -> bytes | None:
    """Item 00 of a freeze is its time, 10 its variables, FF everything in order. An hourly one has
    the totals alone."""
    items = _HOURLY_ITEMS if kind == HOURLY else _ITEMS
    if item not in (*items, BLOCK):
        return None
    if freeze is None:
        data = absent(meter, identifier)
        is_long = data is not None and kind == HOURLY and item != 0
        return (
            data
            if not is_long
            else b"\xff" * 4
            if item != BLOCK
            else absent(meter, bytes((5, 4, 0, 1)))
        )
    chosen = items if item == BLOCK else (item,)
    return b"".join(_frozen_item(meter, kind, it, freeze) for it in chosen)


def _frozen_item(meter: SimulatedMeter, kind: int, item: int, freeze: Freeze) -> bytes:
    if not item:
        return _stamp(freeze)
    if item <= _ENERGIES_IN_FREEZES:
        registers = energies(meter, item, freeze.at)
        return registers[0] if kind == HOURLY else b"".join(registers)
    if item in _DEMANDS_IN_FREEZES:
        return b"".join(demands(meter, item - _ENERGIES_IN_FREEZES, freeze.at))
    powers = (variables.ACTIVE_POWER, variables.REACTIVE_POWER)
    return b"".join(b"".join(variables.with_total(meter, power, freeze.at)) for power in powers)


def _frozen_remaining(
    meter: SimulatedMeter, identifier: bytes, number: int, at: datetime
) -> bytes | None:
    """050802NN of the fee-control meters: the remaining amount and the number of purchases at a
    daily freeze."""
    remaining = meter.remaining(2)
    if remaining is None or not 0 < number <= KEPT[DAILY]:
        return None
    if numbered(meter, DAILY, number, at) is None:
        return absent(meter, identifier)
    return encode_bcd(max(remaining, Decimal(0)), 4, 2) + encode_bcd(
        PURCHASES if remaining > 0 else 0, 2
    )


def _stamp(freeze: Freeze) -> bytes:
    return encode_time(freeze.stamp, FREEZE_TIME)
