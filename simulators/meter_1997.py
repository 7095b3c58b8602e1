"""A simulated DL/T 645-1997 meter: the state of any other, asked and answered in the older version."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Final

from protocols.dlt645 import functions_1997 as functions
from protocols.dlt645.bcd import decode_bcd, decode_time, encode_bcd, is_missing
from protocols.dlt645.frame import BROADCAST, Frame
from protocols.dlt645.identifiers import Field, Kind, meaning, to_2007
from protocols.dlt645.values import SEPARATOR
from protocols.errors import FrameError
from simulators import answers
from simulators.meter import SimulatedMeter

ILLEGAL_DATA: Final = 0x01
WRONG_PASSWORD: Final = 0x04
_READS: Final = frozenset((functions.READ, functions.READ_FOLLOW, functions.READ_AGAIN))
_KEYED: Final = frozenset(
    (functions.WRITE_ADDRESS, functions.CHANGE_BAUD, functions.CHANGE_PASSWORD, functions.CLEAR_DEMAND)
)


class SimulatedMeter1997(SimulatedMeter):
    """Knows no freezes, no wildcard AA and no relay command; answers reads to 99..99 as most do. A block ends with AA,
    as the captured ones do."""

    _last_answer: Frame | None = None

    def answer(self, request: Frame) -> Frame | None:
        """The answer, None for silence: not for this meter, a broadcast, or a function of another version."""
        if request.is_response or not self._is_asked_1997(request):
            return None
        self.settle()
        at = self.now()
        match request.function:
            case functions.READ:
                reply = self._read_1997(request, at)
            case functions.READ_FOLLOW:
                reply = self._follow_1997(request)
            case functions.READ_AGAIN:
                reply = self._again(request)
            case functions.WRITE:
                reply = self._write_1997(request, at)
            case functions.BROADCAST_TIME:
                self._take_broadcast_time(request.data, at)
                return None
            case keyed if keyed in _KEYED:
                return self._refuse(request, WRONG_PASSWORD)
            case _:
                return None
        self._last_answer = reply
        return reply

    def _is_asked_1997(self, request: Frame) -> bool:
        if request.address == self.address:
            return True
        return request.address == BROADCAST and request.function in _READS | {functions.BROADCAST_TIME}

    def _read_1997(self, request: Frame, at: datetime) -> Frame:
        """Asked for several identifiers at once, it answers the first."""
        identifier = request.data[:2]
        data = read(self, identifier[::-1].hex().upper(), at) if len(identifier) == 2 else None
        if data is None:
            return self._refuse(request, functions.NO_SUCH_DATA)
        size = self.frame_limit - 2
        self._follow_ups = identifier, [data[i : i + size] for i in range(size, len(data), size)]
        return self._reply(request, identifier + data[:size], has_more=len(data) > size)

    def _follow_1997(self, request: Frame) -> Frame:
        """The next part of the block that was read last; nothing numbers it."""
        identifier, parts = self._follow_ups
        if request.data != identifier or not parts:
            return self._refuse(request, functions.NO_SUCH_DATA)
        return self._reply(request, identifier + parts.pop(0), has_more=bool(parts))

    def _again(self, request: Frame) -> Frame:
        last = self._last_answer
        if last is None or last.is_abnormal or last.data[:2] != request.data:
            return self._refuse(request, functions.NO_SUCH_DATA)
        return self._reply(request, last.data, has_more=last.has_more)

    def _write_1997(self, request: Frame, at: datetime) -> Frame:
        identifier, value = request.data[:2][::-1].hex().upper(), request.data[6:]
        if not self._is_authorised(request.data[2:6]):
            return self._refuse(request, WRONG_PASSWORD)
        shown = self.clock.shows(at)
        try:
            if identifier == "C010":
                written = decode_time(value, "WW DD MM YY")
                to = written and datetime.combine(written, shown.time())
            elif identifier == "C011":
                written = decode_time(value + b"\x01\x01\x01", "ss mm hh DD MM YY")
                to = written and datetime.combine(shown, written.time())
            else:
                return self._refuse(request, functions.NO_SUCH_DATA)
        except FrameError:
            to = None
        if to is None:
            return self._refuse(request, ILLEGAL_DATA)
        self._set_clock(at, to, how="write")
        return self._reply(request)


def read(meter: SimulatedMeter, identifier: str, at: datetime) -> bytes | None:
    """The data behind DI1 DI0, from what the meter has behind the same quantity of 2007; None for *no such data*."""
    known, in_2007 = meaning(identifier), to_2007(identifier)
    if known is None or in_2007 is None:
        return None
    data = answers.read(meter, bytes.fromhex(in_2007), at)
    as_2007 = meaning(in_2007)
    if data is None or as_2007 is None:
        return None
    (field,), (source,) = known.record.fields, as_2007.record.fields[:1]
    width = source.width
    parts = [data[start : start + width] for start in range(0, len(data), width)]
    converted = b"".join(_convert(part, source, field) for part in parts)
    return converted + bytes((SEPARATOR,)) if known.repeats else converted


def _convert(part: bytes, source: Field, field: Field) -> bytes:
    """A value in the width and decimals of 1997, cut off as a display does."""
    if field.kind is not Kind.NUMBER:
        return part[: field.width]
    if is_missing(part):
        return part[:1] * field.width
    number = decode_bcd(part, source.decimals, signed=source.signed)
    cut = Decimal(int(abs(number).scaleb(field.decimals))).scaleb(-field.decimals)
    return encode_bcd(cut % 10 ** (2 * field.width - field.decimals), field.width, field.decimals)
