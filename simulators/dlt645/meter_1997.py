"""A simulated DL/T 645-1997 meter: the state of any other, asked and answered in the older
version."""

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
from simulators.dlt645 import answers
from simulators.state.meter import SimulatedMeter, is_address

ILLEGAL_DATA: Final = 0x01
WRONG_PASSWORD: Final = 0x04
_READS: Final = frozenset((functions.READ, functions.READ_FOLLOW, functions.READ_AGAIN))
_ASKED_OF_ALL: Final = _READS | {functions.BROADCAST_TIME, functions.WRITE_ADDRESS}
"""What a meter hears that is sent to 99..99."""
_KEYED: Final = frozenset((functions.WRITE_ADDRESS, functions.CHANGE_BAUD, functions.CLEAR_DEMAND))
"""Need the programming key."""
_ALL: Final = 0xF
DEVICE_CODE: Final = "C034"
_FIXED: Final = {
    "C021": b"\x00",
    "C114": b"\x05",
    "C118": b"\x01",
}
_PHASE_BREAKS: Final = {
    "B31": bytes(2),
    "B32": bytes(3),
    "B33": bytes(4),
    "B34": bytes(4),
}
"""No phase ever broke."""
_TIMES_OF_RECORDS: Final = {"B210": "03300001", "B211": "03300201"}
"""The last programming and the last demand clear, whose records of 2007 begin with their
seconds."""
_TABLES: Final = {
    "C32": "04010000",
    **{f"C3{2 + number:X}": f"040100{number:02X}" for number in range(1, 9)},
}
"""Time zones and day tables, three bytes each entry."""


class SimulatedMeter1997(SimulatedMeter):
    """Knows no freezes, no wildcard AA and no relay command; answers reads to 99..99 as most do. A
    block ends with AA, as the captured ones do."""

    _last_answer: Frame | None = None

    def answer(self, request: Frame) -> Frame | None:
        """The answer, None for silence: not for this meter, a broadcast, or a function of another
        version."""
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
            case functions.CHANGE_PASSWORD:
                reply = self._change_password_1997(request)
            case keyed if keyed in _KEYED:
                reply = self._keyed_1997(request, at)
            case _:
                return None
        self._last_answer = reply
        return reply

    def _is_asked_1997(self, request: Frame) -> bool:
        if request.address == self.address:
            return True
        return request.address == BROADCAST and request.function in _ASKED_OF_ALL

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
            elif (in_2007 := to_2007(identifier)) and self._has_width(identifier, in_2007, value):
                if not self.parameters.write(in_2007, value, at):
                    return self._refuse(request, functions.NO_SUCH_DATA)
                self._record_programming(at, bytes(4), bytes.fromhex(in_2007)[::-1])
                return self._reply(request)
            else:
                return self._refuse(request, functions.NO_SUCH_DATA)
        except FrameError:
            to = None
        if to is None:
            return self._refuse(request, ILLEGAL_DATA)
        self._set_clock(at, to, how="write")
        return self._reply(request)

    @staticmethod
    def _has_width(identifier: str, in_2007: str, value: bytes) -> bool:
        """A parameter that is as wide in both versions can be written as it is."""
        widths = [known.record.width for known in map(meaning, (identifier, in_2007)) if known]
        return widths == [len(value)] * 2

    def _change_password_1997(self, request: Frame) -> Frame:
        """The old and the new level and password."""
        old, new = request.data[:4], request.data[4:]
        if len(new) != 4 or not self._is_authorised(old):
            return self._refuse(request, WRONG_PASSWORD)
        self.level, self.password = new[:1].hex(), new[:0:-1].hex()
        return self._reply(request)

    def _keyed_1997(self, request: Frame, at: datetime) -> Frame:
        if not self.programming_key:
            return self._refuse(request, WRONG_PASSWORD)
        if request.function == functions.CLEAR_DEMAND:
            self._clear_demand(at, bytes(4))
        elif request.function == functions.WRITE_ADDRESS:
            if not is_address(request.data):
                return self._refuse(request, ILLEGAL_DATA)
            self.address = request.data[::-1].hex()
        return self._reply(request)


def read(meter: SimulatedMeter, identifier: str, at: datetime) -> bytes | None:
    """The data behind DI1 DI0, from what the meter has behind the same quantity of 2007; None for
    *no such data*."""
    known = meaning(identifier)
    if known is None:
        return None
    (field,) = known.record.fields
    in_2007 = to_2007(identifier)
    if in_2007 is None:
        data = _part_of_2007(meter, identifier, at)
        return data if data is None or known.repeats else data[: field.width]
    data = answers.read(meter, bytes.fromhex(in_2007), at)
    as_2007 = meaning(in_2007)
    if data is None or as_2007 is None:
        return None
    width = as_2007.record.width
    first, source = _field_like(field, as_2007.record.fields)
    starts = range(first, len(data), width)
    converted = b"".join(
        _convert(data[start : start + source.width], source, field) for start in starts
    )
    return converted + bytes((SEPARATOR,)) if known.repeats else converted


def _field_like(field: Field, fields: tuple[Field, ...]) -> tuple[int, Field]:
    """Where in a record of 2007 the value stands: a demand and its time are one record there and
    two here."""
    first = 0
    for source in fields:
        if source.kind is field.kind:
            return first, source
        first += source.width
    return 0, fields[0]


def _part_of_2007(meter: SimulatedMeter, identifier: str, at: datetime) -> bytes | None:
    """What is a part of a longer record in 2007, or fixed in this meter; F in place of the last
    digit is all of it."""
    if identifier in _FIXED:
        return _FIXED[identifier]
    if identifier == DEVICE_CODE:
        return answers.read(meter, bytes.fromhex("04000402"), at)
    if identifier[:3] in _PHASE_BREAKS:
        return _PHASE_BREAKS[identifier[:3]] * (4 if identifier[3] == "F" else 1)
    if identifier in _TIMES_OF_RECORDS:
        data = answers.read(meter, bytes.fromhex(_TIMES_OF_RECORDS[identifier]), at)
        return data and data[1:]
    table, entry = _TABLES.get(identifier[:3]), int(identifier[3], 16)
    data = meter.parameters.read(table) if table else None
    if data is None:
        return None
    return data if entry == _ALL else data[3 * entry - 3 : 3 * entry] or None


def _convert(part: bytes, source: Field, field: Field) -> bytes:
    """A value in the width and decimals of 1997, cut off as a display does."""
    if field.kind is not Kind.NUMBER:
        return part[: field.width]
    if is_missing(part):
        return part[:1] * field.width
    number = decode_bcd(part, source.decimals, signed=source.signed)
    cut = Decimal(int(abs(number).scaleb(field.decimals))).scaleb(-field.decimals)
    return encode_bcd(cut % 10 ** (2 * field.width - field.decimals), field.width, field.decimals)
