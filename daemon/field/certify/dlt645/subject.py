"""A DL/T 645-2007 meter on the bench, and what every check asks of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from daemon.field.certify.bench import Bench, CheckFailed, NotTested, Reply, hexed, need
from protocols.dlt645 import functions
from protocols.dlt645.bcd import (
    Registers,
    decode_registers,
    digits_of,
)
from protocols.dlt645.frame import (
    FE,
    WAKE_UP,
    Decoder,
    Frame,
    encode,
)
from protocols.dlt645.messages import decode_clock, identifier_on_the_wire
from protocols.dlt645.writing import Authority
from protocols.exchange import Skipped

ENERGY: Final = "00010000"
ENERGIES: Final = "0001FF00"
DATE: Final = "04000101"
TIME: Final = "04000102"
CLOCK_LIMIT: Final = timedelta(minutes=5)
NO_SUCH_DATA: Final = 0x02

WRAP_KWH: Final = Decimal(1_000_000)
"""Where a register of eight digits begins anew."""


@dataclass
class Subject:
    """The meter on the bench. `now`: what its clock should show; `authority`: None without a
    password; `takes_no_password`: it refused that one."""

    bench: Bench
    address: str
    now: Callable[[], datetime]
    authority: Authority | None = None
    takes_no_password: bool = False

    async def ask(self, frame: Frame, wake_up: bytes = WAKE_UP) -> Reply:
        """What comes to a frame."""
        return await self.bench.ask(wake_up + encode(frame))

    async def answer(self, frame: Frame) -> Frame:
        """The one good answer to a frame. CheckFailed."""
        reply = await self.ask(frame)
        return only_answer(reply, frame)

    async def read(self, identifier: str) -> Frame:
        """The answer to a read of the meter itself; a refusal is one."""
        return await self.answer(read_of(self.address, identifier))

    async def data(self, identifier: str) -> bytes:
        """What stands behind an identifier. NotTested where the meter has no such data."""
        answer = await self.read(identifier)
        if answer.is_abnormal:
            raise NotTested(f"{identifier} is refused with {hexed(answer.data)}")
        return answer.data[4:]


def is_whole(data: bytes) -> bool:
    """True for one whole frame behind its wake-up."""
    found = Decoder().feed(data)
    return any(not isinstance(item, Skipped) for item in found)


def is_of_several(data: bytes) -> bool:
    """True for what two meters that answer at once leave: a damaged frame, or more than one."""
    found = frames_in(data)
    return len(found) > 1 or any(isinstance(item, Skipped) for item in found)


def read_of(address: str, identifier: str) -> Frame:
    """The request that reads an identifier."""
    return Frame(address, functions.READ, identifier_on_the_wire(identifier))


def frames_in(data: bytes) -> list[Frame | Skipped]:
    """Frames, and what is none."""
    decoder = Decoder()
    return decoder.feed(data) + decoder.flush()


def only_answer(reply: Reply, request: Frame) -> Frame:
    """The only frame that came, an answer to the request."""
    need(bool(reply.data), "silence")
    found = frames_in(reply.data)
    need(len(found) == 1, f"not one answer but {hexed(reply.data)}")
    frame = found[0]
    if isinstance(frame, Skipped):
        raise CheckFailed(f"no good frame ({frame.reason}): {hexed(reply.data)}")
    need(frame.is_response, f"the control byte {frame.control:02X} says that it is no answer")
    need(
        frame.function == request.function,
        f"function {frame.function:02X} answers {request.function:02X}",
    )
    is_read = frame.function in (functions.READ, functions.READ_FOLLOW)
    if is_read and not frame.is_abnormal:
        need(
            frame.data[:4] == request.data[:4],
            f"identifier {digits_of(frame.data[:4])} answers {digits_of(request.data[:4])}",
        )
    return frame


def silent(reply: Reply) -> str:
    """CheckFailed for any answer."""
    need(not reply.data.strip(FE), f"it answered {hexed(reply.data)}")
    return "silence"


async def clock(meter: Subject) -> datetime:
    """What its clock shows. CheckFailed, NotTested, FrameError."""
    return (await dated_clock(meter))[1]


async def dated_clock(meter: Subject) -> tuple[bytes, datetime]:
    """The date as it was told, and with it what the clock shows; midnight between does no harm."""
    date = await meter.data(DATE)
    time = await meter.data(TIME)
    shown = decode_clock(meter.address, date, time)
    if shown.hour == 0:
        date = await meter.data(DATE)
        shown = decode_clock(meter.address, date, time)
    return date, shown


async def registers(meter: Subject, identifier: str) -> Registers:
    """A block of energies. CheckFailed, NotTested, FrameError."""
    return decode_registers(await meter.data(identifier))


def difference(newer: Decimal, older: Decimal) -> Decimal:
    """How far a register went on, over its end too: 0 up to WRAP_KWH."""
    used = newer - older
    return used if used >= 0 else used + WRAP_KWH
