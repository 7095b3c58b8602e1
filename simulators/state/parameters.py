"""What can be set in a simulated meter, and how it comes from the factory."""

from __future__ import annotations

from datetime import datetime
from itertools import count
from typing import Final

from protocols.dlt645.identifiers import BLOCK, Kind, Meaning, meaning
from protocols.errors import FrameError
from simulators.state.load import RATE_OF_HOUR

DAY_SLOTS: Final = 8


def _day_table() -> str:
    """From which time on which rate counts, as the load curve has it.

    NN mm hh each, the last slot repeated."""
    slots: list[str] = []
    before = 0
    for hour, rate in enumerate(RATE_OF_HOUR):
        if rate != before:
            slots.append(f"{rate:02d}00{hour:02d}")
        before = rate
    padding = [slots[-1]] * (DAY_SLOTS - len(slots))
    return "".join(slots[:DAY_SLOTS] + padding)


def _text(text: str, width: int) -> str:
    """ASCII, the last character first, filled up with zeros."""
    return text.encode().ljust(width, b"\0")[::-1].hex()


FACTORY_SETTINGS: Final = {
    identifier: bytes.fromhex(value)
    for identifier, value in (
        ("04000103", "15"),  # demand period, min
        ("04000104", "01"),  # demand slide, min
        ("04000105", "8000"),  # pulse width, ms
        *(
            (f"040001{number:02X}", "0000000000") for number in (6, 7, 8, 9)
        ),  # no second set was ever due
        ("04000201", "02"),  # time zones
        ("04000202", "02"),  # day tables
        ("04000203", f"{DAY_SLOTS:02d}"),  # day slots
        ("04000204", "04"),  # tariffs
        ("04000205", "0000"),  # holidays
        ("04000206", "21"),  # harmonics
        ("04000207", "00"),  # ladders
        ("04000301", "05"),  # display screens
        ("04000302", "05"),  # display time, s
        ("04000303", "02"),  # energy decimals
        ("04000304", "04"),  # power decimals
        ("04000305", "10"),  # key display screens
        ("04000306", "010000"),  # current transformer ratio
        ("04000307", "010000"),  # voltage transformer ratio
        ("04000403", _text("", 32)),  # asset number
        ("04000404", _text("220V", 6)),  # rated voltage
        ("04000405", _text("5A", 6)),  # rated current
        ("04000406", _text("60A", 6)),  # maximum current
        ("04000407", _text("1.0", 4)),  # active class
        ("04000408", _text("2.0", 4)),  # reactive class
        ("04000409", "001200"),  # impulses per kWh
        ("0400040A", "001200"),  # impulses per kvarh
        ("0400040B", _text("SIMULATED", 10)),  # model
        ("0400040C", _text("2024-01-01", 10)),  # production date
        ("0400040D", _text("DL/T645-2007", 16)),  # protocol version
        ("0400040E", "000000000000"),  # customer number
        ("04000601", "05"),  # active combination word: forward plus reverse
        ("04000602", "05"),  # reactive combination word 1: quadrants 1 and 2
        ("04000603", "50"),  # reactive combination word 2: quadrants 3 and 4
        *((f"040007{number:02X}", "08") for number in range(1, 6)),  # baud words 1 to 5: 2400 Bd
        ("04000801", "00"),  # rest day word
        ("04000802", "01"),  # rest day table
        ("04000901", "3F"),  # load record word
        *(
            (f"040009{number:02X}", "FF") for number in range(2, 7)
        ),  # what is in each kind of freeze
        ("04000A01", "00000101"),  # load record start, mm hh DD MM
        *((f"04000A{number:02X}", "6000") for number in range(2, 8)),  # interval of each class, min
        ("04000B01", "0001"),  # settlement day 1, hh DD
        ("04000B02", "9999"),  # settlement day 2, hh DD
        ("04000B03", "9999"),  # settlement day 3, hh DD
        ("04000E01", "000020"),  # forward power limit, kW
        ("04000E02", "000020"),  # reverse power limit, kW
        ("04000E03", "2024"),  # upper voltage limit, V
        ("04000E04", "8019"),  # lower voltage limit, V
        *(
            (f"04000F{number:02X}", "00000000") for number in range(1, 5)
        ),  # alarms and limits in kWh
        ("04001001", "00200000"),  # alarm 1 amount, yuan
        ("04001002", "00050000"),  # alarm 2 amount, yuan
        ("04001003", "00000000"),  # overdraft limit amount, yuan
        ("04001004", "99999999"),  # hoard limit amount, yuan
        ("04001005", "00000000"),  # reconnect permit amount, yuan
        ("04001101", "00"),  # feature word
        ("04001201", "0000010124"),  # hourly freeze start, mm hh DD MM YY
        ("04001202", "60"),  # hourly freeze interval, min
        ("04001203", "0000"),  # daily freeze time, mm hh: writing it moves no freeze
        ("04001204", "00000199"),  # scheduled freeze time, mm hh DD MM
        ("04001401", "0500"),  # delay of a trip, min: the scenario's trip_delay_s is what delays it
        ("04001501", "00" * 12),  # report word
        ("04001503", "00" * 12),  # report reset word
        *(
            (f"040{table}0000", "010101010701") for table in (1, 2)
        ),  # two zones, both of day table 1
        *((f"040{table}00{number:02X}", _day_table()) for table in (1, 2) for number in (1, 2)),
        *(
            (f"04050{table}{rate:02X}", price)
            for table in (1, 2)
            for rate, price in enumerate(("00880000", "00720000", "00550000", "00300000"), 1)
        ),
        ("040604FF", "00" * 64),  # thresholds, prices and days of ladders, in effect
        ("040605FF", "00" * 64),  # thresholds, prices and days of ladders, to come
        ("04800001", _text("1.0", 32)),  # firmware version
        ("04800002", _text("1.0", 32)),  # hardware version
        ("04800003", _text("SIMULATED", 32)),  # vendor code
    )
}
"""In wire order."""
NEVER_WRITTEN: Final = ("04000101", "04000102", "0400010C", "040004", "040005", "04000C", "0480")
"""Clock (it has its own rule), identity, status words, passwords and versions."""
_BCD: Final = (Kind.NUMBER, Kind.TIME, Kind.DIGITS)


class Parameters:
    """The parameters of one meter, by identifier, in wire order."""

    def __init__(self) -> None:
        self._written: dict[str, tuple[bytes, datetime]] = {}

    def read(self, identifier: str) -> bytes | None:
        """None for what was never set. A block FF is its elements, as far as there are any."""
        if identifier in self._written:
            value, _ = self._written[identifier]
            return value
        known = meaning(identifier)
        if known is None or not _is_block(known):
            return FACTORY_SETTINGS.get(identifier)
        elements = b""
        for number in count(1):
            element = self.read(_element(identifier, number))
            if not element:
                break
            elements += element
        return elements or None

    def written_at(self, identifier: str) -> datetime | None:
        """The true site time at which it was last written.

        None for one as it came from the factory."""
        if identifier not in self._written:
            return None
        _, at = self._written[identifier]
        return at

    def write(
        self,
        identifier: str,
        value: bytes,
        at: datetime,
    ) -> bool:
        """False when there is no such parameter or the value has not its width.

        FrameError when it is no BCD."""
        known = meaning(identifier)
        if known is None or not _can_be_written(identifier) or not _fits(value, known):
            return False
        if _is_bcd(known) and not value.hex().isdigit():
            raise FrameError(f"not BCD: {value.hex().upper()}")
        if not _is_block(known):
            self._written[identifier] = value, at
            return True
        width = known.record.width
        for number, start in enumerate(
            range(
                0,
                len(value),
                width,
            ),
            1,
        ):
            element = value[start : start + width]
            self._written[_element(identifier, number)] = element, at
        return True


def _can_be_written(identifier: str) -> bool:
    return identifier.startswith("04") and not identifier.startswith(NEVER_WRITTEN)


def _fits(value: bytes, known: Meaning) -> bool:
    width = known.record.width
    if not value or not width:
        return bool(value)
    return len(value) % width == 0 if known.repeats else len(value) == width


def _is_bcd(known: Meaning) -> bool:
    return all(field.kind in _BCD for field in known.record.fields)


def _is_block(known: Meaning) -> bool:
    return any(number == BLOCK for _, number in known.variables)


def _element(block: str, number: int) -> str:
    return f"{block[:-2]}{number:02X}"
