"""What DL/T 645-1997 frames say: two-byte identifiers, writes without operator, error bits of their
own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from protocols.dlt645 import functions_1997
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

PROTOCOL: Final = "dlt645-1997"
EMPTY_REPLIES: Final = frozenset(
    {
        functions_1997.WRITE,
        functions_1997.WRITE_ADDRESS,
        functions_1997.CHANGE_PASSWORD,
        functions_1997.CLEAR_DEMAND,
    }
)
"""Their normal answer has no data; a change of password may repeat the new one."""


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
        function=functions_1997.FUNCTION_NAMES.get(frame.function, "unknown"),
        identifier=told.identifier,
        values=tuple(told.values),
        error=Wrong(bits, "; ".join(told.wrong)) if told.wrong else None,
        follow=frame.has_more,
        raw=raw(frame).hex().upper(),
    )


def _tell_error_word(frame: Frame, told: Told) -> tuple[str, ...]:
    if len(frame.data) != 1:
        told.wrong.append(f"an abnormal answer has one error byte, this one has {len(frame.data)}")
        told.add_hex("data", frame.data)
    if not frame.data:
        return ()
    bits = functions_1997.error_bits(frame.data[0])
    told.refuse(frame.data[0], bits)
    return bits


def _take_identifier(frame: Frame, told: Told) -> bool:
    if len(frame.data) < 2:
        told.wrong.append(f"no identifier: {len(frame.data)} data bytes, an identifier has 2")
        told.add_hex("data", frame.data)
        return False
    told.identifier = frame.data[1::-1].hex().upper()
    return True


def _tell_read(frame: Frame, told: Told) -> None:
    """Some masters ask for several identifiers at once: what follows the first one is told as
    `extra`."""
    if _take_identifier(frame, told):
        told.add_hex("extra", frame.data[2:])


def _tell_read_reply(frame: Frame, told: Told) -> None:
    if not _take_identifier(frame, told):
        return
    if len(frame.data) == 2:
        told.wrong.append("an identifier without data")
    else:
        told.add_known(frame.data[2:], whole=not frame.has_more)


def _tell_follow_reply(frame: Frame, told: Told) -> None:
    """The data go on where the frame before ended, so they cannot be decoded alone."""
    if _take_identifier(frame, told):
        told.add_hex("data", frame.data[2:])


def _tell_write(frame: Frame, told: Told) -> None:
    """DI, level and password, value. The password is not repeated: it is in `raw` for who needs
    it."""
    if not _take_identifier(frame, told):
        return
    if len(frame.data) <= 6:
        told.wrong.append(
            f"a write has identifier, password (4 bytes) and a value, not {len(frame.data)} bytes in all"
        )
        return
    told.add("level", f"{frame.data[2]:02X}")
    told.add_known(frame.data[6:])


def _tell_baud(frame: Frame, told: Told) -> None:
    if len(frame.data) != 1:
        told.wrong.append(f"a change of baud rate has 1 data byte, not {len(frame.data)}")
        told.add_hex("data", frame.data)
    else:
        told.add("baud_code", f"{frame.data[0]:02X}")


def _tell_password(frame: Frame, told: Told) -> None:
    if len(frame.data) != 8:
        told.wrong.append(
            f"a change of password has 8 data bytes (old, new), not {len(frame.data)}"
        )
        return
    told.add("level", f"{frame.data[0]:02X}")
    told.add("new_level", f"{frame.data[4]:02X}")


def _tell_clear_demand(frame: Frame, told: Told) -> None:
    """Some meters want a password, others nothing."""
    if len(frame.data) not in (0, 4):
        told.wrong.append(
            f"a demand reset has no data or a password (4 bytes), not {len(frame.data)}"
        )
        told.add_hex("data", frame.data)
    elif frame.data:
        told.add("level", f"{frame.data[0]:02X}")


def _tell_new_password(frame: Frame, told: Told) -> None:
    if len(frame.data) == 4:
        told.add("new_level", f"{frame.data[0]:02X}")
    else:
        tell_no_data(frame, told)


_Teller = Callable[[Frame, Told], None]

_REQUESTS: Final[dict[int, _Teller]] = {
    functions_1997.READ: _tell_read,
    functions_1997.READ_FOLLOW: _tell_read,
    functions_1997.READ_AGAIN: _tell_read,
    functions_1997.WRITE: _tell_write,
    functions_1997.BROADCAST_TIME: tell_broadcast_time,
    functions_1997.WRITE_ADDRESS: tell_address,
    functions_1997.CHANGE_BAUD: _tell_baud,
    functions_1997.CHANGE_PASSWORD: _tell_password,
    functions_1997.CLEAR_DEMAND: _tell_clear_demand,
}
_REPLIES: Final[dict[int, _Teller]] = {
    functions_1997.READ: _tell_read_reply,
    functions_1997.READ_FOLLOW: _tell_follow_reply,
    functions_1997.READ_AGAIN: _tell_read_reply,
    functions_1997.BROADCAST_TIME: tell_impossible_reply,
    functions_1997.CHANGE_BAUD: _tell_baud,
    **dict.fromkeys(EMPTY_REPLIES, tell_no_data),
    functions_1997.CHANGE_PASSWORD: _tell_new_password,
}
