"""What can be set in a simulated meter, and the load records it keeps."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from protocols.dlt645.bcd import decode_bcd, decode_time, encode_bcd, encode_time
from protocols.dlt645.identifiers import Kind, meaning
from protocols.dlt645.load_records import BLOCK_END, RECORD_END, RECORD_START, STORED_AT
from protocols.errors import FrameError

if TYPE_CHECKING:
    from simulators.meter import SimulatedMeter

FACTORY_SETTINGS: Final = {
    identifier: bytes.fromhex(value)
    for identifier, value in (
        ("04000103", "15"),
        ("04000104", "01"),
        ("04000201", "02"),
        ("04000202", "02"),
        ("04000203", "08"),
        ("04000204", "04"),
        ("04000205", "0000"),
        ("04000409", "001200"),
        ("0400040A", "001200"),
        ("04000B01", "0001"),
        ("04000B02", "9999"),
        ("04000B03", "9999"),
        ("04001001", "00200000"),
        ("04001002", "00050000"),
        ("04001003", "00000000"),
        ("04001401", "0500"),
    )
}
"""In wire order."""
NEVER_WRITTEN: Final = ("04000101", "04000102", "0400010C", "040004", "040005", "04000C", "0480")
"""Clock (it has its own rule), identity, status words, passwords and versions."""
RECORD_INTERVAL: Final = timedelta(hours=1)
RECORDS_KEPT: Final = 62 * 24


class Parameters:
    """The parameters of one meter, by identifier, in wire order."""

    def __init__(self) -> None:
        self._written: dict[str, bytes] = {}

    def read(self, identifier: str) -> bytes | None:
        """None for what was never set."""
        return self._written.get(identifier, FACTORY_SETTINGS.get(identifier))

    def write(self, identifier: str, value: bytes) -> bool:
        """False when there is no such parameter or the value has not its width."""
        known = meaning(identifier)
        if not identifier.startswith("04") or identifier.startswith(NEVER_WRITTEN) or known is None:
            return False
        width = known.record.width
        if not value or any(field.kind is Kind.LOAD for field in known.record.fields):
            return False
        if width and (len(value) % width if known.repeats else len(value) != width):
            return False
        self._written[identifier] = value
        return True


def load_records(meter: SimulatedMeter, identifier: bytes, which: bytes, at: datetime) -> bytes | None:
    """Load records 06 00 00 NN (all classes): N of them, and for NN 01 the time of the first. This meter records
    voltage, current and frequency, and energies; the other blocks are empty. None for *no such data*."""
    if tuple(identifier[:3]) != (0x06, 0x00, 0x00) or len(which) not in (1, 6):
        return None
    try:
        count = int(decode_bcd(which[:1]))
        since = decode_time(which[1:], STORED_AT) if len(which) == 6 else None
    except FrameError:
        return None
    times = _times(meter, at)
    match identifier[3], since:
        case 0x00, None:
            chosen = list(reversed(list(times)))[:count]
        case 0x01, datetime():
            chosen = [time for time in reversed(list(times)) if time >= since][:count]
        case 0x02, None:
            chosen = [time for _, time in zip(range(count), times, strict=False)]
        case _:
            return None
    return b"".join(_record(meter, time) for time in chosen) or None


def _times(meter: SimulatedMeter, at: datetime) -> Iterator[datetime]:
    """The times of the records by the meter's clock, newest first."""
    shown = meter.clock.shows(at)
    newest = shown.replace(minute=0, second=0, microsecond=0)
    for number in range(RECORDS_KEPT):
        time = newest - number * RECORD_INTERVAL
        if time < meter.installed:
            return
        yield time


def _record(meter: SimulatedMeter, stored_at: datetime) -> bytes:
    behind = meter.clock.shows(meter.now()) - meter.now()
    at = stored_at - behind
    volts, amperes = encode_bcd(int(meter.voltage_v * 10), 2), encode_bcd(meter.power_mw(at) * 10 // 2200, 3)
    missing = 3 - meter.phases
    block_1 = (
        volts * meter.phases + b"\xff\xff" * missing + amperes * meter.phases + b"\xff" * 3 * missing + b"\x00\x50"
    )
    total = encode_bcd(meter.registers(at)[0], 4)
    end = bytes((BLOCK_END,))
    body = encode_time(stored_at, STORED_AT) + block_1 + end + end + end + total + bytes(12) + end + end + end
    record = RECORD_START + bytes((len(body),)) + body
    return record + bytes((sum(record) & 0xFF, RECORD_END))
