"""Parts of requests and answers that both versions of DL/T 645 have in common."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from protocols.dlt645.bcd import decode_time
from protocols.dlt645.frame import BROADCAST, WAKE_UP, Frame, encode
from protocols.dlt645.functions import ERROR_BITS, error_bits
from protocols.errors import FrameError, MeterRefused
from protocols.exchange import Exchange

IDENTIFIER_EXAMPLES: Final = {
    4: "8 hexadecimal digits (DI3 DI2 DI1 DI0, such as 00010000)",
    2: "4 hexadecimal digits (DI1 DI0, such as 9010)",
}
"""By the bytes of an identifier: 2007 and 1997."""
MOST_FOLLOW_UPS: Final = 255
"""SEQ is one byte, 01..FF; in 1997 follow-ups have no number and the same limit."""
LONGEST_WRITE: Final = 50
"""L of a write at the most (32H)."""


def encode_request(frame: Frame) -> bytes:
    """A request as it goes on the line: wake-up and frame."""
    return WAKE_UP + encode(frame)


def identifier_on_the_wire(identifier: str, width: int = 4) -> bytes:
    """An identifier as written (DI3 first) to `width` bytes, low byte first.

    FrameError when it is none."""
    wire = _reversed_bytes(identifier, width)
    if wire is None:
        raise FrameError(f"identifier {identifier!r} is not {IDENTIFIER_EXAMPLES[width]}")
    return wire


def digits_on_the_wire(text: str, width: int, what: str) -> bytes:
    """Hexadecimal digits as written to bytes, low byte first. FrameError when they do not fit."""
    wire = _reversed_bytes(text, width)
    if wire is None:
        # The text stays out of the message: it may be a password.
        raise FrameError(f"{what} is not {2 * width} digits")
    return wire


def password_on_the_wire(level: str, password: str) -> bytes:
    """PA P0 P1 P2: the level (2 digits) and the password (6 digits), each as written."""
    return digits_on_the_wire(level, 1, "level") + digits_on_the_wire(password, 3, "password")


def check_write(identifier: str, value: bytes, data: bytes) -> None:
    """FrameError for a write without a value, or with more data than a write may have."""
    if not value:
        raise FrameError(f"nothing to write to {identifier}")
    if len(data) > LONGEST_WRITE:
        raise FrameError(
            f"a write has at most {LONGEST_WRITE} data bytes,"
            f" this one to {identifier} has {len(data)}"
        )


def check(reply: Frame, asked: str, error_names: tuple[str, ...] = ERROR_BITS) -> None:
    """MeterRefused when the answer is abnormal; `asked` says in words what was wanted."""
    if reply.is_abnormal:
        word = reply.data[0] if reply.data else 0
        raise MeterRefused(reply.address, asked, word, error_bits(word, error_names))


def read_frames(
    request: Frame,
    follow_up: Callable[[int], Frame],
    asked: str,
    error_names: tuple[str, ...] = ERROR_BITS,
) -> Exchange[Frame, list[bytes]]:
    """The data of the answer to a read and of its follow-up frames.

    `follow_up`: the request for the frame of that number, from 1 on. FrameError when the meter
    never ends."""
    reply = yield request
    check(reply, asked, error_names)
    frames = [reply.data]
    while reply.has_more:
        if len(frames) > MOST_FOLLOW_UPS:
            raise FrameError(
                f"meter {request.address} has more than {MOST_FOLLOW_UPS} follow-up frames"
                f" for {asked}"
            )
        reply = yield follow_up(len(frames))
        check(reply, asked, error_names)
        frames.append(reply.data)
    return frames


def decode_clock(address: str, date: bytes, time: bytes) -> datetime:
    """The meter's wall clock from its date (WW DD MM YY) and its time (ss mm hh), in wire order.

    FrameError when it was never set."""
    now = decode_time(time + date, "ss mm hh WW DD MM YY")
    if now is None:
        raise FrameError(f"the clock of meter {address} was never set")
    return now


def is_meter_address(address: str) -> bool:
    """True for the 12 digits of one meter, False for the broadcast and every wildcard."""
    is_digits = address.isascii() and address.isdigit()
    return len(address) == 12 and is_digits and address != BROADCAST


def addressee(request: Frame) -> str:
    """The address that a request is for, as messages name it."""
    return request.address


def is_from(request: Frame, frame: Frame, *, changes_address: bool) -> bool:
    """True when the answer comes from a meter that the request was for.

    A request that changes the address may be answered from the new one."""
    if same_meter(request.address, frame.address):
        return True
    return changes_address and frame.address == request.data[::-1].hex()


def same_meter(asked: str, answered: str) -> bool:
    """True when the address that answered fits the one that was asked.

    A = any digit: AA..AA asks every meter, an abbreviated address has A in its high digits."""
    if asked == answered:
        return True
    if "A" not in asked:
        return False
    return all(digit in ("A", own) for digit, own in zip(asked, answered, strict=True))


def repeats_identifier(request: Frame, frame: Frame, width: int = 4) -> bool:
    """True when the answer begins with the identifier that the request is for."""
    return len(frame.data) >= width and frame.data[:width] == request.data[:width]


def _reversed_bytes(text: str, width: int) -> bytes | None:
    try:
        data = bytes.fromhex(text)
    except ValueError:
        return None
    # bytes.fromhex takes blanks between the bytes, an identifier and a password have none.
    is_exact = len(data) == width and len(text) == 2 * width
    return data[::-1] if is_exact else None
