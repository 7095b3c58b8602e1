"""What an engineer sets in a DL/T 645-2007 meter: parameters, address, speed, passwords, clearing.

Every exchange raises MeterRefused when the meter refuses, and FrameError before anything is sent
when something cannot be written down. A wrong password is counted by the meter and locks it: run
these with `retries=0` unless repeating is harmless. `send_opaque` carries what only a meter's
security module can read (authority 98 and 99)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Final

from protocols.dlt645 import functions
from protocols.dlt645.bcd import encode_bcd, encode_time
from protocols.dlt645.frame import ANY_ADDRESS, Frame
from protocols.dlt645.functions import BAUD_RATES
from protocols.dlt645.identifiers import Field, Kind, meaning
from protocols.dlt645.messages import (
    check,
    check_write,
    digits_on_the_wire,
    identifier_on_the_wire,
    is_meter_address,
    password_on_the_wire,
)
from protocols.errors import FrameError, MeterRefused
from protocols.exchange import Exchange

_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,20}(\.[0-9]{1,20})?")
ALL_EVENTS: Final = "FFFFFFFF"
ANY_TIME: Final = 99
"""In place of a part of a time: every one, or never."""
HIGHEST: Final = {
    "MM": 12,
    "DD": 31,
    "WW": 6,
    "hh": 23,
    "mm": 59,
    "ss": 59,
}
"""Of the parts of a time. 00 is taken for each: a time that was never set has it."""
OPAQUE_FUNCTIONS: Final = frozenset(
    (
        functions.SECURITY,
        functions.WRITE,
        functions.CLEAR_DEMAND,
        functions.CLEAR_METER,
        functions.CLEAR_EVENTS,
        functions.CONTROL,
    )
)
"""What a meter may want in ciphertext."""


@dataclass(frozen=True, slots=True)
class Authority:
    """Level, password and operator of a write; all as written, most significant first.

    `level`: 2 digits, `password`: 6 digits, `operator`: 8 digits."""

    # PA of State Grid's meters: 02 to clear, 04 to program; 98 and 99 mean ciphertext and MAC and
    # need `send_opaque`.
    level: str
    password: str = field(repr=False)
    operator: str = "00000000"

    def on_the_wire(self) -> bytes:
        """PA P0 P1 P2 C0 C1 C2 C3. FrameError, without the password, when digits are missing."""
        return self.secret() + digits_on_the_wire(self.operator, 4, "operator")

    def secret(self) -> bytes:
        """PA P0 P1 P2."""
        return password_on_the_wire(self.level, self.password)


def write(
    address: str,
    identifier: str,
    value: bytes,
    authority: Authority,
) -> Exchange[Frame, None]:
    """Write the value (in wire order, see `encode_value`) behind an identifier (function 14)."""
    data = identifier_on_the_wire(identifier) + authority.on_the_wire() + value
    check_write(identifier, value, data)
    reply = yield Frame(one_meter(address), functions.WRITE, data)
    check(reply, f"to write {identifier}")


def write_date(address: str, at: datetime, authority: Authority) -> Exchange[Frame, None]:
    """Set date and weekday (04000101), which is half of a clock: `write_time` follows at once."""
    yield from write(address, "04000101", encode_time(at, "WW DD MM YY"), authority)


def write_time(address: str, at: datetime, authority: Authority) -> Exchange[Frame, None]:
    """Set the time of day (04000102)."""
    yield from write(address, "04000102", encode_time(at, "ss mm hh"), authority)


def write_address(new: str, address: str = ANY_ADDRESS) -> Exchange[Frame, None]:
    """Give a meter a new address (function 15); its programming key must be pressed.

    With the wildcard there may be one meter on the line only."""
    if not is_meter_address(new):
        raise FrameError(f"new address {new!r} is not 12 digits")
    reply = yield Frame(address, functions.WRITE_ADDRESS, bytes.fromhex(new)[::-1])
    check(reply, f"the address {new}")


def change_baud(address: str, baud: int) -> Exchange[Frame, int]:
    """Change the speed (function 17); both sides switch after the answer.

    Returns the speed that the meter confirmed."""
    words = {rate: bytes((word,)) for word, rate in BAUD_RATES.items()}
    if baud not in words:
        rates = ", ".join(str(rate) for rate in sorted(words))
        raise FrameError(f"{baud} Bd is none of {rates}")
    reply = yield Frame(one_meter(address), functions.CHANGE_BAUD, words[baud])
    check(reply, f"{baud} Bd")
    if len(reply.data) != 1 or reply.data[0] not in BAUD_RATES:
        raise FrameError(
            f"meter {address} answered a change to {baud} Bd with {reply.data.hex(' ').upper()}"
        )
    return BAUD_RATES[reply.data[0]]


def change_password(
    address: str,
    number: int,
    old: Authority,
    new: Authority,
) -> Exchange[Frame, None]:
    """Change password `number` (0 to 9, identifier 04000C01 to 0A; function 18).

    The operators are not sent. FrameError when the meter answers with another password than the
    new one."""
    if not 0 <= number <= 9:
        raise FrameError(f"there is no password {number} (0 to 9)")
    identifier = f"04000C{number + 1:02X}"
    data = identifier_on_the_wire(identifier) + old.secret() + new.secret()
    reply = yield Frame(one_meter(address), functions.CHANGE_PASSWORD, data)
    check(reply, f"a new password {number}")
    if reply.data != new.secret():
        raise FrameError(f"meter {address} confirmed another password than the new one")


def clear_demand(address: str, authority: Authority) -> Exchange[Frame, None]:
    """Set the maximum demands and their times to zero (function 19)."""
    reply = yield Frame(one_meter(address), functions.CLEAR_DEMAND, authority.on_the_wire())
    check(reply, "to clear the demand")


def clear_meter(address: str, authority: Authority) -> Exchange[Frame, None]:
    """Set all energies, demands, freezes and records to zero (1A). This cannot be undone."""
    reply = yield Frame(one_meter(address), functions.CLEAR_METER, authority.on_the_wire())
    check(reply, "to clear the meter")


def clear_events(
    address: str,
    authority: Authority,
    identifier: str = ALL_EVENTS,
) -> Exchange[Frame, None]:
    """Clear the event records (function 1B): FFFFFFFF all of them, DI3 DI2 DI1 FF one class."""
    data = authority.on_the_wire() + identifier_on_the_wire(identifier)
    reply = yield Frame(one_meter(address), functions.CLEAR_EVENTS, data)
    check(reply, f"to clear events {identifier}")


def security(
    address: str,
    identifier: str,
    operator: str,
    data: bytes = b"",
) -> Exchange[Frame, bytes]:
    """Carry bytes to and from the meter's security module (function 03, identifier 07xxxxxx).

    Returns the answer behind its identifier. MeterRefused carries the two-byte security error
    word (SERR)."""
    wire = identifier_on_the_wire(identifier)
    head = wire + digits_on_the_wire(operator, 4, "operator")
    reply = yield Frame(one_meter(address), functions.SECURITY, head + data)
    asked = f"security {identifier}"
    if reply.is_abnormal and len(reply.data) == 2:
        word = int.from_bytes(reply.data, "little")
        raise MeterRefused(reply.address, asked, word, ())
    check(reply, asked)
    return reply.data[4:]


def send_opaque(address: str, function: int, payload: bytes) -> Exchange[Frame, bytes]:
    """Send ciphertext and MAC of a security module (authority 98 or 99) as they are.

    `function`: one of OPAQUE_FUNCTIONS. Returns the data of the answer."""
    if function not in OPAQUE_FUNCTIONS:
        raise FrameError(f"function {function:02X} carries no opaque payload")
    reply = yield Frame(one_meter(address), function, payload)
    check(reply, f"function {function:02X} with an opaque payload")
    return reply.data


def encode_value(identifier: str, text: str) -> bytes:
    """What a person writes to the bytes behind an identifier, in wire order.

    Numbers have their decimals, times the digits of their layout, ASCII is filled up with blanks by
    the caller. A record of several fields takes them separated by commas. FrameError when the table
    lacks the identifier or the text does not fit."""
    known = meaning(identifier)
    if known is None:
        raise FrameError(f"the table does not know {identifier}: write its bytes with hex:")
    fields = known.record.fields
    texts = text.split(",")
    if known.record.repeats:
        fields *= max(1, len(texts) // len(fields))
    if len(texts) != len(fields):
        names = ", ".join(field.name for field in fields)
        raise FrameError(f"{identifier} has {len(fields)} values ({names}), not {len(texts)}")
    return b"".join(
        _encode_field(field, part.strip()) for field, part in zip(fields, texts, strict=True)
    )


def one_meter(address: str) -> str:
    """The address, when it is that of one meter. FrameError for broadcast and wildcards."""
    if not is_meter_address(address):
        raise FrameError(f"{address!r} is not the address of one meter (12 digits)")
    return address


def _encode_field(field: Field, text: str) -> bytes:
    match field.kind:
        case Kind.NUMBER:
            return _encode_number(field, text)
        case Kind.ASCII:
            return _encode_ascii(field, text)
        case Kind.TIME | Kind.DIGITS:
            return _encode_digits(field, text)
        case Kind.HEX | Kind.BITS | Kind.RAW:
            return _encode_hex(field, text)
    raise FrameError(f"{field.name} cannot be written this way")


def _encode_number(field: Field, text: str) -> bytes:
    if not _NUMBER.fullmatch(text):
        raise FrameError(f"{field.name}: {text!r} is no number: digits with at most one point")
    return encode_bcd(Decimal(text), field.width, field.decimals, signed=field.signed)


def _encode_ascii(field: Field, text: str) -> bytes:
    if not text.isascii() or not text:
        raise FrameError(f"{field.name}: {text!r} is no ASCII text")
    return text.encode("ascii")[::-1]


def _encode_digits(field: Field, text: str) -> bytes:
    # isdecimal alone takes the digits of every script.
    is_digits = text.isascii() and text.isdecimal()
    if len(text) != 2 * field.width or not is_digits:
        raise FrameError(
            f"{field.name}: {text!r} is not {2 * field.width} digits {field.unit}".rstrip()
        )
    if field.kind is Kind.TIME:
        _check_time(field, text)
    return bytes.fromhex(text)[::-1]


def _check_time(field: Field, text: str) -> None:
    """FrameError for a part of a time over its highest, other than ANY_TIME."""
    for at in range(0, len(text), 2):
        part = field.unit[at : at + 2]
        number = text[at : at + 2]
        if HIGHEST.get(part, ANY_TIME) < int(number) != ANY_TIME:
            raise FrameError(f"{field.name}: there is no {part} {number} in {text}")


def _encode_hex(field: Field, text: str) -> bytes:
    try:
        data = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        data = b""
    if len(data) != field.width:
        raise FrameError(f"{field.name}: {text!r} is not {2 * field.width} hexadecimal digits")
    return data if field.kind is Kind.RAW else data[::-1]
