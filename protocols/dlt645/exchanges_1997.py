"""What a DL/T 645-1997 meter is asked, as exchanges.

The frame is that of 2007; codes, identifiers, widths differ. Every exchange raises MeterRefused on
an abnormal answer (its bits mean other things than in 2007) and FrameError on a normal one whose
data are wrong. A 1997 meter has no freezes by day, no wildcard address (some answer AA..AA or
99..99 all the same) and no relay command in the standard."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Final

from protocols.dlt645 import functions_1997 as functions
from protocols.dlt645.bcd import (
    ENERGY_WIDTH,
    Registers,
    decode_bcd,
    decode_registers,
    encode_time,
    is_missing,
)
from protocols.dlt645.frame import BROADCAST, Decoder, Frame
from protocols.dlt645.identity import meter_number
from protocols.dlt645.messages import (
    addressee,
    check,
    check_write,
    decode_clock,
    digits_on_the_wire,
    encode_request,
    identifier_on_the_wire,
    is_from,
    password_on_the_wire,
    read_frames,
    repeats_identifier,
)
from protocols.dlt645.values import without_separators
from protocols.errors import FrameError, MeterRefused
from protocols.exchange import Codec, Exchange
from protocols.reading import MeterIdentity

IDENTIFIER_WIDTH: Final = 2
READS: Final = frozenset((functions.READ, functions.READ_FOLLOW, functions.READ_AGAIN))


def read(address: str, identifier: str) -> Exchange[Frame, bytes]:
    """The data behind an identifier (4 hexadecimal digits DI1 DI0), follow-up frames joined."""
    wanted = _on_the_wire(identifier)
    # Follow-ups have no number in this version (L = 02): the meter counts.
    follow_up = Frame(address, functions.READ_FOLLOW, wanted)
    frames = yield from read_frames(
        Frame(address, functions.READ, wanted),
        lambda number: follow_up,
        identifier,
        functions.ERROR_BITS,
    )
    return b"".join([data[IDENTIFIER_WIDTH:] for data in frames])


def read_address() -> Exchange[Frame, str]:
    """The address of the only meter on the line.

    It answers a read to 99..99, with data or an error."""
    reply = yield Frame(BROADCAST, functions.READ, _on_the_wire("9010"))
    return reply.address


def read_again(address: str, identifier: str) -> Exchange[Frame, bytes]:
    """The answer to the last read once more (function 03); one frame only."""
    reply = yield Frame(address, functions.READ_AGAIN, _on_the_wire(identifier))
    _check(reply, identifier)
    return reply.data[IDENTIFIER_WIDTH:]


def read_energy(address: str, identifier: str = "9010") -> Exchange[Frame, Decimal | None]:
    """One energy register in kWh (kvarh), None when the meter has none."""
    # Some meters put AA behind a single value, too.
    data = without_separators((yield from read(address, identifier)), ENERGY_WIDTH)
    if len(data) != ENERGY_WIDTH:
        raise FrameError(
            f"meter {address} answered {identifier} with {len(data)} bytes,"
            f" an energy has {ENERGY_WIDTH}"
        )
    return None if is_missing(data) else decode_bcd(data, 2)


def read_registers(address: str) -> Exchange[Frame, Registers]:
    """Forward active energy of this moment (901F).

    A meter that knows no block is asked for the total alone (9010)."""
    try:
        data = yield from read(address, "901F")
    except MeterRefused as refusal:
        if not refusal.word & functions.NO_SUCH_DATA:
            raise
        total = yield from read_energy(address)
        return (total,)
    return decode_registers(without_separators(data, ENERGY_WIDTH))


def read_clock(address: str) -> Exchange[Frame, datetime]:
    """The meter's wall clock (C010 and C011)."""
    date = yield from read(address, "C010")
    time = yield from read(address, "C011")
    # In the first hour midnight may have passed between the two reads.
    if time[2:3] == b"\x00":
        date = yield from read(address, "C010")
    return decode_clock(address, date, time)


def read_identity(address: str) -> Exchange[Frame, MeterIdentity]:
    """The meter number (C032), or the device code (C034) where there is none.

    The standard of 1997 knows no prepayment."""
    serial = None
    for identifier in ("C032", "C034"):
        try:
            data = yield from read(address, identifier)
        except MeterRefused as refusal:
            if not refusal.word & functions.NO_SUCH_DATA:
                raise
            continue
        serial = meter_number(data)
        if serial is not None:
            break
    return MeterIdentity(serial)


def write(
    address: str,
    identifier: str,
    value: bytes,
    *,
    level: str,
    password: str,
) -> Exchange[Frame, None]:
    """Write a value in wire order (function 04).

    `level`: 2 digits, `password`: 6 digits; there is no operator in this version."""
    data = _on_the_wire(identifier) + password_on_the_wire(level, password) + value
    check_write(identifier, value, data)
    reply = yield Frame(address, functions.WRITE, data)
    _check(reply, f"to write {identifier}")


def set_clock(address: str, at: datetime, *, level: str, password: str) -> Exchange[Frame, None]:
    """Write date and time (C010, C011). Read the clock back."""
    yield from write(
        address,
        "C010",
        encode_time(at, "WW DD MM YY"),
        level=level,
        password=password,
    )
    yield from write(
        address,
        "C011",
        encode_time(at, "ss mm hh"),
        level=level,
        password=password,
    )


def broadcast_time(at: datetime) -> Exchange[Frame, None]:
    """The time for all meters of the line. No meter answers: read the clocks back."""
    yield Frame(BROADCAST, functions.BROADCAST_TIME, encode_time(at, "ss mm hh DD MM YY"))


def write_address(new: str, address: str = BROADCAST) -> Exchange[Frame, None]:
    """Give the only meter of the line a new address (function 0A)."""
    reply = yield Frame(address, functions.WRITE_ADDRESS, digits_on_the_wire(new, 6, "new address"))
    _check(reply, f"the address {new}")


def change_baud(address: str, word: int) -> Exchange[Frame, None]:
    """Change the speed (function 0C); both sides switch after the answer.

    `word`: from the meter's manual, as sources do not agree which bit is which speed here."""
    if not 0 <= word <= 255:
        raise FrameError(f"baud word {word} does not fit into one byte")
    reply = yield Frame(address, functions.CHANGE_BAUD, bytes((word,)))
    _check(reply, f"baud word {word:02X}")


def change_password(address: str, *, level: str, old: str, new: str) -> Exchange[Frame, None]:
    """Change the password of a level (function 0F)."""
    passwords = password_on_the_wire(level, old) + password_on_the_wire(level, new)
    reply = yield Frame(address, functions.CHANGE_PASSWORD, passwords)
    _check(reply, "a new password")


def clear_demand(address: str) -> Exchange[Frame, None]:
    """Set the maximum demands to zero (function 10)."""
    reply = yield Frame(address, functions.CLEAR_DEMAND)
    _check(reply, "to clear the demand")


def _on_the_wire(identifier: str) -> bytes:
    return identifier_on_the_wire(identifier, IDENTIFIER_WIDTH)


def _check(reply: Frame, asked: str) -> None:
    check(reply, asked, functions.ERROR_BITS)


def _is_answer(request: Frame, frame: Frame) -> bool:
    if not frame.is_response or frame.function != request.function:
        return False
    # 99..99 is the broadcast, and as a read it asks the only meter of a line: any may answer.
    if request.address != BROADCAST:
        changes_address = request.function == functions.WRITE_ADDRESS
        if not is_from(request, frame, changes_address=changes_address):
            return False
    if frame.is_abnormal or request.function not in READS:
        return True
    return repeats_identifier(request, frame, IDENTIFIER_WIDTH)


def _has_answer(request: Frame) -> bool:
    """99..99 is the broadcast, but asks the only meter of a line, too."""
    return request.function != functions.BROADCAST_TIME


def _is_control(frame: Frame) -> bool:
    # The standard of 1997 has no command that moves a relay.
    return False


def _has_secret(frame: Frame) -> bool:
    return frame.function in (functions.WRITE, functions.CHANGE_PASSWORD)


CODEC_1997: Final[Codec[Frame]] = Codec(
    encode=encode_request,
    new_decoder=Decoder,
    addressee=addressee,
    is_answer=_is_answer,
    has_answer=_has_answer,
    is_control=_is_control,
    has_secret=_has_secret,
)
