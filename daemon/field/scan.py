"""Finds the meters of a line whose addresses nobody wrote down.

DL/T 645-2007 answers to abbreviated addresses: low bytes real, high bytes AA. All meters that fit
answer at once; one answer is a meter, silence is none, anything else is a collision, and the next
higher byte is tried in all its hundred values. Voices that overlap may by chance give a frame that
is good, of a meter that is not there or with another one beneath it: so a meter counts when it says
its address to further questions, and to one that is for it alone. A 1997 meter has no such address;
the only one on a line answers a read to 99..99. A line that talks unasked, or collides in all
hundred values at once, has no such crowd of meters on it but noise: it is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from structlog.typing import FilteringBoundLogger

from protocols.channels import Channel
from protocols.dlt645 import functions, functions_1997
from protocols.dlt645.frame import ANY_ADDRESS, BROADCAST, Decoder, Frame
from protocols.dlt645.messages import encode_request

PROTOCOL_2007: Final = "dlt645-2007"
PROTOCOL_1997: Final = "dlt645-1997"
ENERGY: Final = bytes.fromhex("00000100")
PROOFS: Final = tuple(
    bytes.fromhex(identifier)[::-1]
    for identifier in (
        "00010000",
        "04000401",
        "02010100",
        "02800002",
        "04000102",
        "04000503",
        "04000409",
        "00020000",
    )
)
"""Whose voice covers another's in one answer, sum and all, hardly does in so many different ones.
Addresses that differ by 80H need it: the sum of the answer to read address has them twice and so is
the same."""
METER_NUMBER_1997: Final = bytes.fromhex("32C0")
DIGITS: Final = 12
LONGEST_ANSWER_S: Final = 3.0
"""267 bytes of 11 bits need 2.4 s at 1200 Bd; a line that babbles on is cut."""
HUNDRED: Final = range(100)


class Heard(Enum):
    """What came to one question."""

    SILENCE = "silence"
    METER = "meter"
    COLLISION = "collision"
    NOISE = "noise"
    """Bytes that no question asked for; not the answer to one."""


@dataclass(frozen=True, slots=True)
class Step:
    """One question and what came. `pattern`: the address asked, A for any digit; `address`: of the
    one meter that answered."""

    protocol: str
    pattern: str
    heard: Heard
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Patience:
    """`answer_s`: after a question in which a meter may begin to answer (500 ms by the standard,
    and the time the question needs on the wire); `quiet_s`: silence that ends an answer; `tries`:
    how often an address is asked."""

    answer_s: float = 0.7
    quiet_s: float = 0.2
    tries: int = 1


async def scan(
    channel: Channel,
    patience: Patience,
    *,
    line: str = "",
    wire: FilteringBoundLogger | None = None,
) -> AsyncIterator[Step]:
    """Every question on an open channel and what came to it, and the noise that stopped it;
    LineDown when the carrier goes away.

    When nothing at all answers in 2007, a meter of 1997 is looked for."""
    ear = _Ear(channel, patience, line, wire)
    if await ear.hears_noise():
        yield Step(PROTOCOL_2007, ANY_ADDRESS, Heard.NOISE)
        return
    todo = [(ANY_ADDRESS, [ANY_ADDRESS])]
    anybody = False
    while todo:
        parent, family = todo.pop()
        collided = []
        for pattern in family:
            heard, address = await ear.ask(Frame(pattern, functions.READ_ADDRESS), pattern)
            if address is not None and not await _is_alone(ear, pattern, address):
                heard, address = Heard.COLLISION, None
            yield Step(PROTOCOL_2007, pattern, heard, address)
            anybody = anybody or heard is not Heard.SILENCE
            if heard is Heard.COLLISION and "A" in pattern:
                collided.append(pattern)
        if len(collided) == len(HUNDRED):
            yield Step(PROTOCOL_2007, parent, Heard.NOISE)
        else:
            todo += [(pattern, _one_longer(pattern)) for pattern in reversed(collided)]
    if not anybody:
        heard, address = await ear.ask(Frame(BROADCAST, functions_1997.READ, METER_NUMBER_1997), "")
        yield Step(PROTOCOL_1997, BROADCAST, heard, address)


def _one_longer(pattern: str) -> list[str]:
    """The hundred patterns with two digits more."""
    known = pattern.lstrip("A")
    return [f"{number:02d}{known}".rjust(DIGITS, "A") for number in HUNDRED]


async def _is_alone(ear: _Ear, pattern: str, address: str) -> bool:
    """Different questions to the pattern are answered by that meter alone, and one to itself, too.
    A meter that obeys the pattern only when it is asked for its address is asked for that once
    more."""
    for identifier in PROOFS:
        heard, who = await ear.ask(Frame(pattern, functions.READ, identifier), pattern)
        if heard is Heard.SILENCE:
            heard, who = await ear.ask(Frame(pattern, functions.READ_ADDRESS), pattern)
        if heard is not Heard.METER or who not in (address, None):
            return False
    return await ear.ask(Frame(address, functions.READ, ENERGY), address) == (Heard.METER, address)


class _Ear:
    """Asks and tells silence, one answer and many apart."""

    def __init__(
        self,
        channel: Channel,
        patience: Patience,
        line: str,
        wire: FilteringBoundLogger | None,
    ) -> None:
        self._channel, self._patience, self._line, self._wire = channel, patience, line, wire

    async def ask(self, request: Frame, pattern: str) -> tuple[Heard, str | None]:
        for _ in range(self._patience.tries):
            heard, address = await self._ask_once(request, pattern)
            if heard is not Heard.SILENCE:
                return heard, address
        return Heard.SILENCE, None

    async def hears_noise(self) -> bool:
        """Whether anything comes though nobody was asked."""
        return bool((await self._listen()).strip(b"\xfe"))

    async def _ask_once(self, request: Frame, pattern: str) -> tuple[Heard, str | None]:
        sent = encode_request(request)
        self._trace("tx", sent)
        await self._channel.send(sent)
        data = await self._listen()
        if data.startswith(sent):
            data = data[len(sent) :]  # the echo of a half-duplex converter
        return judge(data, request, pattern)

    async def _listen(self) -> bytes:
        """All that comes while a meter may begin to answer, and until it is quiet."""
        clock = asyncio.get_running_loop().time
        data = b""
        until = clock() + self._patience.answer_s
        ends_by = until + LONGEST_ANSWER_S
        while True:
            try:
                async with asyncio.timeout_at(until):
                    piece = await self._channel.receive()
            except TimeoutError:
                return data
            self._trace("rx", piece)
            data += piece
            until = min(max(until, clock() + self._patience.quiet_s), ends_by)

    def _trace(self, direction: str, data: bytes) -> None:
        if self._wire is not None:
            self._wire.info(
                "wire",
                line=self._line,
                direction=direction,
                bytes=data.hex(" ").upper(),
            )


def judge(data: bytes, request: Frame, pattern: str) -> tuple[Heard, str | None]:
    """What the bytes that came to a question mean. Exactly one good answer, with FE around it at
    the most, is a meter; several answers, or anything that is no frame, is a collision. The address
    is None when the answer repeats the pattern in its place."""
    if not data.strip(b"\xfe"):
        return Heard.SILENCE, None
    decoder = Decoder()
    found = decoder.feed(data) + decoder.flush()
    frames = [item for item in found if isinstance(item, Frame)]
    if len(found) != 1 or len(frames) != 1:
        return Heard.COLLISION, None
    (frame,) = frames
    if not frame.is_response or frame.function != request.function:
        return Heard.COLLISION, None
    told = (
        frame.data[::-1].hex()
        if frame.function == functions.READ_ADDRESS and len(frame.data) == 6
        else ""
    )
    address = told if told.isdigit() else frame.address
    if address == pattern and "A" in pattern and frame.function != functions.READ_ADDRESS:
        return Heard.METER, None
    is_asked = all(a in ("A", b) for a, b in zip(pattern, address, strict=False))
    if not is_asked or not address.isdigit() or address == BROADCAST:
        return Heard.COLLISION, None
    return Heard.METER, address
