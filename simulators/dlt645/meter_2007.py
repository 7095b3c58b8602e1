"""A simulated DL/T 645-2007 meter: the answer to each frame, from its state."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from protocols.dlt645 import functions
from protocols.dlt645.bcd import decode_time, encode_bcd
from protocols.dlt645.frame import BROADCAST, Frame
from protocols.errors import FrameError
from simulators.dlt645 import answers, event_records, load_records
from simulators.dlt645.clock_writing import with_date, with_date_and_time, with_time
from simulators.dlt645.freezes import FREEZE_NOW, INSTANT, KEPT, PATTERN, can_be_scheduled
from simulators.dlt645.meter import SimulatedMeter, is_address, parts_of
from simulators.dlt645.security import HEAD_WIDTH, OTHER_ERROR
from simulators.state.meter import NO_OPERATOR
from simulators.state.relay import Relay, RelayRefused

# DL/T 645-2007, error word: bits 0, 2 and 3.
_OTHER_ERROR: Final = 0x01
_UNAUTHORISED: Final = 0x04
_BAUD_CANNOT_CHANGE: Final = 0x08
_BAUD_WORDS: Final = (b"\x02", b"\x04", b"\x08", b"\x10", b"\x20", b"\x40")
"""600 to 19200 Bd, one bit each."""
_BAUD_WORD: Final = "04000703"
"""Of the first communication port."""
_CLOCK_PARAMETERS: Final = {
    "04000101": with_date,
    "04000102": with_time,
    "0400010C": with_date_and_time,
}
_CONTROL_WIDTH: Final = 8
"""N1, N2 and the expiry."""
_DURATION_UNIT: Final = timedelta(minutes=5)
# DL/T 645-2007: AA is a wildcard for reads, 99 reaches all with commands 08 and 16 alone.
_WILDCARD_FUNCTIONS: Final = frozenset(
    (
        functions.READ,
        functions.READ_FOLLOW,
        functions.READ_ADDRESS,
        functions.WRITE_ADDRESS,
    )
)
_BROADCAST_FUNCTIONS: Final = (functions.BROADCAST_TIME, functions.FREEZE)
_ANY: Final = "A"
_IDENTIFIER_WIDTH: Final = 4
_SEQUENCE_WIDTH: Final = 1

# N1 of the control command, DL/T 645-2007 control code 1C.
_TRIP: Final = 0x1A
_ALLOW_CLOSE: Final = 0x1B
_CLOSE: Final = 0x1C
_TRIP_THEN_ALLOW_CLOSE: Final = 0x1D
_TRIP_THEN_CLOSE: Final = 0x1E
_ALARM: Final = 0x2A
_ALARM_OFF: Final = 0x2B
_KEEP_POWER: Final = 0x3A
_KEEP_POWER_OFF: Final = 0x3B


class SimulatedMeter2007(SimulatedMeter):
    """A meter that knows the wildcard and obeys the relay commands.

    It answers reads and takes new addresses with A in place of any digit, and takes time and
    freezes that are broadcast."""

    _block_read: bytes = b""
    """Identifier of the block that was read last."""
    _follow_ups: tuple[bytes, ...] = ()
    """Its other parts."""

    def answer(self, request: Frame) -> Frame | None:
        """The answer, None for silence.

        It is silent for another meter, a broadcast, and a function that it does not know."""
        if request.is_response or not self._is_asked(request):
            return None
        # What was due happens first: the answer must not tell of a relay before its movement.
        at = self.state.settle()
        handler = self._HANDLERS.get(request.function)
        if handler is None:
            return None
        reply = handler(self, request, at)
        # Several meters would answer a broadcast at once, so none does.
        return None if request.address == BROADCAST else reply

    def _is_asked(self, request: Frame) -> bool:
        """True for its own address, and where another one may mean it.

        99..99 for time and freeze; A in place of any digit, for reads and a new address only."""
        if request.address == self.address:
            return True
        if request.address == BROADCAST:
            return request.function in _BROADCAST_FUNCTIONS
        if request.function not in _WILDCARD_FUNCTIONS:
            return False
        digits = zip(request.address, self.address, strict=True)
        return all(asked in (_ANY, digit) for asked, digit in digits)

    def _read(self, request: Frame, at: datetime) -> Frame:
        identifier = request.data[:_IDENTIFIER_WIDTH]
        data = self._data_behind(
            identifier,
            request.data[_IDENTIFIER_WIDTH:],
            at,
        )
        if data is None:
            return self._refuse(request, functions.NO_SUCH_DATA)
        first = data[: self.frame_limit - _IDENTIFIER_WIDTH]
        rest = data[len(first) :]
        size = self.frame_limit - _IDENTIFIER_WIDTH - _SEQUENCE_WIDTH
        self._block_read = identifier
        self._follow_ups = parts_of(rest, size)
        return self._reply(
            request,
            identifier + first,
            has_more=bool(rest),
        )

    def _data_behind(
        self,
        identifier: bytes,
        which: bytes,
        at: datetime,
    ) -> bytes | None:
        """`which`: what a read of load records carries besides."""
        refused = self.state.spec.refused
        if refused and _name(identifier) in refused:
            return None
        is_load_record = identifier[3:] == bytes((load_records.FAMILY,))
        if which or is_load_record:
            return load_records.read(
                self.state,
                identifier[::-1],
                which,
                at,
            )
        return answers.read(
            self.state,
            self.access,
            identifier[::-1],
            at,
        )

    def _read_follow(self, request: Frame, at: datetime) -> Frame:
        """DI + SEQ: the part with that number of the block that was read last.

        It may be asked for again."""
        identifier = request.data[:_IDENTIFIER_WIDTH]
        sequence = request.data[_IDENTIFIER_WIDTH:]
        number = sequence[0] if len(sequence) == _SEQUENCE_WIDTH else 0
        if identifier != self._block_read or not 0 < number <= len(self._follow_ups):
            return self._refuse(request, functions.NO_SUCH_DATA)
        # DL/T 645-2007, read follow-up: SEQ is the last byte of the answer.
        data = identifier + self._follow_ups[number - 1] + sequence
        return self._reply(
            request,
            data,
            has_more=number < len(self._follow_ups),
        )

    def _read_address(self, request: Frame, at: datetime) -> Frame:
        return self._reply(request, encode_bcd(int(self.address), 6))

    def _write(self, request: Frame, at: datetime) -> Frame:
        """DI, authority, data."""
        value = self.access.authorised(request.data[_IDENTIFIER_WIDTH:])
        if value is None:
            return self._refuse(request, _UNAUTHORISED)
        identifier = _name(request.data[:_IDENTIFIER_WIDTH])
        if identifier in _CLOCK_PARAMETERS:
            return self._write_clock(request, identifier, value, at)
        try:
            is_written = self.state.parameters.write(identifier, value, at)
        except FrameError:
            return self._refuse(request, _OTHER_ERROR)
        if not is_written:
            return self._refuse(request, functions.NO_SUCH_DATA)
        event_records.record_programming(
            self.state,
            at,
            operator=_operator(request.data[_IDENTIFIER_WIDTH:]),
            identifier=request.data[:_IDENTIFIER_WIDTH],
        )
        return self._reply(request)

    def _write_clock(
        self,
        request: Frame,
        identifier: str,
        value: bytes,
        at: datetime,
    ) -> Frame:
        shown = self.state.clock.shows(at)
        try:
            to = _CLOCK_PARAMETERS[identifier](value, shown)
        except FrameError:
            to = None
        if to is None:
            return self._refuse(request, _OTHER_ERROR)
        self.state.set_clock(at, to, how="write")
        operator = _operator(request.data[_IDENTIFIER_WIDTH:])
        event_records.record_clock_set(
            self.state,
            shown,
            to,
            operator,
        )
        return self._reply(request)

    def _write_address(self, request: Frame, at: datetime) -> Frame | None:
        # DL/T 645-2007 has no abnormal answer for it: without the key a meter is silent.
        if not self.access.programming_key or not is_address(request.data):
            return None
        self.state.address = request.data[::-1].hex()
        return self._reply(request)

    def _change_baud(self, request: Frame, at: datetime) -> Frame:
        """The word is confirmed and can be read back; the line goes on as it is."""
        if request.data not in _BAUD_WORDS:
            return self._refuse(request, _BAUD_CANNOT_CHANGE)
        self.state.parameters.write(_BAUD_WORD, request.data, at)
        return self._reply(request, request.data)

    def _change_password(self, request: Frame, at: datetime) -> Frame:
        """DI, old and new level and password."""
        old = request.data[4:8]
        new = request.data[8:]
        if not self.access.change_password(old, new):
            return self._refuse(request, _UNAUTHORISED)
        event_records.record_programming(
            self.state,
            at,
            operator=NO_OPERATOR,
            identifier=request.data[:_IDENTIFIER_WIDTH],
        )
        return self._reply(request, new)

    def _clear_demand(self, request: Frame, at: datetime) -> Frame:
        if self.access.authorised(request.data) is None:
            return self._refuse(request, _UNAUTHORISED)
        event_records.record_demand_clear(self.state, at, _operator(request.data))
        return self._reply(request)

    def _clear_meter(self, request: Frame, at: datetime) -> Frame:
        """Needs the programming key besides."""
        is_authorised = self.access.authorised(request.data) is not None
        if not is_authorised or not self.access.programming_key:
            return self._refuse(request, _UNAUTHORISED)
        event_records.record_meter_clear(self.state, at, _operator(request.data))
        return self._reply(request)

    def _clear_events(self, request: Frame, at: datetime) -> Frame:
        """Behind the authority stands what is to be cleared: DI1 to DI3 behind FF, or all FF."""
        text = self.access.authorised(request.data)
        if text is None:
            return self._refuse(request, _UNAUTHORISED)
        cleared = text[:_IDENTIFIER_WIDTH]
        if len(cleared) != _IDENTIFIER_WIDTH or cleared[0] != 0xFF:
            return self._refuse(request, _OTHER_ERROR)
        operator = _operator(request.data)
        event_records.record_event_clear(
            self.state,
            at,
            operator,
            cleared,
        )
        return self._reply(request)

    def _carry_to_security_module(self, request: Frame, at: datetime) -> Frame:
        """DI, operator and what only the module understands; the error word has two bytes."""
        module = self.access.security
        if module is None or len(request.data) < HEAD_WIDTH:
            return self._refuse_with(request, OTHER_ERROR)
        identifier = request.data[:_IDENTIFIER_WIDTH]
        answer, is_done = module.carry(_name(identifier))
        if not is_done:
            return self._refuse_with(request, answer)
        return self._reply(request, identifier + answer)

    def _control(self, request: Frame, at: datetime) -> Frame:
        """PA P0 P1 P2, operator, N1, N2, and the expiry.

        The expiry is the latest time (by the meter's clock) at which it may be done."""
        data = request.data
        error = self._obey(data, at)
        reply = self._refuse(request, error) if error else self._reply(request)
        detail = {
            "action": _name(data[8:9]),
            "duration": _name(data[9:10]),
            "level": _name(data[:1]),
            "operator": _name(data[4:8]),
            "expires": _name(data[10:16]),
            "answer": f"{reply.control:02X} {reply.data.hex().upper()}".strip(),
        }
        # The command comes before its effect in the journal.
        self.state.note(at, "control", detail)
        self.state.settle(at)
        return reply

    def _obey(self, data: bytes, at: datetime) -> int:
        """Do a control command; the error word, 0 when it was accepted."""
        text = self.access.authorised(data)
        if text is None:
            return _UNAUTHORISED
        # A ciphertext is filled up to 16 bytes; a clear text has its width.
        is_too_long = self.access.security is None and len(text) > _CONTROL_WIDTH
        if len(text) < _CONTROL_WIDTH or is_too_long:
            return _OTHER_ERROR
        try:
            expires = decode_time(text[2:_CONTROL_WIDTH], "ss mm hh DD MM YY")
        except FrameError:
            return _OTHER_ERROR
        # The meter judges by its own clock: one that is fast refuses what is still valid.
        if expires is None or expires < self.state.clock.shows(at):
            return _OTHER_ERROR
        # Before the relay moves: the record of the movement names the operator.
        self.state.relay_operator = _operator(data)
        try:
            is_known = _move(
                self.state.relay,
                text[0],
                text[1] * _DURATION_UNIT,
                at,
            )
        except RelayRefused:
            return _OTHER_ERROR
        return 0 if is_known else _OTHER_ERROR

    def _freeze(self, request: Frame, at: datetime) -> Frame:
        """The pattern 99999999 freezes now.

        Another one is the time of the scheduled freeze from now on."""
        if request.data == FREEZE_NOW:
            self.state.freeze_now(at, KEPT[INSTANT])
            return self._reply(request)
        if not can_be_scheduled(request.data):
            return self._refuse(request, _OTHER_ERROR)
        self.state.parameters.write(PATTERN, request.data, at)
        return self._reply(request)

    def _take_broadcast_time(self, request: Frame, at: datetime) -> None:
        self._broadcast_time.take(request.data, at)

    _HANDLERS: Final[dict[int, _Handler]] = {
        functions.READ: _read,
        functions.READ_FOLLOW: _read_follow,
        functions.READ_ADDRESS: _read_address,
        functions.WRITE: _write,
        functions.CONTROL: _control,
        functions.FREEZE: _freeze,
        functions.BROADCAST_TIME: _take_broadcast_time,
        functions.CHANGE_BAUD: _change_baud,
        functions.CHANGE_PASSWORD: _change_password,
        functions.CLEAR_DEMAND: _clear_demand,
        functions.CLEAR_METER: _clear_meter,
        functions.CLEAR_EVENTS: _clear_events,
        functions.WRITE_ADDRESS: _write_address,
        functions.SECURITY: _carry_to_security_module,
    }


_Handler = Callable[[SimulatedMeter2007, Frame, datetime], Frame | None]


def _move(
    relay: Relay,
    action: int,
    duration: timedelta,
    at: datetime,
) -> bool:
    """Do what N1 says; False when it is no command. RelayRefused."""
    if action == _TRIP:
        relay.trip(at)
    elif action == _ALLOW_CLOSE:
        relay.allow_close(at)
    elif action == _CLOSE:
        relay.close(at)
    elif action in (_TRIP_THEN_ALLOW_CLOSE, _TRIP_THEN_CLOSE):
        relay.trip(at, back_after=duration, closes_directly=action == _TRIP_THEN_CLOSE)
    elif action in (_ALARM, _ALARM_OFF):
        relay.pre_trip_alarm = action == _ALARM
    elif action in (_KEEP_POWER, _KEEP_POWER_OFF):
        relay.keep_power(at, on=action == _KEEP_POWER)
    else:
        return False
    return True


def _name(data: bytes) -> str:
    """Digits as they are printed: the bytes come low byte first."""
    return data[::-1].hex().upper()


def _operator(authority: bytes) -> bytes:
    """C0 C1 C2 C3 behind PA P0 P1 P2."""
    return authority[4:8]
