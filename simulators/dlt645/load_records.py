"""The load records of a simulated meter: identifiers 06cc00NN.

And the single items 0610 of the State Grid addendum."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from protocols.dlt645.bcd import decode_bcd, decode_time, encode_time
from protocols.dlt645.identifiers import BLOCK, meaning
from protocols.dlt645.load_records import BLOCK_END, RECORD_END, RECORD_START, STORED_AT
from protocols.errors import FrameError
from simulators.dlt645 import variables
from simulators.dlt645.energies import energies
from simulators.state.meter import Freeze, MeterState

RECORD_INTERVAL: Final = timedelta(hours=1)
RECORDS_KEPT: Final = 62 * 24
EARLIEST: Final = 0x00
SINCE: Final = 0x01
LATEST: Final = 0x02
FAMILY: Final = 0x06
ADDENDUM: Final = 0x10

_ALL_BLOCKS: Final = 0
"""The class whose records have all six blocks filled."""
_NUMBER_WIDTH: Final = 1
_WITH_TIME_WIDTH: Final = 6
# Blocks 4 and 5 hold energies: forward and reverse active with combined reactive, quadrants 1 to 4.
_ENERGIES_OF_BLOCK: Final = {
    4: range(1, 5),
    5: range(5, 9),
}


class _Wanted(NamedTuple):
    """What stands behind the identifier: how many records, and the time of the first."""

    number: int
    since: datetime | None


def read(
    state: MeterState,
    identifier: bytes,
    which: bytes,
    at: datetime,
) -> bytes | None:
    """Load records 06 cc 00 NN, or items 06 10 01 pp; None for *no such data*.

    `which` is their number, for NN 01 the time of the first behind it. Class 0 has all six blocks
    filled, another class its own. The items are the newest, or like NN 01."""
    if identifier[0] != FAMILY or meaning(identifier.hex()) is None:
        return None
    wanted = _wanted(which)
    if wanted is None:
        return None
    data = b""
    _, kind, _, last = identifier
    if kind == ADDENDUM:
        order = SINCE if wanted.since else LATEST
        for record in _chosen(state, order, wanted, at):
            data += _voltages(state, record, phase=last)
    elif _fits_order(wanted, which, last):
        for record in _chosen(state, last, wanted, at):
            data += _record(state, record, kind)
    return data or None


def _fits_order(
    wanted: _Wanted,
    which: bytes,
    order: int,
) -> bool:
    """A number stands behind every identifier, a time behind NN 01 alone."""
    has_time = wanted.since is not None
    return bool(which) and has_time == (order == SINCE)


def _wanted(which: bytes) -> _Wanted | None:
    if len(which) not in (0, _NUMBER_WIDTH, _WITH_TIME_WIDTH):
        return None
    number = 1
    since = None
    try:
        if which:
            number = int(decode_bcd(which[:1]))
        if len(which) == _WITH_TIME_WIDTH:
            since = decode_time(which[1:], STORED_AT)
    except FrameError:
        return None
    return _Wanted(number, since)


def _chosen(
    state: MeterState,
    order: int,
    wanted: _Wanted,
    at: datetime,
) -> list[Freeze]:
    """The latest come newest first, the others begin with the earliest."""
    newest_first = list(_stored(state, at))
    if order == LATEST:
        return newest_first[: wanted.number]
    since = wanted.since or datetime.min  # noqa: DTZ901
    later = [record for record in reversed(newest_first) if record.stamp >= since]
    return later[: wanted.number]


def _stored(state: MeterState, at: datetime) -> Iterator[Freeze]:
    """When records were stored, newest first."""
    shown = state.clock.shows(at)
    ahead = shown - at
    newest = shown.replace(minute=0, second=0, microsecond=0)
    for number in range(RECORDS_KEPT):
        stamp = newest - number * RECORD_INTERVAL
        stored_at = stamp - ahead
        if stamp < state.spec.installed_at or stored_at < state.counter.cleared_at:
            return
        yield Freeze(stamp, stored_at)


def _voltages(
    state: MeterState,
    record: Freeze,
    phase: int,
) -> bytes:
    volts = variables.phases(state, variables.VOLTAGE, record.at)
    chosen = volts if phase == BLOCK else volts[phase - 1 : phase]
    stored_at = encode_time(record.stamp, STORED_AT)
    return b"".join(stored_at + value for value in chosen)


def _record(
    state: MeterState,
    record: Freeze,
    only: int,
) -> bytes:
    """With the block of class `only` alone, or all."""
    body = encode_time(record.stamp, STORED_AT)
    for number in range(1, 7):
        if only in (_ALL_BLOCKS, number):
            body += _block(state, number, record.at)
        body += bytes((BLOCK_END,))
    # DL/T 645-2007, load profile: A0 A0, length, time, six blocks each ended by AA, sum, E5.
    whole = RECORD_START + bytes((len(body),)) + body
    return whole + bytes((sum(whole) & 0xFF, RECORD_END))


def _block(
    state: MeterState,
    number: int,
    at: datetime,
) -> bytes:
    """One of the six blocks, see `protocols.dlt645.load_records`."""
    if number in _ENERGIES_OF_BLOCK:
        kinds = _ENERGIES_OF_BLOCK[number]
        return b"".join(energies(state, kind, at)[0] for kind in kinds)
    match number:
        case 1:
            items = variables.phases(state, variables.VOLTAGE, at)
            items += variables.phases(state, variables.CURRENT, at)
            items.append(
                variables.single(
                    state,
                    variables.FREQUENCY,
                    at,
                )
                or b""
            )
        case 2:
            items = variables.with_total(state, variables.ACTIVE_POWER, at)
            items += variables.with_total(state, variables.REACTIVE_POWER, at)
        case 3:
            items = variables.with_total(state, variables.POWER_FACTOR, at)
        case _:
            demands = (variables.ACTIVE_DEMAND, variables.REACTIVE_DEMAND)
            items = [variables.single(state, demand, at) or b"" for demand in demands]
    return b"".join(items)
