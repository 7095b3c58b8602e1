"""What the masters of a line do wrong, found while they are answered.

No I/O and no clock: times are handed in, as seconds that only grow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from protocols.dlt645 import functions
from protocols.dlt645.bcd import decode_time
from protocols.dlt645.frame import BROADCAST, Frame, raw
from protocols.errors import FrameError
from protocols.exchange import Skipped
from protocols.modbus import frame as modbus
from simulators.dlt645.meter import SimulatedMeter
from simulators.dlt645.meter_2007 import SimulatedMeter2007

ANSWER_LIMIT_S: Final = 0.5
"""DL/T 645-2007: a meter begins its answer within 500 ms."""
QUIET_CHARACTERS: Final = 3.5
"""Modbus over serial line: so many characters part two frames; on a bus of meters it serves too."""
TOGETHER_S: Final = 5.0
"""Two masters that speak within this time share the line at the same time."""
KEPT_BYTES: Final = 64
"""Of an example."""
_ANY: Final = "A"
_UNAUTHORISED: Final = 0x04
_DAILY: Final = b"\x05\x06"
"""DI3 and DI2 of the daily freezes."""
_STAMP: Final = 0x00
_BLOCK: Final = 0xFF
"""DI1: a block holds the stamp too."""
_OF_STRETCHES: Final = {
    "noise": "noise",
    "bad_checksum": "wrong_checksum",
    "bad_length": "wrong_length",
    "bad_end": "wrong_length",
    "truncated": "broken_off",
}
_EXPIRY: Final = slice(10, 16)
_LENGTHS: Final = {
    functions.READ_ADDRESS: (0,),
    functions.BROADCAST_TIME: (6,),
    functions.WRITE_ADDRESS: (6,),
    functions.FREEZE: (4,),
    functions.CHANGE_BAUD: (1,),
    functions.CHANGE_PASSWORD: (12,),
    functions.READ_FOLLOW: (5,),
    functions.READ: (4, 5, 10),
}
"""L of the requests of DL/T 645-2007 that have a fixed one."""

ADVICE: Final = {
    "noise": "bytes that are no frame: look at speed, parity and echo",
    "wrong_speed": "the port listens and talks at another speed than the line: open it at this one",
    "wrong_checksum": "CS is the sum of all bytes from the first 68 to the last data byte; a CRC "
    "goes low byte first",
    "wrong_length": "L is the number of data bytes, and 16 stands behind CS",
    "broken_off": "the frame never came to its end: L says more than was sent, or its bytes paused "
    "for over 500 ms",
    "unknown_control": "a meter is silent to a control code that it does not know",
    "sent_an_answer": "bit 7 of the control code is the meter's: a request has it clear",
    "wrong_data_length": "this control code carries another number of data bytes",
    "no_such_meter": "nobody on this line has this address: low byte goes first",
    "broadcast_misused": "99..99 is for time and freeze alone, A for reads and the address",
    "not_awaited": "wait for the answer, or 500 ms and the length of an answer, before the next",
    "gap_too_short": "leave 3.5 characters between an answer and the next request",
    "two_masters": "one line has one talker: let the programs share one that asks for all",
    "wrong_password": "level, password and their order (PA P0 P1 P2, low byte first)",
    "expired_control": "the expiry of a command is judged by the meter's clock: read it first",
    "index_for_a_day": "a meter without power at midnight freezes nothing, so numbers shift: read "
    "the stamp 050600NN with the energies",
}
"""What is wrong, and what its author has to do."""


class Mistake(NamedTuple):
    """Something that a master did. `kind` is one of ADVICE; `example`: bytes in hexadecimal."""

    kind: str
    detail: str
    example: str


@dataclass(slots=True)
class _Waiting:
    """The answer that is under way."""

    master: object
    request_ends_s: float
    answer_ends_s: float


@dataclass(slots=True)
class MasterWatch:
    """Looks at the masters of one line; `tell` hears of each mistake when it is found.

    `character_s`: of the line, 0 where it has no speed: then nobody can speak too soon after an
    answer. A master is any object that stays the same."""

    tell: Callable[[Mistake], None]
    character_s: float = 0.0
    _speaks: object = None
    """The master of the newest request."""
    _waiting: _Waiting | None = None
    _last: tuple[object, float] | None = None
    _stamps: set[tuple[object, str, int]] = field(default_factory=set)
    """Freezes whose stamp a master has read: (master, address, number)."""
    _untold: dict[object, tuple[str, int, Mistake]] = field(default_factory=dict)
    """By master, a freeze that it took for a day and whose stamp it may still ask for."""

    def skipped(self, stretch: Skipped) -> None:
        """Bytes that are no frame."""
        self._note(_OF_STRETCHES[stretch.reason], f"{len(stretch.data)} bytes", stretch.data)

    def wrong_speed(self, baud: int, line_baud: int) -> None:
        """The port of the master has another speed than the line."""
        self._note("wrong_speed", f"{baud} Bd, the line has {line_baud} Bd", b"")

    def gone(self, master: object) -> None:
        """It hung up: whoever comes after it is no second one."""
        self.finish(master)
        self._stamps = {stamp for stamp in self._stamps if stamp[0] is not master}
        if self._last is not None and self._last[0] is master:
            self._last = None

    def request(self, master: object, frame: Frame | modbus.Frame, begins_s: float) -> None:
        """A request that was understood, before it is answered."""
        example = _bytes_of(frame)
        if self._last is not None and self._last[0] is not master:
            apart_s = begins_s - self._last[1]
            if apart_s < TOGETHER_S:
                self._note("two_masters", f"{apart_s:.3f} s after another's request", example)
        elif self._waiting is not None and self._waiting.master is master:
            self._judge_pause(begins_s, example)
        self._speaks = master
        self._last = (master, begins_s)
        self._waiting = None
        if isinstance(frame, Frame):
            self._drop_if_asked(master, frame)
            for kind, detail in request_mistakes(frame):
                self._note(kind, detail, example)

    def exchange(self, meter: SimulatedMeter | None, request: Frame, answer: Frame | None) -> None:
        """What a meter makes of the newest request; None where nobody has its address."""
        example = raw(request)
        if meter is None:
            self._note("no_such_meter", request.address, example)
            return
        for kind, detail in exchange_mistakes(meter, request, answer):
            self._note(kind, detail, example)
        if isinstance(meter, SimulatedMeter2007):
            self._look_at_index(self._speaks, meter, request, example)

    def answer_under_way(self, request_ended_s: float, answer_ends_s: float) -> None:
        """Of the newest request."""
        self._waiting = _Waiting(self._speaks, request_ended_s, answer_ends_s)

    def finish(self, master: object | None = None) -> None:
        """Tell what was still waited with: of one master, or of all."""
        for it in [master] if master is not None else list(self._untold):
            waiting = self._untold.pop(it, None)
            if waiting is not None:
                self.tell(waiting[2])

    def _judge_pause(self, begins_s: float, example: bytes) -> None:
        waiting = self._waiting
        assert waiting is not None
        if begins_s < waiting.answer_ends_s:
            if begins_s - waiting.request_ends_s < ANSWER_LIMIT_S:
                waited_ms = (begins_s - waiting.request_ends_s) * 1000
                self._note("not_awaited", f"{waited_ms:.0f} ms after its request", example)
        elif begins_s - waiting.answer_ends_s < QUIET_CHARACTERS * self.character_s:
            gap_ms = (begins_s - waiting.answer_ends_s) * 1000
            self._note("gap_too_short", f"{gap_ms:.1f} ms after the answer", example)

    def _look_at_index(
        self,
        master: object,
        meter: SimulatedMeter2007,
        request: Frame,
        example: bytes,
    ) -> None:
        """A daily freeze whose number is not its day, and whose stamp the master never read."""
        freeze = _daily_freeze(request)
        if freeze is None:
            return
        part, number = freeze
        key = (master, meter.address, number)
        if part in (_STAMP, _BLOCK):
            self._stamps.add(key)
            return
        if key in self._stamps:
            return
        at = meter.state.now()
        stamps = [it.stamp for it in meter.state.daily_freezes(at)]
        if not 0 < number <= len(stamps):
            return
        by_number = meter.state.clock.shows(at).date() - timedelta(days=number - 1)
        stamp = stamps[number - 1].date()
        if stamp != by_number:
            detail = f"{meter.address}: freeze {number} is of {stamp}, not of {by_number}"
            mistake = Mistake("index_for_a_day", detail, _hex(example))
            self._untold[master] = (meter.address, number, mistake)

    def _drop_if_asked(self, master: object, request: Frame) -> None:
        """The stamp may come behind the energies; whatever else comes means that it does not."""
        waiting = self._untold.get(master)
        if waiting is None:
            return
        freeze = _daily_freeze(request)
        is_of_it = freeze is not None and (request.address, freeze[1]) == waiting[:2]
        if is_of_it and freeze is not None and freeze[0] not in (_STAMP, _BLOCK):
            return  # another part of the same freeze
        del self._untold[master]
        if not is_of_it:
            self.tell(waiting[2])

    def _note(self, kind: str, detail: str, example: bytes) -> None:
        self.tell(Mistake(kind, detail, _hex(example)))


def request_mistakes(request: Frame) -> Iterator[tuple[str, str]]:
    """(kind, detail) of what is wrong with a request by itself, in DL/T 645-2007 or 1997."""
    if request.is_response:
        yield "sent_an_answer", f"control {request.control:02X} from a master"
        return
    function = request.function
    if request.control != function or function not in _KNOWN:
        yield "unknown_control", f"control {request.control:02X}"
        return
    lengths = _LENGTHS.get(function)
    if lengths is not None and len(request.data) not in lengths:
        wanted = " or ".join(map(str, lengths))
        yield "wrong_data_length", f"{len(request.data)} bytes with {function:02X}, not {wanted}"
    if request.address == BROADCAST:
        if function not in (functions.BROADCAST_TIME, functions.FREEZE, *_OF_1997):
            yield "broadcast_misused", f"{function:02X} to all"
    elif _ANY in request.address and function not in _WILDCARD:
        yield "broadcast_misused", f"{function:02X} to {request.address}"


def exchange_mistakes(
    meter: SimulatedMeter, request: Frame, answer: Frame | None
) -> Iterator[tuple[str, str]]:
    """What the answer of the meter shows of its request."""
    if answer is None or not answer.is_abnormal:
        return
    is_refused = len(answer.data) == 1 and answer.data[0] & _UNAUTHORISED
    if is_refused and meter.access.security is None:
        yield "wrong_password", f"{meter.address} refused {request.function:02X}"
    if request.function == functions.CONTROL and len(request.data) >= _EXPIRY.stop:
        expiry = _time(request.data[_EXPIRY])
        shown = meter.state.clock.shows(meter.state.now())
        if expiry is not None and expiry < shown:
            yield "expired_control", f"{meter.address} shows {shown:%Y-%m-%d %H:%M:%S}, {expiry}"


_OF_1997: Final = (0x01, 0x02, 0x04, 0x0A, 0x0C, 0x0F, 0x10)
"""Control codes of DL/T 645-1997 that the later version has no longer."""
_KNOWN: Final = frozenset((*functions.FUNCTION_NAMES, *_OF_1997)) - {0}
_WILDCARD: Final = (
    functions.READ,
    functions.READ_FOLLOW,
    functions.READ_ADDRESS,
    functions.WRITE_ADDRESS,
    *_OF_1997,
)


def _daily_freeze(request: Frame) -> tuple[int, int] | None:
    """(DI1, number) of a read of 0506."""
    if request.function != functions.READ or len(request.data) != 4:
        return None
    identifier = request.data[::-1]
    if identifier[:2] != _DAILY:
        return None
    return identifier[2], identifier[3]


def _time(data: bytes) -> datetime | None:
    try:
        return decode_time(data, "ss mm hh DD MM YY")
    except FrameError:
        return None


def _bytes_of(frame: Frame | modbus.Frame) -> bytes:
    if isinstance(frame, Frame):
        return raw(frame)
    return modbus.encode_rtu(frame)


def _hex(data: bytes) -> str:
    return data[:KEPT_BYTES].hex(" ").upper()
