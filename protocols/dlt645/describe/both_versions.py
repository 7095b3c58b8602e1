"""Data that both versions of the standard send alike."""

from __future__ import annotations

from typing import Final

from protocols.dlt645.describe.version import DataDescription
from protocols.dlt645.frame import Frame

ADDRESS_WIDTH: Final = 6
TIME_WIDTH: Final = 6
"""ss mm hh DD MM YY."""


def describe_unknown(frame: Frame, found: DataDescription) -> None:
    """Data of a function that the version does not have."""
    found.add_hex("data", frame.data)


def describe_refusal(frame: Frame, found: DataDescription) -> None:
    """The error word of an abnormal answer."""
    if len(frame.data) != 1:
        found.add_wrong_data(
            f"an abnormal answer has one error byte, this one has {len(frame.data)}", frame.data
        )
    if frame.data:
        found.add_refusal(frame.data[0])


def describe_read_reply(frame: Frame, found: DataDescription) -> None:
    """The values behind the identifier that was read."""
    rest = found.take_identifier(frame.data)
    if rest:
        found.add_known(rest, whole=not frame.has_more)
    elif rest is not None:
        found.errors.append("an identifier without data")


def describe_address(frame: Frame, found: DataDescription) -> None:
    """Six bytes of address."""
    if len(frame.data) != ADDRESS_WIDTH:
        found.add_wrong_data(f"an address has 6 bytes, not {len(frame.data)}", frame.data)
    else:
        found.add_bcd("address", frame.data)


def describe_baud(frame: Frame, found: DataDescription) -> None:
    """The baud word; which bit is which speed is a matter of the version."""
    if len(frame.data) != 1:
        found.add_wrong_data(
            f"a change of baud rate has 1 data byte, not {len(frame.data)}", frame.data
        )
    else:
        found.add_byte("baud_code", frame.data[0])


def describe_no_data(frame: Frame, found: DataDescription) -> None:
    """A function that carries nothing."""
    if frame.data:
        found.add_wrong_data(
            f"has no data by the standard, this one has {len(frame.data)} bytes", frame.data
        )


def describe_impossible_reply(frame: Frame, found: DataDescription) -> None:
    """An answer to a broadcast of the time."""
    found.add_wrong_data("nobody answers a broadcast of the time", frame.data)


def describe_broadcast_time(frame: Frame, found: DataDescription) -> None:
    """The time that is broadcast (08)."""
    if len(frame.data) != TIME_WIDTH:
        found.add_wrong_data(
            f"a broadcast time has 6 data bytes, not {len(frame.data)}", frame.data
        )
    else:
        found.add_bcd("time", frame.data, "YYMMDDhhmmss")
