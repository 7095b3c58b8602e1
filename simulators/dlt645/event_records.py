"""What a simulated meter says of what happened to it: identifiers 03, 1D and 1E, and the records as
they are written.

Trips, closes, programming, clock settings and clearings are recorded when they happen; power
failures follow from the midnights that it slept through. Covers are never opened, and no phase ever
fails: their counters are 0."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Final

from protocols.dlt645.bcd import decode_bcd, encode_bcd, encode_time
from protocols.dlt645.identifiers import BLOCK, meaning
from simulators.dlt645.energies import RECORDED, demand_of_phase, demands, energies, of_phase
from simulators.dlt645.freezes import settlements
from simulators.dlt645.missing_value import absent
from simulators.dlt645.variables import volts
from simulators.state.records import KEPT

if TYPE_CHECKING:
    from simulators.state.meter import SimulatedMeter

TIME: Final = "ss mm hh DD MM YY"
OPERATOR_WIDTH: Final = 4
POWER_FAILURE: Final = timedelta(minutes=2)
"""How long a meter is without power at a midnight that it does not freeze: half before, half
after."""
_OF_RELAY: Final = (6, 4, 4, 4, 4, 4, 4, 4)
"""Bytes of each part of a record of the relay: time, operator, energies."""
_COUNTED: Final = tuple(f"0330{number:02X}" for number in range(0x0D))
_NO_PHASE: Final = b"\xff"


def read(meter: SimulatedMeter, identifier: bytes, at: datetime) -> bytes | None:
    """The data behind an identifier 03, 1D or 1E; None for *no such data*."""
    name = identifier.hex().upper()
    known = meaning(name)
    if known is None:
        return None
    match tuple(identifier):
        case (0x1D | 0x1E, 0x00, 0x00, 0x01):
            return encode_bcd(meter.records.count(name[:4]), 3)
        case (0x1D | 0x1E, 0x00, part, number):
            record = meter.records.last(name[:4], number)
            return _part(meter, identifier, part, record)
        case (0x03, 0x10, phase, day):
            return _blocks(
                phase,
                day,
                lambda phase, day: _voltage_statistics(
                    meter,
                    identifier,
                    phase,
                    day,
                    at,
                ),
            )
        case (0x03, 0x11, 0x00, 0x00):
            return encode_bcd(sum(1 for _ in _power_failures(meter, at)), 3)
        case (0x03, 0x11, 0x00, number):
            failed = next(islice(_power_failures(meter, at), number - 1, None), None)
            if failed is None or number > KEPT:
                return _never(meter, identifier)
            half = POWER_FAILURE / 2
            return encode_time(failed - half, TIME) + encode_time(failed + half, TIME)
        case (0x03, 0x30, _, 0x00) if name[:6] in _COUNTED:
            return encode_bcd(meter.records.count(name[:6]), 3)
        case (0x03, 0x30, _, number) if record := meter.records.last(name[:6], number):
            return record
        case (0x03, _, _, 0x00):
            return bytes(known.record.width)
    return _never(meter, identifier)


def of_relay(meter: SimulatedMeter, at: datetime, operator: bytes) -> bytes:
    """The record of a trip or a close."""
    return _headed(meter, at, operator) + b"".join(
        energies(meter, kind, at)[0] for kind in RECORDED
    )


def of_programming(
    meter: SimulatedMeter, at: datetime, operator: bytes, identifier: bytes
) -> bytes:
    """The record of a write; it has room for ten identifiers, and this meter records each write
    alone."""
    return _headed(meter, at, operator) + identifier + b"\xff" * 9 * len(identifier)


def of_meter_clear(meter: SimulatedMeter, at: datetime, operator: bytes) -> bytes:
    """The record of a meter clear, with what the registers had before it: the totals, then phases
    A, B and C."""
    totals = [energies(meter, kind, at)[0] for kind in RECORDED]
    phases = [of_phase(meter, kind, phase, at) for phase in range(3) for kind in RECORDED]
    return _headed(meter, at, operator) + b"".join(totals + phases)


def of_demand_clear(meter: SimulatedMeter, at: datetime, operator: bytes) -> bytes:
    """Likewise of a demand clear."""
    totals = [demands(meter, kind, at)[0] for kind in RECORDED]
    phases = [demand_of_phase(meter, kind, phase, at) for phase in range(3) for kind in RECORDED]
    return _headed(meter, at, operator) + b"".join(totals + phases)


def of_event_clear(
    meter: SimulatedMeter, at: datetime, operator: bytes, identifier: bytes
) -> bytes:
    """The record of an event clear, with the identifier of what was cleared."""
    return _headed(meter, at, operator) + identifier


def of_clock_set(before: datetime, after: datetime, operator: bytes) -> bytes:
    """The record of a clock setting."""
    return operator + encode_time(before, TIME) + encode_time(after, TIME)


def _headed(meter: SimulatedMeter, at: datetime, operator: bytes) -> bytes:
    return encode_time(meter.clock.shows(at), TIME) + operator


def _never(meter: SimulatedMeter, identifier: bytes) -> bytes | None:
    """A record that there is not, within the ten that there may be."""
    return absent(meter, identifier) if identifier[3] <= KEPT else None


def _part(
    meter: SimulatedMeter, identifier: bytes, part: int, record: bytes | None
) -> bytes | None:
    if record is None:
        return _never(meter, identifier)
    if part == BLOCK:
        return record
    begin = sum(_OF_RELAY[: part - 1])
    return record[begin : begin + _OF_RELAY[part - 1]]


def _power_failures(meter: SimulatedMeter, at: datetime) -> Iterator[datetime]:
    """The midnights without power, newest first."""
    return (freeze.stamp for freeze in meter.midnights_without_power(at))


def _blocks(phase: int, day: int, say: Callable[[int, int], bytes | None]) -> bytes | None:
    """FF is all phases with the total, or all settlements with now."""
    phases = range(4) if phase == BLOCK else (phase,)
    days = range(13) if day == BLOCK else (day,)
    said = [say(phase, day) for phase in phases for day in days]
    return None if None in said else b"".join(it or b"" for it in said)


def _voltage_statistics(
    meter: SimulatedMeter,
    identifier: bytes,
    phase: int,
    day: int,
    at: datetime,
) -> bytes | None:
    """Of the time since a settlement, hour by hour: minutes, rates, the extremes and when they
    were."""
    if phase > meter.phases:
        return _NO_PHASE * 27
    ends = [at, *(settlement.at for settlement in islice(settlements(meter, at), day + 1))]
    if day >= len(ends):
        return absent(meter, bytes((*identifier[:2], phase, day)))
    since = max(ends[day + 1] if day + 1 < len(ends) else meter.installed, meter.cleared_at)
    hours = [
        since + timedelta(hours=number)
        for number in range(max(1, (ends[day] - since) // timedelta(hours=1)))
    ]
    found = [(volts(meter, hour), hour) for hour in hours]
    upper, lower = (
        int(decode_bcd(meter.parameters.read(it) or b"")) for it in ("04000E03", "04000E04")
    )
    over, under = (
        60 * sum(outside(it) for it, _ in found) for outside in (upper.__lt__, lower.__gt__)
    )
    minutes = 60 * len(found)
    outside = 10_000 * (over + under) // minutes
    highest, lowest = max(found, key=lambda it: it[0]), min(found, key=lambda it: it[0])
    return b"".join(
        (
            *(
                encode_bcd(it % 10**6, 3)
                for it in (minutes, 10_000 - outside, outside, over, under)
            ),
            *(
                encode_bcd(it, 2) + encode_time(meter.clock.shows(hour), "mm hh DD MM")
                for it, hour in (highest, lowest)
            ),
        )
    )
