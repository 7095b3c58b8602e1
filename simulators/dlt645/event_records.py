"""What a simulated meter answers of what happened to it: identifiers 03, 1D and 1E.

And the records as they are written.

Trips, closes, programming, clock settings and clearings are recorded when they happen; power
failures follow from the midnights that it slept through. Covers are never opened, and no phase ever
fails: their counters are 0."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from protocols.dlt645.bcd import encode_bcd, encode_time
from protocols.dlt645.identifiers import BLOCK, meaning
from simulators.dlt645 import voltage_statistics
from simulators.dlt645.energies import (
    RECORDED,
    demand_of_phase,
    demands,
    energies,
    energy_of_phase,
)
from simulators.dlt645.missing_value import missing_value
from simulators.state import records
from simulators.state.meter import MeterState
from simulators.state.relay import Move

TIME: Final = "ss mm hh DD MM YY"
POWER_FAILURE: Final = timedelta(minutes=2)
"""Time without power at a midnight that was not frozen: half before, half after."""
_RELAY_FAMILIES: Final = (0x1D, 0x1E)
_VOLTAGE_STATISTICS: Final = 0x10
_POWER_FAILURES: Final = 0x11
_PROGRAMMING_AND_CLEARINGS: Final = 0x30
_RELAY_PARTS: Final = (6, 4, 4, 4, 4, 4, 4, 4)
"""Bytes of each part of a record of the relay: time, operator, energies."""
# 033000 to 03300C: programming, clearings and clock settings; what follows are covers.
_COUNTED: Final = tuple(f"0330{number:02X}" for number in range(0x0D))
_IDENTIFIERS_IN_PROGRAMMING: Final = 10
_COUNTER_WIDTH: Final = 3
_PHASES: Final = 3


def read(
    state: MeterState,
    identifier: bytes,
    at: datetime,
) -> bytes | None:
    """The data behind an identifier 03, 1D or 1E; None for *no such data*."""
    known = meaning(identifier.hex().upper())
    if known is None:
        return None
    family, kind, _, number = identifier
    data = None
    if family in _RELAY_FAMILIES:
        data = _of_relay(state, identifier)
    elif kind == _VOLTAGE_STATISTICS:
        return voltage_statistics.read(state, identifier, at)
    elif kind == _POWER_FAILURES:
        data = _of_power_failures(state, identifier, at)
    elif kind == _PROGRAMMING_AND_CLEARINGS:
        data = _of_programming_and_clearings(state, identifier)
    if data is not None:
        return data
    if number == 0 and family not in _RELAY_FAMILIES:
        return bytes(known.record.width)
    # A record that never was, within the ten that there may be.
    return missing_value(state.spec, identifier) if number <= records.KEPT else None


def record_move(state: MeterState, move: Move) -> None:
    """The relay tripped or closed."""
    kind = records.TRIP if move.to_open else records.CLOSE
    record = _head(state, move.at, state.relay_operator)
    for energy in RECORDED:
        record += energies(state, energy, move.at)[0]
    state.records.add(kind, record)


def record_programming(
    state: MeterState,
    at: datetime,
    operator: bytes,
    identifier: bytes,
) -> None:
    """Something was written; `identifier` in wire order.

    The record has room for ten identifiers, and this meter records each write alone."""
    padding = b"\xff" * (_IDENTIFIERS_IN_PROGRAMMING - 1) * len(identifier)
    record = _head(state, at, operator) + identifier + padding
    state.records.add(records.PROGRAMMING, record)
    written = identifier[::-1].hex().upper()
    for beginning, kind in records.PROGRAMMED:
        if written.startswith(beginning):
            state.records.add(kind)
            break


def record_meter_clear(
    state: MeterState,
    at: datetime,
    operator: bytes,
) -> None:
    """The meter is cleared: what the registers had before it, the totals, then phases A, B, C."""
    record = _head(state, at, operator)
    for kind in RECORDED:
        record += energies(state, kind, at)[0]
    for phase in range(_PHASES):
        for kind in RECORDED:
            record += energy_of_phase(state, kind, phase, at)
    # The clearing takes all other records with it; its own comes after it.
    state.clear(at)
    state.records.add(records.METER_CLEAR, record)


def record_demand_clear(
    state: MeterState,
    at: datetime,
    operator: bytes,
) -> None:
    """The demands are cleared: what they were before it, likewise."""
    record = _head(state, at, operator)
    for kind in RECORDED:
        record += demands(state, kind, at)[0]
    for phase in range(_PHASES):
        for kind in RECORDED:
            record += demand_of_phase(state, kind, phase, at)
    state.records.add(records.DEMAND_CLEAR, record)
    state.clear_demand(at)


def record_event_clear(
    state: MeterState,
    at: datetime,
    operator: bytes,
    identifier: bytes,
) -> None:
    """The events of an identifier (wire order) are cleared."""
    name = identifier[::-1].hex().upper()
    state.records.clear(at, name)
    record = _head(state, at, operator) + identifier
    state.records.add(records.EVENT_CLEAR, record)


def record_clock_set(
    state: MeterState,
    before: datetime,
    after: datetime,
    operator: bytes,
) -> None:
    """The clock was set by a write."""
    record = operator + encode_time(before, TIME) + encode_time(after, TIME)
    state.records.add(records.CLOCK_SET, record)


def _of_relay(state: MeterState, identifier: bytes) -> bytes | None:
    name = identifier.hex().upper()
    _, kind, part, number = identifier
    if kind:
        return None
    if part == 0 and number == 1:
        return encode_bcd(state.records.count(name[:4]), _COUNTER_WIDTH)
    record = state.records.last(name[:4], number)
    if record is None or part == BLOCK:
        return record
    begin = sum(_RELAY_PARTS[: part - 1])
    return record[begin : begin + _RELAY_PARTS[part - 1]]


def _of_power_failures(
    state: MeterState,
    identifier: bytes,
    at: datetime,
) -> bytes | None:
    _, _, part, number = identifier
    if part:
        return None
    midnights = _midnights_without_power(state, at)
    if number == 0:
        return encode_bcd(sum(1 for _ in midnights), _COUNTER_WIDTH)
    midnight = next(islice(midnights, number - 1, None), None)
    if midnight is None or number > records.KEPT:
        return None
    half = POWER_FAILURE / 2
    return encode_time(midnight - half, TIME) + encode_time(midnight + half, TIME)


def _of_programming_and_clearings(state: MeterState, identifier: bytes) -> bytes | None:
    kind = identifier.hex().upper()[:6]
    number = identifier[3]
    if number == 0 and kind in _COUNTED:
        return encode_bcd(state.records.count(kind), _COUNTER_WIDTH)
    return state.records.last(kind, number) or None


def _head(
    state: MeterState,
    at: datetime,
    operator: bytes,
) -> bytes:
    return encode_time(state.clock.shows(at), TIME) + operator


def _midnights_without_power(state: MeterState, at: datetime) -> Iterator[datetime]:
    """By the meter's clock, newest first."""
    return (freeze.stamp for freeze in state.midnights_without_power(at))
