"""What DL/T 645-2007 frames say where they differ from those of 1997.

A frame that is well formed but breaks the standard has an `error` without bits that says what is
wrong."""

from __future__ import annotations

from typing import Final

from protocols.dlt645 import functions
from protocols.dlt645.bcd import digits_of
from protocols.dlt645.describe.both_versions import (
    describe_address,
    describe_baud,
    describe_broadcast_time,
    describe_impossible_reply,
    describe_no_data,
    describe_read_reply,
    describe_refusal,
)
from protocols.dlt645.describe.version import DataDescription, Version
from protocols.dlt645.frame import Frame
from protocols.dlt645.functions import BAUD_RATES
from protocols.dlt645.identifiers import MEASURED, meaning

ANY_TIME: Final = 0x99
FREEZE_PARTS: Final = (
    ("minute", 0x00, 0x59),
    ("hour", 0x00, 0x23),
    ("day", 0x01, 0x31),
    ("month", 0x01, 0x12),
)
"""In wire order, with the lowest and the highest BCD byte of each."""
# 1D and 1E: which of them permits and which closes by itself is not the same in all sources.
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
"""N1 of the control command (1C)."""

# PA 98 and 99 are State Grid's: only the meter's security module (ESAM) can check them.
CIPHERTEXT: Final = 0x98
"""PA: everything behind the operator is ciphertext and MAC."""
PLAIN_WITH_MAC: Final = 0x99
"""PA: plain data and a MAC."""
MAC_WIDTH: Final = 4
IDENTIFIER_WIDTH: Final = 4
AUTHORITY_WIDTH: Final = 8
"""PA P0 P1 P2 C0 C1 C2 C3: level and password, operator."""
PASSWORD_WIDTH: Final = 4
"""PA P0 P1 P2."""
CONTROL_WIDTH: Final = 8
"""N1 N2 ss mm hh DD MM YY."""
SHORTEST_CIPHERED_CONTROL: Final = 28
"""Data bytes of a control command in ciphertext: authority and 20 bytes (L = 1CH and up)."""


def _describe_security(frame: Frame, found: DataDescription) -> None:
    if len(frame.data) < AUTHORITY_WIDTH:
        found.add_hex("data", frame.data)
        return
    # A value, not `found.identifier`: here it names a command (07xxxxxx), not data.
    found.add("identifier", digits_of(frame.data[:4]))
    found.add("operator", digits_of(frame.data[4:8]))
    found.add_hex("data", frame.data[8:])


def _describe_security_reply(frame: Frame, found: DataDescription) -> None:
    if len(frame.data) < IDENTIFIER_WIDTH:
        found.add_hex("data", frame.data)
        return
    found.add("identifier", digits_of(frame.data[:4]))
    found.add_hex("data", frame.data[4:])


def _describe_security_refusal(frame: Frame, found: DataDescription) -> None:
    """SERR, the error word of the security module, has two bytes (C3)."""
    if len(frame.data) != 2:
        describe_refusal(frame, found)
        return
    word = digits_of(frame.data)
    found.add("security_error", word, "hex")
    found.errors.append(f"the meter refused: security error word {word}")


def _describe_read(frame: Frame, found: DataDescription) -> None:
    """DI; for load records also their count, and the time of the first (L = 04, 05, 0A)."""
    rest = found.take_identifier(frame.data)
    if rest is None:
        return
    if len(rest) not in (0, 1, 6):
        found.add_wrong_data(
            "a read has 4, 5 (block count) or 10 (block count and time) data bytes,"
            f" not {len(frame.data)}",
            rest,
        )
        return
    if rest:
        found.add_bcd("blocks", rest[:1])
    if len(rest) > 1:
        found.add_bcd("from_time", rest[1:], "YYMMDDhhmm")


def _describe_follow(frame: Frame, found: DataDescription) -> None:
    rest = found.take_identifier(frame.data)
    if rest:
        found.add("sequence", str(rest[0]))
        found.add_hex("data", rest[1:])


def _describe_follow_reply(frame: Frame, found: DataDescription) -> None:
    """SEQ is the last byte of an answer (92), the first behind the DI of a request (12)."""
    rest = found.take_identifier(frame.data)
    if rest:
        found.add("sequence", str(rest[-1]))
        # The data go on where the frame before ended, so they cannot be decoded alone.
        found.add_hex("data", rest[:-1])
    elif rest is not None:
        found.errors.append("a follow-up answer without sequence number")


def _describe_write(frame: Frame, found: DataDescription) -> None:
    """DI, authority, value."""
    rest = found.take_identifier(frame.data)
    if rest is None:
        return
    if len(rest) < AUTHORITY_WIDTH:
        found.add_wrong_data(
            "a write has 12 bytes (identifier, password, operator) before its value,"
            f" not {len(frame.data)}",
            rest,
        )
        return
    value = _take_authority(rest, found, least=1)
    if len(rest) == AUTHORITY_WIDTH:
        found.errors.append("a write without a value")
    if frame.data[3] in MEASURED:
        found.add_wrong_data(_why_not_written(frame, found), value or b"")
    elif value:
        found.add_known(value)


def _why_not_written(frame: Frame, found: DataDescription) -> str:
    """Some programs send the DI high byte first: say so when it means something that way."""
    backwards = frame.data[:IDENTIFIER_WIDTH].hex().upper()
    hint = f", {backwards} sent with its bytes in reverse?" if meaning(backwards) else ""
    return f"{found.identifier} is measured by the meter and cannot be written{hint}"


def _take_authority(data: bytes, found: DataDescription, *, least: int = 0) -> bytes | None:
    """The plain data behind level, password and operator; None when they are ciphertext.

    Authority 99 ends with a MAC, taken off when `least` or more bytes are before it."""
    # The password is not repeated in the values: `raw` has it for those who need it.
    found.add_byte("level", data[0])
    found.add("operator", digits_of(data[PASSWORD_WIDTH:AUTHORITY_WIDTH]))
    behind = data[AUTHORITY_WIDTH:]
    if data[0] == CIPHERTEXT and behind:
        found.add_hex("ciphertext", behind)
        return None
    if data[0] == PLAIN_WITH_MAC and len(behind) >= least + MAC_WIDTH:
        found.add_hex("mac", behind[-MAC_WIDTH:])
        return behind[:-MAC_WIDTH]
    return behind


def _describe_freeze(frame: Frame, found: DataDescription) -> None:
    # mm hh DD MM: three sources against one that sends month, day, hour, minute.
    if len(frame.data) != len(FREEZE_PARTS):
        found.add_wrong_data(
            f"a freeze has 4 data bytes (mm hh DD MM), not {len(frame.data)}", frame.data
        )
        return
    found.add_bcd("freeze_at", frame.data, "MMDDhhmm")
    for (part, lowest, highest), byte in zip(FREEZE_PARTS, frame.data, strict=True):
        if byte != ANY_TIME and not lowest <= byte <= highest:
            found.errors.append(
                f"no such {part}: {byte:02X} (the bytes are minute, hour, day, month)"
            )


def _describe_baud(frame: Frame, found: DataDescription) -> None:
    describe_baud(frame, found)
    if len(frame.data) == 1 and frame.data[0] in BAUD_RATES:
        found.add("baud", str(BAUD_RATES[frame.data[0]]), "Bd")


def _describe_change_password(frame: Frame, found: DataDescription) -> None:
    rest = found.take_identifier(frame.data)
    if rest is None:
        return
    if len(rest) != 2 * PASSWORD_WIDTH:
        # Not added as data, whatever they are: they hold passwords.
        found.errors.append(f"a change of password has 12 data bytes, not {len(frame.data)}")
        return
    found.add_byte("level", rest[0])
    found.add_byte("new_level", rest[PASSWORD_WIDTH])


def _describe_new_password(frame: Frame, found: DataDescription) -> None:
    if len(frame.data) != PASSWORD_WIDTH:
        found.errors.append(
            f"the answer to a change of password has 4 data bytes, not {len(frame.data)}"
        )
        return
    found.add_byte("new_level", frame.data[0])


def _describe_clear(frame: Frame, found: DataDescription) -> None:
    behind: bytes | None = frame.data
    if len(frame.data) >= AUTHORITY_WIDTH:
        behind = _take_authority(frame.data, found)
        if not behind:
            return
    found.add_wrong_data(
        f"this command has password and operator (8 data bytes), not {len(frame.data)}",
        behind or b"",
    )


def _describe_clear_events(frame: Frame, found: DataDescription) -> None:
    behind: bytes | None = frame.data
    is_long_enough = len(frame.data) >= AUTHORITY_WIDTH + IDENTIFIER_WIDTH
    if is_long_enough:
        behind = _take_authority(frame.data, found, least=IDENTIFIER_WIDTH)
    if behind is None:
        return
    if is_long_enough and len(behind) == IDENTIFIER_WIDTH:
        found.identifier = digits_of(behind)
        return
    found.add_wrong_data(
        "clear events has password, operator and identifier (12 data bytes),"
        f" not {len(frame.data)}",
        behind,
    )


def _describe_control(frame: Frame, found: DataDescription) -> None:
    """Authority, N1 N2 and the time after which it must not be done any more."""
    data = frame.data
    if len(data) >= SHORTEST_CIPHERED_CONTROL and data[0] != CIPHERTEXT:
        # A level that promises plain text, and yet too long for it.
        _take_authority(data[:AUTHORITY_WIDTH], found)
        found.add_hex("ciphertext", data[AUTHORITY_WIDTH:])
        return
    command: bytes | None = data
    is_long_enough = len(data) >= AUTHORITY_WIDTH + CONTROL_WIDTH
    if is_long_enough:
        command = _take_authority(data, found, least=CONTROL_WIDTH)
    if command is None:
        return
    if is_long_enough and len(command) == CONTROL_WIDTH:
        _describe_action(command, found)
        return
    found.add_wrong_data(
        f"a control command has 16 data bytes, a ciphered one 28 or more, not {len(data)}", command
    )


def _describe_action(command: bytes, found: DataDescription) -> None:
    action = command[0]
    found.add_byte("n1", action)
    if action in ACTIONS:
        found.add("action", ACTIONS[action])
    else:
        found.errors.append(f"no such control action: {action:02X}")
    found.add_byte("n2", command[1])
    found.add_bcd("expiry", command[2:], "YYMMDDhhmmss")


VERSION_2007: Final = Version(
    protocol="dlt645-2007",
    identifier_width=IDENTIFIER_WIDTH,
    function_names=functions.FUNCTION_NAMES,
    error_names=functions.ERROR_BITS,
    requests={
        functions.SECURITY: _describe_security,
        functions.BROADCAST_TIME: describe_broadcast_time,
        functions.READ: _describe_read,
        functions.READ_FOLLOW: _describe_follow,
        functions.READ_ADDRESS: describe_no_data,
        functions.WRITE: _describe_write,
        functions.WRITE_ADDRESS: describe_address,
        functions.FREEZE: _describe_freeze,
        functions.CHANGE_BAUD: _describe_baud,
        functions.CHANGE_PASSWORD: _describe_change_password,
        functions.CLEAR_DEMAND: _describe_clear,
        functions.CLEAR_METER: _describe_clear,
        functions.CLEAR_EVENTS: _describe_clear_events,
        functions.CONTROL: _describe_control,
    },
    replies={
        functions.SECURITY: _describe_security_reply,
        functions.BROADCAST_TIME: describe_impossible_reply,
        functions.READ: describe_read_reply,
        functions.READ_FOLLOW: _describe_follow_reply,
        functions.READ_ADDRESS: describe_address,
        functions.WRITE: describe_no_data,
        functions.WRITE_ADDRESS: describe_no_data,
        functions.FREEZE: describe_no_data,
        functions.CHANGE_BAUD: _describe_baud,
        functions.CHANGE_PASSWORD: _describe_new_password,
        functions.CLEAR_DEMAND: describe_no_data,
        functions.CLEAR_METER: describe_no_data,
        functions.CLEAR_EVENTS: describe_no_data,
        functions.CONTROL: describe_no_data,
    },
    refusals={functions.SECURITY: _describe_security_refusal},
)
