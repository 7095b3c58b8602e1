"""What is set in a DL/T 645-2007 meter and can be compared, and what it settled by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocols.dlt645.bcd import ENERGY_WIDTH, Registers, decode_bcd, decode_registers, is_missing
from protocols.dlt645.exchanges import read_if_known
from protocols.dlt645.frame import Frame
from protocols.errors import FrameError
from protocols.exchange import Exchange

CURRENT_RATIO: Final = "04000306"
VOLTAGE_RATIO: Final = "04000307"
NUMBER_OF_RATES: Final = "04000204"
SETTLEMENT_DAYS: Final = ("04000B01", "04000B02", "04000B03")
LAST_SETTLEMENT: Final = "0001FF01"
LAST_SETTLEMENT_TOTAL: Final = "00010001"
RATIO_WIDTH: Final = 3
SETTLEMENT_WIDTH: Final = 2
RATES_WIDTH: Final = 1
NONE_SET: Final = 99


@dataclass(frozen=True, slots=True)
class MeterSettings:
    """What a meter says of itself.

    `ratio`: of its current and voltage transformers together, None where it knows none.
    `rates`: how many it cuts the day into, None where it does not tell.
    `settles_at`: (day of the month, hour) of each settlement. `settled`: total and rates of the
    last one in kWh, None where the meter has none."""

    ratio: int | None
    rates: int | None
    settles_at: tuple[tuple[int, int], ...]
    settled: Registers | None


def read_settings(address: str) -> Exchange[Frame, MeterSettings]:
    """Ratio, rates, settlement days and the last settlement; what the meter does not know is left
    out."""
    current = yield from _number(address, CURRENT_RATIO, RATIO_WIDTH)
    voltage = yield from _number(address, VOLTAGE_RATIO, RATIO_WIDTH)
    ratio = None if current is None or voltage is None else current * voltage
    rates = yield from _number(address, NUMBER_OF_RATES, RATES_WIDTH)
    settles_at = []
    for identifier in SETTLEMENT_DAYS:
        data = yield from read_if_known(address, identifier)
        if data and not is_missing(data):
            settles_at += _moment(address, identifier, data)
    data = b""
    if settles_at:
        data = yield from read_if_known(address, LAST_SETTLEMENT)
    if settles_at and not data:
        data = yield from read_if_known(address, LAST_SETTLEMENT_TOTAL)
    return MeterSettings(ratio or None, rates or None, tuple(settles_at), _settled(address, data))


def _number(address: str, identifier: str, width: int) -> Exchange[Frame, int | None]:
    data = yield from read_if_known(address, identifier)
    if not data or is_missing(data):
        return None
    _check_width(address, identifier, data, width)
    return int(decode_bcd(data))


def _moment(address: str, identifier: str, data: bytes) -> list[tuple[int, int]]:
    """DDhh; 99 for either sets none."""
    _check_width(address, identifier, data, SETTLEMENT_WIDTH)
    hour, day = (int(decode_bcd(data[at : at + 1])) for at in range(SETTLEMENT_WIDTH))
    return [] if NONE_SET in (day, hour) else [(day, hour)]


def _settled(address: str, data: bytes) -> Registers | None:
    if not data:
        return None
    if len(data) % ENERGY_WIDTH:
        raise FrameError(f"meter {address} answered {LAST_SETTLEMENT} with {len(data)} bytes")
    registers = decode_registers(data)
    return None if registers[0] is None else registers


def _check_width(address: str, identifier: str, data: bytes, width: int) -> None:
    if len(data) != width:
        raise FrameError(
            f"meter {address} answered {identifier} with {len(data)} bytes, not {width}"
        )
