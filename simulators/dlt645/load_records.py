"""The load records of a simulated meter: identifiers 06cc00NN, and the single items 0610 of the
State Grid addendum."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from protocols.dlt645.bcd import decode_bcd, decode_time, encode_time
from protocols.dlt645.identifiers import BLOCK, meaning
from protocols.dlt645.load_records import BLOCK_END, RECORD_END, RECORD_START, STORED_AT
from protocols.errors import FrameError
from simulators.dlt645 import variables
from simulators.dlt645.energies import energies
from simulators.dlt645.freezes import Freeze

if TYPE_CHECKING:
    from simulators.state.meter import SimulatedMeter

RECORD_INTERVAL: Final = timedelta(hours=1)
RECORDS_KEPT: Final = 62 * 24
EARLIEST, SINCE, LATEST = 0x00, 0x01, 0x02
FAMILY: Final = 0x06
ADDENDUM: Final = 0x10


def read(meter: SimulatedMeter, identifier: bytes, which: bytes, at: datetime) -> bytes | None:
    """Load records 06 cc 00 NN: `which` is their number, for NN 01 the time of the first behind it.
    Class 0 has all six blocks filled, another class its own. The items 06 10 01 pp are the newest,
    or like NN 01. None for *no such data*."""
    if identifier[0] != FAMILY or meaning(identifier.hex()) is None or len(which) not in (0, 1, 6):
        return None
    try:
        count = int(decode_bcd(which[:1])) if which else 1
        since = decode_time(which[1:], STORED_AT) if len(which) == 6 else None
    except FrameError:
        return None
    kind, order = identifier[1], identifier[3]
    stored = list(_stored(meter, at))
    if kind == ADDENDUM:
        order, phase = SINCE if since else LATEST, order
        chosen = _chosen(stored, order, since, count)
        return b"".join(_voltages(meter, record, phase) for record in chosen) or None
    if not which or (since is not None) != (order == SINCE):
        return None
    return (
        b"".join(_record(meter, record, kind) for record in _chosen(stored, order, since, count))
        or None
    )


def _chosen(stored: list[Freeze], order: int, since: datetime | None, count: int) -> list[Freeze]:
    """`stored` is newest first; so are the latest, the others begin with the earliest."""
    if order == LATEST:
        return stored[:count]
    return [record for record in reversed(stored) if since is None or record.stamp >= since][:count]


def _stored(meter: SimulatedMeter, at: datetime) -> Iterator[Freeze]:
    """When records were stored, newest first."""
    shown = meter.clock.shows(at)
    ahead = shown - at
    newest = shown.replace(minute=0, second=0, microsecond=0)
    for number in range(RECORDS_KEPT):
        stamp = newest - number * RECORD_INTERVAL
        if stamp < meter.installed or stamp - ahead < meter.cleared_at:
            return
        yield Freeze(stamp, stamp - ahead)


def _voltages(meter: SimulatedMeter, record: Freeze, phase: int) -> bytes:
    volts = variables.phases(meter, variables.VOLTAGE, record.at)
    time = encode_time(record.stamp, STORED_AT)
    chosen = volts if phase == BLOCK else volts[phase - 1 : phase]
    return b"".join(time + it for it in chosen)


def _record(meter: SimulatedMeter, record: Freeze, only: int) -> bytes:
    """Class `only` alone, 0 for all."""
    at = record.at
    end = bytes((BLOCK_END,))
    filled = (_block(meter, number, at) if only in (0, number) else b"" for number in range(1, 7))
    body = encode_time(record.stamp, STORED_AT) + b"".join(block + end for block in filled)
    whole = RECORD_START + bytes((len(body),)) + body
    return whole + bytes((sum(whole) & 0xFF, RECORD_END))


def _block(meter: SimulatedMeter, number: int, at: datetime) -> bytes:
    """One of the six blocks, see `protocols.dlt645.load_records`."""
    match number:
        case 1:
            items = variables.phases(meter, variables.VOLTAGE, at) + variables.phases(
                meter, variables.CURRENT, at
            )
            items.append(variables.single(meter, variables.FREQUENCY, at) or b"")
        case 2:
            kinds = (variables.ACTIVE_POWER, variables.REACTIVE_POWER)
            items = [item for kind in kinds for item in variables.with_total(meter, kind, at)]
        case 3:
            items = variables.with_total(meter, variables.POWER_FACTOR, at)
        case 4 | 5:
            items = [
                energies(meter, kind, at)[0] for kind in range(4 * number - 15, 4 * number - 11)
            ]
        case _:
            kinds = (variables.ACTIVE_DEMAND, variables.REACTIVE_DEMAND)
            items = [variables.single(meter, kind, at) or b"" for kind in kinds]
    return b"".join(items)
