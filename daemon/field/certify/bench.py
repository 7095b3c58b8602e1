"""Talks to a meter byte by byte, and keeps what was said: a check judges bytes, not readings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple, Protocol

from protocols.channels.conversation import Wire
from protocols.dlt645 import functions
from protocols.dlt645.frame import Decoder
from protocols.errors import ControlForbidden, MeterdError
from protocols.exchange import Skipped
from protocols.modbus import frame as modbus
from protocols.modbus import functions as modbus_functions

AFTER_ANSWER_S: Final = 0.1
"""Something that follows an answer begins within it."""
BYTE_GAP_S: Final = 0.6
"""Silence that ends an answer: more than bytes of one may be apart."""
LONGEST_ANSWER_S: Final = 4.0


class Harm(IntEnum):
    """What a frame can do to a meter, and so what a user has to permit."""

    NONE = 0
    WRITES = 1
    SWITCHES = 2


class CheckFailed(MeterdError):
    """The meter does not do what the check asks for; the text says what it did."""


class NotTested(MeterdError):
    """The check says nothing of this meter; the text says why."""


class Said(NamedTuple):
    """Bytes on the line. `at_s`: since the beginning of the check."""

    direction: str
    at_s: float
    data: bytes


@dataclass(slots=True)
class Reply:
    """What came to a question. `first_s`: until its first byte; `longest_gap_s`: between bytes."""

    data: bytes = b""
    first_s: float = 0.0
    longest_gap_s: float = 0.0


class OpenChannel(Protocol):
    """What carries the bytes; `Channel` in protocols/channels."""

    async def send(self, data: bytes) -> None:
        """LineDown."""

    async def receive(self) -> bytes:
        """LineDown."""


@dataclass
class Bench:
    """An open line to one meter. `wait_s`: for the beginning of an answer; `byte_s`: that a byte
    takes on the wire; `is_whole`: whether the bytes are one whole answer."""

    channel: OpenChannel
    is_whole: Callable[[bytes], bool]
    harm_of: Callable[[bytes], Harm]
    permitted: Harm = Harm.NONE
    wait_s: float = 1.5
    byte_s: float = 0.0
    wire: Wire | None = None
    transcript: list[Said] = field(default_factory=list)
    _started_s: float = 0.0

    def begin(self) -> None:
        """A new check: what was said before belongs to another one."""
        self.transcript = []
        self._started_s = asyncio.get_running_loop().time()

    async def ask(self, *pieces: bytes, pause_s: float = 0.0) -> Reply:
        """What comes to the bytes, which are sent piece by piece with pauses between them.

        ControlForbidden, before anything is sent, for what the user did not permit; LineDown."""
        whole = b"".join(pieces)
        if self.harm_of(whole) > self.permitted:
            raise ControlForbidden(f"not permitted here, and not sent: {whole.hex(' ').upper()}")
        clock = asyncio.get_running_loop().time
        for number, piece in enumerate(pieces):
            if number:
                await asyncio.sleep(pause_s)
            self._say("tx", piece)
            await self.channel.send(piece)
        left_s = clock() + len(pieces[-1]) * self.byte_s
        return await self._listen(left_s)

    async def _listen(self, left_s: float) -> Reply:
        clock = asyncio.get_running_loop().time
        reply = Reply()
        until = left_s + self.wait_s
        last_s = left_s
        ends_by = until + LONGEST_ANSWER_S
        while True:
            try:
                async with asyncio.timeout_at(until):
                    piece = await self.channel.receive()
            except TimeoutError:
                return reply
            self._say("rx", piece)
            now = clock()
            if reply.data:
                reply.longest_gap_s = max(reply.longest_gap_s, now - last_s)
            else:
                reply.first_s = max(0.0, now - left_s)
            last_s = now
            reply.data += piece
            is_whole = self.is_whole(reply.data)
            until = min(now + (AFTER_ANSWER_S if is_whole else BYTE_GAP_S), ends_by)

    def _say(self, direction: str, data: bytes) -> None:
        at_s = asyncio.get_running_loop().time() - self._started_s
        self.transcript.append(Said(direction, at_s, data))
        if self.wire is not None:
            (shown,) = secret_free(self.transcript[-1:])
            words = shown.data.hex(" ").upper() or "(a password, not shown)"
            self.wire.info("wire", line="", direction=direction, bytes=words)


def harm_of_dlt645(data: bytes) -> Harm:
    """The worst that the frames in these bytes can do. Bytes that are no frame do nothing.

    ControlForbidden for functions that no check needs."""
    decoder = Decoder()
    found = decoder.feed(data) + decoder.flush()
    functions_sent = [item.function for item in found if not isinstance(item, Skipped)]
    return max(map(_of_function, functions_sent), default=Harm.NONE)


def harm_of_modbus(data: bytes) -> Harm:
    """Likewise. A write may move a relay: no location of it is standard."""
    worst = Harm.NONE
    for decoder in (modbus.rtu_requests(), modbus.tcp_requests()):
        for item in decoder.feed(data) + decoder.flush():
            if not isinstance(item, Skipped) and item.function in modbus_functions.WRITES:
                worst = Harm.SWITCHES
    return worst


def _of_function(function: int) -> Harm:
    if function in (functions.READ, functions.READ_FOLLOW, functions.READ_ADDRESS):
        return Harm.NONE
    if function in (functions.WRITE, functions.BROADCAST_TIME):
        return Harm.WRITES
    if function == functions.CONTROL:
        return Harm.SWITCHES
    raise ControlForbidden(f"no check sends function {function:02X}")


def need(holds: bool, what: str) -> None:
    """CheckFailed, with what the meter did, unless it holds."""
    if not holds:
        raise CheckFailed(what)


def hexed(data: bytes) -> str:
    """Bytes as protocol tools print them."""
    return data.hex(" ").upper() or "silence"


def secret_free(transcript: Sequence[Said]) -> list[Said]:
    """The transcript without the frames that carry a password, of which only the length is told."""
    shown = []
    for said in transcript:
        decoder = Decoder()
        frames = [item for item in decoder.feed(said.data) if not isinstance(item, Skipped)]
        has_password = any(
            not frame.is_response and frame.function in (functions.WRITE, functions.CONTROL)
            for frame in frames
        )
        shown.append(said._replace(data=b"") if has_password else said)
    return shown
