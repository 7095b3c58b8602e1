"""What DL/T 645-2007 frames say, told field by field for people and for other programs.

Nothing here is needed to read a meter. A frame that is well formed but breaks the standard is told
with an `error` that has no bits and says what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from protocols.dlt645 import functions
from protocols.dlt645.describe.description import (
    Description,
    Told,
    Wrong,
    tell_address,
    tell_broadcast_time,
    tell_impossible_reply,
    tell_no_data,
    tell_unknown,
)
from protocols.dlt645.frame import Frame, raw
from protocols.dlt645.identifiers import meaning

PROTOCOL: Final = "dlt645-2007"
ANY_TIME: Final = 0x99
FREEZE_PARTS: Final = (
    ("minute", 0x00, 0x59),
    ("hour", 0x00, 0x23),
    ("day", 0x01, 0x31),
    ("month", 0x01, 0x12),
)
"""In wire order, with the lowest and the highest BCD byte of each."""
BAUD_RATES: Final = {
    0x02: 600,
    0x04: 1200,
    0x08: 2400,
    0x10: 4800,
    0x20: 9600,
    0x40: 19200,
}
ACTIONS: Final = {
    0x1A: "trip",
    0x1B: "close_permit",
    0x1C: "close",
    0x1D: "trip_for_then_permit",
    0x1E: "trip_for_then_close",
    0x2A: "alarm",
    0x2B: "alarm_end",
    0x3A: "keep_power",
    0x3B: "keep_power_end",
}
CIPHERTEXT: Final = 0x98
"""PA: everything behind the operator is ciphertext and MAC, for the meter's security module
alone."""
PLAIN_WITH_MAC: Final = 0x99
"""PA: plain data and a MAC."""
MAC_WIDTH: Final = 4
MEASURED: Final = frozenset({0x00, 0x01, 0x02, 0x03, 0x05, 0x06, 0x1D, 0x1E})
"""DI3 of what a meter measures or records: readable, never written."""
EMPTY_REPLIES: Final = frozenset(
    {
        functions.WRITE,
        functions.WRITE_ADDRESS,
        functions.FREEZE,
        functions.CLEAR_DEMAND,
        functions.CLEAR_METER,
        functions.CLEAR_EVENTS,
        functions.CONTROL,
    }
)
"""Their normal answer has no data."""


def describe(frame: Frame) -> Description:
    """One frame. Never raises, whatever the data are."""
    told = Told()
    bits: tuple[str, ...] = ()
    if frame.is_response:
        told.check_reply_address(frame.address)
    if frame.is_response and frame.is_abnormal:
        bits = _tell_error_word(frame, told)
    else:
        tellers = _REPLIES if frame.is_response else _REQUESTS
        tellers.get(frame.function, tell_unknown)(frame, told)
    return Description(
        protocol=PROTOCOL,
        direction="response" if frame.is_response else "request",
        address=frame.address,
        control=f"{frame.control:02X}",
        function=functions.FUNCTION_NAMES.get(frame.function, "unknown"),
        identifier=told.identifier,
        values=tuple(told.values),
        error=Wrong(bits, "; ".join(told.wrong)) if told.wrong else None,
        follow=frame.has_more,
        raw=raw(frame).hex().upper(),
    )


def _tell_error_word(frame: Frame, told: Told) -> tuple[str, ...]:
    if frame.function == functions.SECURITY and len(frame.data) == 2:
        told.add("security_error", frame.data[::-1].hex().upper(), "hex")
        told.wrong.append(
            f"the meter refused: security error word {frame.data[::-1].hex().upper()}"
        )
        return ()
    if len(frame.data) != 1:
        told.wrong.append(f"an abnormal answer has one error byte, this one has {len(frame.data)}")
        told.add_hex("data", frame.data)
    if not frame.data:
        return ()
    word = frame.data[0]
    bits = functions.error_bits(word)
    told.refuse(word, bits)
    return bits


def _take_identifier(frame: Frame, told: Told) -> bool:
    if len(frame.data) < 4:
        told.wrong.append(f"no identifier: {len(frame.data)} data bytes, an identifier has 4")
        told.add_hex("data", frame.data)
        return False
    told.identifier = frame.data[3::-1].hex().upper()
    return True


def _tell_read(frame: Frame, told: Told) -> None:
    if not _take_identifier(frame, told):
        return
    rest = frame.data[4:]
    if len(rest) not in (0, 1, 6):
        told.wrong.append(
            f"a read has 4, 5 (block count) or 10 (block count and time) data bytes, not {len(frame.data)}"
        )
        told.add_hex("data", rest)
        return
    if rest:
        told.add_bcd("blocks", rest[:1])
    if len(rest) == 6:
        told.add_bcd("from_time", rest[1:], "YYMMDDhhmm")


def _tell_read_reply(frame: Frame, told: Told) -> None:
    if not _take_identifier(frame, told):
        return
    if len(frame.data) == 4:
        told.wrong.append("an identifier without data")
    else:
        told.add_known(frame.data[4:], whole=not frame.has_more)


def _tell_follow(frame: Frame, told: Told) -> None:
    if not _take_identifier(frame, told):
        return
    if len(frame.data) > 4:
        told.add("sequence", str(frame.data[4]))
    told.add_hex("data", frame.data[5:])


def _tell_follow_reply(frame: Frame, told: Told) -> None:
    """The data go on where the frame before ended, so they cannot be decoded alone; the last byte
    is SEQ."""
    if not _take_identifier(frame, told):
        return
    if len(frame.data) == 4:
        told.wrong.append("a follow-up answer without sequence number")
        return
    told.add("sequence", str(frame.data[-1]))
    told.add_hex("data", frame.data[4:-1])


def _tell_write(frame: Frame, told: Told) -> None:
    """DI, level and password, operator, value. The password is not repeated: it is in `raw` for who
    needs it."""
    if not _take_identifier(frame, told):
        return
    if len(frame.data) < 12:
        told.wrong.append(
            f"a write has 12 bytes (identifier, password, operator) before its value, not {len(frame.data)}"
        )
        told.add_hex("data", frame.data[4:])
        return
    value = _take_authority(frame.data[4:], told, least=1)
    if len(frame.data) == 12:
        told.wrong.append("a write without a value")
    if frame.data[3] in MEASURED:
        backwards = frame.data[:4].hex().upper()
        hint = f", {backwards} sent with its bytes in reverse?" if meaning(backwards) else ""
        told.wrong.append(f"{told.identifier} is measured by the meter and cannot be written{hint}")
        told.add_hex("data", value or b"")
    elif value:
        told.add_known(value)


def _take_authority(data: bytes, told: Told, *, least: int = 0) -> bytes | None:
    """PA P0 P1 P2 C0 C1 C2 C3. Returns the plain data behind them, without the MAC that follows
    `least` or more bytes of authority 99; None when they are ciphertext, which is told as it is."""
    told.add("level", f"{data[0]:02X}")
    told.add("operator", data[7:3:-1].hex().upper())
    behind = data[8:]
    if data[0] == CIPHERTEXT and behind:
        told.add_hex("ciphertext", behind)
        return None
    if data[0] == PLAIN_WITH_MAC and len(behind) >= least + MAC_WIDTH:
        told.add_hex("mac", behind[-MAC_WIDTH:])
        return behind[:-MAC_WIDTH]
    return behind


def _tell_freeze(frame: Frame, told: Told) -> None:
    if len(frame.data) != 4:
        told.wrong.append(f"a freeze has 4 data bytes (mm hh DD MM), not {len(frame.data)}")
        told.add_hex("data", frame.data)
        return
    told.add_bcd("freeze_at", frame.data, "MMDDhhmm")
    for (part, lowest, highest), byte in zip(FREEZE_PARTS, frame.data, strict=True):
        if byte != ANY_TIME and not lowest <= byte <= highest:
            told.wrong.append(
                f"no such {part}: {byte:02X} (the bytes are minute, hour, day, month)"
            )


def _tell_baud(frame: Frame, told: Told) -> None:
    if len(frame.data) != 1:
        told.wrong.append(f"a change of baud rate has 1 data byte, not {len(frame.data)}")
        told.add_hex("data", frame.data)
        return
    code = frame.data[0]
    told.add("baud_code", f"{code:02X}")
    if code in BAUD_RATES:
        told.add("baud", str(BAUD_RATES[code]), "Bd")


def _tell_change_password(frame: Frame, told: Told) -> None:
    if not _take_identifier(frame, told):
        return
    if len(frame.data) != 12:
        told.wrong.append(f"a change of password has 12 data bytes, not {len(frame.data)}")
        return
    told.add("level", f"{frame.data[4]:02X}")
    told.add("new_level", f"{frame.data[8]:02X}")


def _tell_new_password(frame: Frame, told: Told) -> None:
    if len(frame.data) != 4:
        told.wrong.append(
            f"the answer to a change of password has 4 data bytes, not {len(frame.data)}"
        )
        return
    told.add("new_level", f"{frame.data[0]:02X}")


def _tell_clear(frame: Frame, told: Told) -> None:
    behind = _take_authority(frame.data, told) if len(frame.data) >= 8 else frame.data
    if behind:
        told.wrong.append(
            f"this command has password and operator (8 data bytes), not {len(frame.data)}"
        )
        told.add_hex("data", behind)
    elif not frame.data:
        told.wrong.append("this command has password and operator (8 data bytes), not 0")


def _tell_clear_events(frame: Frame, told: Told) -> None:
    behind = _take_authority(frame.data, told, least=4) if len(frame.data) >= 12 else frame.data
    if behind is None:
        return
    if len(behind) != 4 or len(frame.data) < 12:
        told.wrong.append(
            f"clear events has password, operator and identifier (12 data bytes), not {len(frame.data)}"
        )
        told.add_hex("data", behind)
        return
    told.identifier = behind[::-1].hex().upper()


def _tell_control(frame: Frame, told: Told) -> None:
    """PA P0 P1 P2 C0..C3 N1 N2 and the time after which it must not be done any more; from 28 bytes
    on ciphertext."""
    if len(frame.data) >= 28 and frame.data[0] != CIPHERTEXT:
        _take_authority(frame.data[:8], told)
        told.add_hex("ciphertext", frame.data[8:])
        return
    order = _take_authority(frame.data, told, least=8) if len(frame.data) >= 16 else frame.data
    if order is None:
        return
    if len(order) != 8 or len(frame.data) < 16:
        told.wrong.append(
            f"a control command has 16 data bytes, a ciphered one 28 or more, not {len(frame.data)}"
        )
        told.add_hex("data", order)
        return
    n1, n2 = order[0], order[1]
    told.add("n1", f"{n1:02X}")
    if n1 in ACTIONS:
        told.add("action", ACTIONS[n1])
    else:
        told.wrong.append(f"no such control action: {n1:02X}")
    told.add("n2", f"{n2:02X}")
    told.add_bcd("expiry", order[2:], "YYMMDDhhmmss")


def _tell_security(frame: Frame, told: Told) -> None:
    """The identifier is told as a value: here it names a command, not data."""
    if len(frame.data) >= 8:
        told.add("identifier", frame.data[3::-1].hex().upper())
        told.add("operator", frame.data[7:3:-1].hex().upper())
        told.add_hex("data", frame.data[8:])
    else:
        told.add_hex("data", frame.data)


def _tell_security_reply(frame: Frame, told: Told) -> None:
    if len(frame.data) >= 4:
        told.add("identifier", frame.data[3::-1].hex().upper())
        told.add_hex("data", frame.data[4:])
    else:
        told.add_hex("data", frame.data)


_Teller = Callable[[Frame, Told], None]

_REQUESTS: Final[dict[int, _Teller]] = {
    functions.SECURITY: _tell_security,
    functions.BROADCAST_TIME: tell_broadcast_time,
    functions.READ: _tell_read,
    functions.READ_FOLLOW: _tell_follow,
    functions.READ_ADDRESS: tell_no_data,
    functions.WRITE: _tell_write,
    functions.WRITE_ADDRESS: tell_address,
    functions.FREEZE: _tell_freeze,
    functions.CHANGE_BAUD: _tell_baud,
    functions.CHANGE_PASSWORD: _tell_change_password,
    functions.CLEAR_DEMAND: _tell_clear,
    functions.CLEAR_METER: _tell_clear,
    functions.CLEAR_EVENTS: _tell_clear_events,
    functions.CONTROL: _tell_control,
}
_REPLIES: Final[dict[int, _Teller]] = {
    functions.SECURITY: _tell_security_reply,
    functions.BROADCAST_TIME: tell_impossible_reply,
    functions.READ: _tell_read_reply,
    functions.READ_FOLLOW: _tell_follow_reply,
    functions.READ_ADDRESS: tell_address,
    functions.CHANGE_BAUD: _tell_baud,
    functions.CHANGE_PASSWORD: _tell_new_password,
    **dict.fromkeys(EMPTY_REPLIES, tell_no_data),
}
