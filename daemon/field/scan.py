"""Finds the meters of a line whose addresses are not known.

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

from daemon.field.language import DLT645_1997, DLT645_2007
from protocols.channels import Channel
from protocols.channels.conversation import Wire
from protocols.dlt645 import functions, functions_1997
from protocols.dlt645.frame import ANY_ADDRESS, BROADCAST, Decoder, Frame
from protocols.dlt645.messages import encode_request

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
ADDRESS_BYTES: Final = 6
WAKE_UP_BYTE: Final = b"\xfe"
"""A meter may send any number of them around its answer."""
LONGEST_ANSWER_S: Final = 3.0
"""267 bytes of 11 bits need 2.4 s at 1200 Bd; a line that babbles on is cut."""
HUNDRED: Final = range(100)


class Outcome(Enum):
    """What came to one question."""

    SILENCE = "silence"
    METER = "meter"
    COLLISION = "collision"
    NOISE = "noise"
    """Bytes that no question asked for; not the answer to one."""


@dataclass(frozen=True, slots=True)
class Step:
    """One question and what came.

    `pattern`: the address asked, A for any digit; `address`: of the one meter that answered."""

    protocol: str
    pattern: str
    outcome: Outcome
    address: str | None = None

    @property
    def is_parted(self) -> bool:
        """True when several answered, whom longer patterns tell apart."""
        return self.outcome is Outcome.COLLISION and "A" in self.pattern


@dataclass(frozen=True, slots=True)
class ScanTimeouts:
    """How long a scan listens.

    `answer_s`: after a question, in which a meter may begin to answer (20 to 500 ms by DL/T
    645-2007, and the time the question needs on the wire); `quiet_s`: silence that ends an
    answer; `tries`: how often an address is asked; `longest_s`: a line that never stops is left."""

    answer_s: float = 0.7
    quiet_s: float = 0.2
    tries: int = 1
    longest_s: float = LONGEST_ANSWER_S


async def scan(
    channel: Channel,
    timeouts: ScanTimeouts,
    *,
    line: str = "",
    wire: Wire | None = None,
) -> AsyncIterator[Step]:
    """Every question on an open channel and what came to it, and the noise that stopped it.

    When nothing at all answers in 2007, a meter of 1997 is looked for. LineDown when the carrier
    goes away."""
    talker = _Talker(channel, timeouts, line, wire)
    # Noise would be taken for a collision at every pattern: it is looked for before.
    if await talker.hears_noise():
        yield Step(DLT645_2007, ANY_ADDRESS, Outcome.NOISE)
        return
    is_silent = True
    async for step in _patterns(talker):
        is_silent = is_silent and step.outcome is Outcome.SILENCE
        yield step
    if is_silent:
        # 1997 knows no wildcard AA; its meters take 99..99 for themselves, all at once.
        request = Frame(BROADCAST, functions_1997.READ, METER_NUMBER_1997)
        outcome, address = await talker.ask(request, "")
        yield Step(DLT645_1997, BROADCAST, outcome, address)


async def _patterns(talker: _Talker) -> AsyncIterator[Step]:
    """All meters at once, then the hundred patterns below each that collided, depth first."""
    todo = [(ANY_ADDRESS, [ANY_ADDRESS])]
    while todo:
        parent, patterns = todo.pop()
        collided = []
        for pattern in patterns:
            step = await _ask_for_address(talker, pattern)
            yield step
            if step.is_parted:
                collided.append(pattern)
        # A bus carries some dozens of meters, not two for each of the hundred.
        if len(collided) == len(HUNDRED):
            yield Step(DLT645_2007, parent, Outcome.NOISE)
        else:
            todo += [(pattern, _one_longer(pattern)) for pattern in reversed(collided)]


def _one_longer(pattern: str) -> list[str]:
    """The hundred patterns with two digits more."""
    known = pattern.lstrip("A")
    return [f"{number:02d}{known}".rjust(DIGITS, "A") for number in HUNDRED]


async def _ask_for_address(talker: _Talker, pattern: str) -> Step:
    outcome, address = await talker.ask(Frame(pattern, functions.READ_ADDRESS), pattern)
    if address is not None and not await _is_alone(talker, pattern, address):
        outcome = Outcome.COLLISION
        address = None
    return Step(DLT645_2007, pattern, outcome, address)


async def _is_alone(talker: _Talker, pattern: str, address: str) -> bool:
    """True when one meter alone answers different questions to the pattern, and one to itself.

    A meter that obeys the pattern only when it is asked for its address is asked for that once
    more."""
    for identifier in PROOFS:
        outcome, who = await talker.ask(Frame(pattern, functions.READ, identifier), pattern)
        if outcome is Outcome.SILENCE:
            outcome, who = await talker.ask(Frame(pattern, functions.READ_ADDRESS), pattern)
        if outcome is not Outcome.METER or who not in (address, None):
            return False
    itself = await talker.ask(Frame(address, functions.READ, ENERGY), address)
    return itself == (Outcome.METER, address)


class _Talker:
    """Asks, and tells silence, one answer and many apart.

    A `Conversation` cannot: it knows one answer, and the rest as damage."""

    def __init__(
        self,
        channel: Channel,
        timeouts: ScanTimeouts,
        line: str,
        wire: Wire | None,
    ) -> None:
        self._channel = channel
        self._timeouts = timeouts
        self._line = line
        self._wire = wire

    async def ask(self, request: Frame, pattern: str) -> tuple[Outcome, str | None]:
        for _ in range(self._timeouts.tries):
            outcome, address = await self._ask_once(request, pattern)
            if outcome is not Outcome.SILENCE:
                return outcome, address
        return Outcome.SILENCE, None

    async def hears_noise(self) -> bool:
        """Whether anything comes though nobody was asked."""
        return bool((await self._receive()).strip(WAKE_UP_BYTE))

    async def _ask_once(self, request: Frame, pattern: str) -> tuple[Outcome, str | None]:
        sent = encode_request(request)
        self._trace("tx", sent)
        await self._channel.send(sent)
        data = await self._receive()
        # A half-duplex converter may echo what it sends.
        return judge(data.removeprefix(sent), request, pattern)

    async def _receive(self) -> bytes:
        """All that comes while a meter may begin to answer, and until it is quiet."""
        clock = asyncio.get_running_loop().time
        data = b""
        until = clock() + self._timeouts.answer_s
        ends_by = until + self._timeouts.longest_s
        while True:
            try:
                async with asyncio.timeout_at(until):
                    piece = await self._channel.receive()
            except TimeoutError:
                return data
            self._trace("rx", piece)
            data += piece
            # The window for the first byte stays open, however short the pieces are.
            until = min(max(until, clock() + self._timeouts.quiet_s), ends_by)

    def _trace(self, direction: str, data: bytes) -> None:
        if self._wire is not None:
            self._wire.info(
                "wire",
                line=self._line,
                direction=direction,
                bytes=data.hex(" ").upper(),
            )


def judge(data: bytes, request: Frame, pattern: str) -> tuple[Outcome, str | None]:
    """What the bytes that came to a question mean.

    Exactly one good answer, with FE around it at the most, is a meter; several answers, or
    anything that is no frame, is a collision. The address is None when the answer repeats the
    pattern in its place."""
    if not data.strip(WAKE_UP_BYTE):
        return Outcome.SILENCE, None
    frame = _only_frame(data)
    if frame is None or not frame.is_response or frame.function != request.function:
        return Outcome.COLLISION, None
    address = _address(frame)
    # Some meters answer a read from the pattern, not from their address as the standard has it.
    is_repeated = address == pattern and "A" in pattern
    if is_repeated and frame.function != functions.READ_ADDRESS:
        return Outcome.METER, None
    if _is_meters(address) and _fits(address, pattern):
        return Outcome.METER, address
    return Outcome.COLLISION, None


def _only_frame(data: bytes) -> Frame | None:
    """The frame that all of the bytes are; None when they are anything else."""
    decoder = Decoder()
    found = decoder.feed(data) + decoder.flush()
    if len(found) != 1:
        return None
    return found[0] if isinstance(found[0], Frame) else None


def _address(frame: Frame) -> str:
    """The meter's address: in the data of the answer to read address, in the head of any other."""
    if frame.function == functions.READ_ADDRESS and len(frame.data) == ADDRESS_BYTES:
        in_data = frame.data[::-1].hex()
        if in_data.isdigit():
            return in_data
    return frame.address


def _is_meters(address: str) -> bool:
    return address.isdigit() and address != BROADCAST


def _fits(address: str, pattern: str) -> bool:
    return all(asked in ("A", digit) for asked, digit in zip(pattern, address, strict=False))
