"""What DL/T 645-1997 frames say where they differ from those of 2007.

Identifiers have two bytes, writes name no operator, the bits of the error word are others."""

from __future__ import annotations

from typing import Final

from protocols.dlt645 import functions_1997 as functions
from protocols.dlt645.describe.both_versions import (
    describe_address,
    describe_baud,
    describe_broadcast_time,
    describe_impossible_reply,
    describe_no_data,
    describe_read_reply,
)
from protocols.dlt645.describe.version import DataDescription, Version
from protocols.dlt645.frame import Frame

PASSWORD_WIDTH: Final = 4
"""PA P0 P1 P2: level and password."""


def _describe_read(frame: Frame, found: DataDescription) -> None:
    """Some masters ask for several identifiers at once: those behind the first are `extra`."""
    rest = found.take_identifier(frame.data)
    found.add_hex("extra", rest or b"")


def _describe_follow_reply(frame: Frame, found: DataDescription) -> None:
    # The data go on where the frame before ended, so they cannot be decoded alone.
    rest = found.take_identifier(frame.data)
    found.add_hex("data", rest or b"")


def _describe_write(frame: Frame, found: DataDescription) -> None:
    """DI, level and password, value."""
    rest = found.take_identifier(frame.data)
    if rest is None:
        return
    if len(rest) <= PASSWORD_WIDTH:
        found.errors.append(
            "a write has identifier, password (4 bytes) and a value,"
            f" not {len(frame.data)} bytes in all"
        )
        return
    # The password is not repeated in the values: `raw` has it for those who need it.
    found.add_byte("level", rest[0])
    found.add_known(rest[PASSWORD_WIDTH:])


def _describe_change_password(frame: Frame, found: DataDescription) -> None:
    if len(frame.data) != 2 * PASSWORD_WIDTH:
        found.errors.append(
            f"a change of password has 8 data bytes (old, new), not {len(frame.data)}"
        )
        return
    found.add_byte("level", frame.data[0])
    found.add_byte("new_level", frame.data[PASSWORD_WIDTH])


def _describe_new_password(frame: Frame, found: DataDescription) -> None:
    """The answer has no data, or repeats the new password."""
    if len(frame.data) == PASSWORD_WIDTH:
        found.add_byte("new_level", frame.data[0])
    else:
        describe_no_data(frame, found)


def _describe_clear_demand(frame: Frame, found: DataDescription) -> None:
    """Some meters want a password, others nothing."""
    if len(frame.data) not in (0, PASSWORD_WIDTH):
        found.add_wrong_data(
            f"a demand reset has no data or a password (4 bytes), not {len(frame.data)}",
            frame.data,
        )
    elif frame.data:
        found.add_byte("level", frame.data[0])


VERSION_1997: Final = Version(
    protocol="dlt645-1997",
    identifier_width=2,
    function_names=functions.FUNCTION_NAMES,
    error_names=functions.ERROR_BITS,
    requests={
        functions.READ: _describe_read,
        functions.READ_FOLLOW: _describe_read,
        functions.READ_AGAIN: _describe_read,
        functions.WRITE: _describe_write,
        functions.BROADCAST_TIME: describe_broadcast_time,
        functions.WRITE_ADDRESS: describe_address,
        functions.CHANGE_BAUD: describe_baud,
        functions.CHANGE_PASSWORD: _describe_change_password,
        functions.CLEAR_DEMAND: _describe_clear_demand,
    },
    replies={
        functions.READ: describe_read_reply,
        functions.READ_FOLLOW: _describe_follow_reply,
        functions.READ_AGAIN: describe_read_reply,
        functions.WRITE: describe_no_data,
        functions.BROADCAST_TIME: describe_impossible_reply,
        functions.WRITE_ADDRESS: describe_no_data,
        functions.CHANGE_BAUD: describe_baud,
        functions.CHANGE_PASSWORD: _describe_new_password,
        functions.CLEAR_DEMAND: describe_no_data,
    },
)
