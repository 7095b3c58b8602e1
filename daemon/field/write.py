"""Sets one parameter of a meter and reads it back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from daemon.field.connection import Connection
from daemon.field.language import Language, language_of
from protocols.channels.conversation import Conversation
from protocols.dlt645.bcd import decode_time
from protocols.dlt645.frame import Frame
from protocols.dlt645.identifiers import MEASURED, Kind, meaning
from protocols.dlt645.values import DIGITS_OF_1997
from protocols.dlt645.writing import Authority, encode_value
from protocols.errors import (
    FrameError,
    LineDown,
    MeterdError,
    MeterRefused,
    NoReply,
    WriteUnconfirmed,
)
from protocols.exchange import Exchange

HEX: Final = "hex:"
PROGRAMMING_1997: Final = "C"
"""DI1 of what may be written begins with it; the rest is measured."""
ADDRESS: Final = "04000401"
"""A meter that was given another address answers by it."""
CLOCKS: Final = frozenset({"04000102", "0400010C", "C011"})
"""What goes on by itself once it is written: ss mm hh, alone or with WW DD MM YY."""
TIME_OF_DAY_BYTES: Final = 3
SOME_DAY: Final = bytes.fromhex("00010126")
"""WW DD MM YY for a time of day that comes without."""
GOES_ON: Final = timedelta(seconds=5)
"""How far a clock may have gone until it is read back."""


class ReadBackFailed(MeterdError):
    """A meter accepted a write and then did not tell what it keeps. The operator reads it again."""


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """What is written where. `data`: in wire order, see `value_on_the_wire`."""

    meter: str
    identifier: str
    data: bytes
    authority: Authority

    def check(self) -> None:
        """FrameError for what cannot be sent, before a line is opened for it."""
        next(self.exchange())

    def exchange(self) -> Exchange[Frame, None]:
        """The write, as the version of the identifier has it."""
        write = language_of(self.identifier).write
        return write(self.meter, self.identifier, self.data, self.authority)


@dataclass(frozen=True, slots=True)
class WriteResult:
    """The bytes behind the identifier, in wire order.

    `before` is None when they could not be read."""

    before: bytes | None
    after: bytes


class ParameterWrite:
    """One write, and what is known of it even when it is interrupted."""

    def __init__(self, connection: Connection, request: WriteRequest) -> None:
        self.is_unconfirmed = False
        """True while the request may be with the meter and its answer is not here."""
        self._connection = connection
        self._request = request

    async def run(self) -> WriteResult:
        """Write once and read back.

        WriteUnconfirmed, ReadBackFailed; MeterRefused, LineDown, NoReply or FrameError while
        nothing was written yet."""
        request = self._request
        language = language_of(request.identifier)
        async with self._connection.conversation(language.codec) as conversation:
            before = await self._read_before(conversation, language)
            await self._write(conversation)
            try:
                after = await conversation.run(
                    language.read(address_after(request), request.identifier)
                )
            except (NoReply, LineDown, MeterRefused, FrameError) as error:
                raise ReadBackFailed(
                    f"meter {request.meter} accepted the write, "
                    f"but {request.identifier} cannot be read back: {error}"
                ) from None
        return WriteResult(before, after)

    async def _read_before(
        self, conversation: Conversation[Frame], language: Language
    ) -> bytes | None:
        request = self._request
        try:
            return await conversation.run(language.read(request.meter, request.identifier))
        except MeterRefused:
            return None  # some parameters may be written and not read

    async def _write(self, conversation: Conversation[Frame]) -> None:
        self.is_unconfirmed = True
        try:
            # Sent once: a meter counts wrong passwords and locks itself.
            await conversation.run(self._request.exchange(), retries=0)
        except (NoReply, LineDown) as error:
            raise WriteUnconfirmed(f"{error}\n{unconfirmed(self._request.identifier)}") from None
        except (MeterRefused, FrameError):
            self.is_unconfirmed = False
            raise
        self.is_unconfirmed = False


def unconfirmed(identifier: str) -> str:
    """What to do after a write without an answer."""
    return f"Whether it was written is not known: read {identifier}."


def value_on_the_wire(identifier: str, text: str) -> bytes:
    """A value as `meterd read` shows it, or hex: and bytes, in wire order.

    FrameError for what cannot be written."""
    _refuse_unwritable(identifier)
    if not text.startswith(HEX):
        return encode_value(identifier, text)
    try:
        return bytes.fromhex(text.removeprefix(HEX))
    except ValueError:
        raise FrameError(f"{text!r} is not hex: and bytes in wire order") from None


def address_after(request: WriteRequest) -> str:
    """The address that the meter answers by once the request is done."""
    return request.data[::-1].hex() if request.identifier == ADDRESS else request.meter


def is_kept(identifier: str, written: bytes, after: bytes) -> bool:
    """True when a meter keeps what was written.

    A clock goes on: what it shows may be a little later."""
    if after == written:
        return True
    if identifier not in CLOCKS or len(after) != len(written):
        return False
    try:
        was = _time(written)
        now = _time(after)
    except FrameError:
        return False
    if was is None or now is None:
        return False
    went_on = now - was
    if len(after) == TIME_OF_DAY_BYTES:
        went_on = timedelta(seconds=went_on.seconds)  # over midnight it begins anew
    return timedelta(0) <= went_on <= GOES_ON


def _time(data: bytes) -> datetime | None:
    return decode_time((data + SOME_DAY)[:7], "ss mm hh WW DD MM YY")


def _refuse_unwritable(identifier: str) -> None:
    if not re.fullmatch("[0-9A-F]{8}|[0-9A-F]{4}", identifier):
        raise FrameError(
            f"identifier {identifier!r} is not 8 hexadecimal digits, nor 4 as in the 1997 version"
        )
    if _is_measured(identifier):
        raise FrameError(f"{identifier} is measured by the meter and cannot be written")
    known = meaning(identifier)
    if known and any(field.kind is Kind.SECRET for field in known.record.fields):
        raise FrameError(f"{identifier} is a password: it is not set by a write")


def _is_measured(identifier: str) -> bool:
    if len(identifier) == DIGITS_OF_1997:
        return not identifier.startswith(PROGRAMMING_1997)
    return int(identifier[:2], 16) in MEASURED
