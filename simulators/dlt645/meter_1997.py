"""A simulated DL/T 645-1997 meter.

The state of any other, asked and answered in the older version."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from protocols.dlt645 import functions_1997 as functions
from protocols.dlt645.frame import BROADCAST, Frame
from protocols.dlt645.identifiers import meaning, to_2007
from protocols.errors import FrameError
from simulators.dlt645 import answers_1997, event_records
from simulators.dlt645.access import SECRET_WIDTH
from simulators.dlt645.clock_writing import with_date, with_time
from simulators.dlt645.meter import SimulatedMeter, is_address, parts_of
from simulators.state.meter import NO_OPERATOR

# DL/T 645-1997 has bits 0 and 2 of the error word for them; bit 0 means something else in 2007.
ILLEGAL_DATA: Final = 0x01
WRONG_PASSWORD: Final = 0x04
_ASKED_OF_ALL: Final = frozenset(
    (
        functions.READ,
        functions.READ_FOLLOW,
        functions.READ_AGAIN,
        functions.BROADCAST_TIME,
        functions.WRITE_ADDRESS,
    )
)
"""What a meter hears that is sent to 99..99: it works as *any meter* for reads on most."""
_CLOCK_PARAMETERS: Final = {
    "C010": with_date,
    "C011": with_time,
}
_IDENTIFIER_WIDTH: Final = 2


class SimulatedMeter1997(SimulatedMeter):
    """Knows no freezes, no wildcard AA and no relay command; answers reads to 99..99 as most do.

    A block ends with AA, as the captured ones do."""

    _last_answer: Frame | None = None
    _block_read: bytes = b""
    _follow_ups: tuple[bytes, ...] = ()
    """Parts of the block that was read last which are still to be asked for."""

    def answer(self, request: Frame) -> Frame | None:
        """The answer, None for silence.

        It is silent for another meter, a broadcast, and a function of another version."""
        if request.is_response or not self._is_asked(request):
            return None
        at = self.state.settle()
        handler = self._HANDLERS.get(request.function)
        if handler is None:
            return None
        reply = handler(self, request, at)
        if reply is not None:
            self._last_answer = reply
        return reply

    def _is_asked(self, request: Frame) -> bool:
        if request.address == self.address:
            return True
        return request.address == BROADCAST and request.function in _ASKED_OF_ALL

    def _read(self, request: Frame, at: datetime) -> Frame:
        """Asked for several identifiers at once, it answers the first."""
        identifier = request.data[:_IDENTIFIER_WIDTH]
        data = None
        is_refused = _name(identifier) in self.state.spec.refused
        if len(identifier) == _IDENTIFIER_WIDTH and not is_refused:
            data = answers_1997.read(
                self.state,
                self.access,
                _name(identifier),
                at,
            )
        if data is None:
            return self._refuse(request, functions.NO_SUCH_DATA)
        size = self.frame_limit - _IDENTIFIER_WIDTH
        # Unlike 2007 the follow-up frames carry no number, so all parts have one size.
        first, *rest = parts_of(data, size)
        self._block_read = identifier
        self._follow_ups = tuple(rest)
        return self._reply(
            request,
            identifier + first,
            has_more=bool(rest),
        )

    def _read_follow(self, request: Frame, at: datetime) -> Frame:
        """The next part of the block that was read last; nothing numbers it."""
        if request.data != self._block_read or not self._follow_ups:
            return self._refuse(request, functions.NO_SUCH_DATA)
        part, *rest = self._follow_ups
        self._follow_ups = tuple(rest)
        return self._reply(
            request,
            self._block_read + part,
            has_more=bool(rest),
        )

    def _read_again(self, request: Frame, at: datetime) -> Frame:
        last = self._last_answer
        if last is None or last.is_abnormal:
            return self._refuse(request, functions.NO_SUCH_DATA)
        if last.data[:_IDENTIFIER_WIDTH] != request.data:
            return self._refuse(request, functions.NO_SUCH_DATA)
        return self._reply(request, last.data, has_more=last.has_more)

    def _write(self, request: Frame, at: datetime) -> Frame:
        """DI, level and password, data; the 1997 version has no operator."""
        identifier = _name(request.data[:_IDENTIFIER_WIDTH])
        authority = request.data[_IDENTIFIER_WIDTH:][:SECRET_WIDTH]
        value = request.data[_IDENTIFIER_WIDTH + SECRET_WIDTH :]
        if not self.access.is_opened_by(authority):
            return self._refuse(request, WRONG_PASSWORD)
        try:
            if identifier in _CLOCK_PARAMETERS:
                is_done = self._write_clock(identifier, value, at)
            else:
                is_done = self._write_parameter(identifier, value, at)
        except FrameError:
            return self._refuse(request, ILLEGAL_DATA)
        if not is_done:
            return self._refuse(request, functions.NO_SUCH_DATA)
        return self._reply(request)

    def _write_clock(
        self,
        identifier: str,
        value: bytes,
        at: datetime,
    ) -> bool:
        shown = self.state.clock.shows(at)
        to = _CLOCK_PARAMETERS[identifier](value, shown)
        if to is None:
            raise FrameError("a clock cannot be set to no time")
        self.state.set_clock(at, to, how="write")
        return True

    def _write_parameter(
        self,
        identifier: str,
        value: bytes,
        at: datetime,
    ) -> bool:
        """A parameter that is as wide in both versions can be written as it is."""
        in_2007 = to_2007(identifier)
        if in_2007 is None or not _is_as_wide(value, identifier, in_2007):
            return False
        if not self.state.parameters.write(in_2007, value, at):
            return False
        event_records.record_programming(
            self.state,
            at,
            operator=NO_OPERATOR,
            identifier=bytes.fromhex(in_2007)[::-1],
        )
        return True

    def _take_broadcast_time(self, request: Frame, at: datetime) -> None:
        self._broadcast_time.take(request.data, at)

    def _change_password(self, request: Frame, at: datetime) -> Frame:
        """The old and the new level and password."""
        old = request.data[:SECRET_WIDTH]
        new = request.data[SECRET_WIDTH:]
        if not self.access.change_password(old, new):
            return self._refuse(request, WRONG_PASSWORD)
        return self._reply(request)

    def _clear_demand(self, request: Frame, at: datetime) -> Frame:
        # This command carries no password; the key stands for it.
        if not self.access.programming_key:
            return self._refuse(request, WRONG_PASSWORD)
        event_records.record_demand_clear(self.state, at, NO_OPERATOR)
        return self._reply(request)

    def _write_address(self, request: Frame, at: datetime) -> Frame:
        if not self.access.programming_key:
            return self._refuse(request, WRONG_PASSWORD)
        if not is_address(request.data):
            return self._refuse(request, ILLEGAL_DATA)
        self.state.address = request.data[::-1].hex()
        return self._reply(request)

    def _change_baud(self, request: Frame, at: datetime) -> Frame:
        """Confirmed; the line goes on as it is."""
        if not self.access.programming_key:
            return self._refuse(request, WRONG_PASSWORD)
        return self._reply(request)

    _HANDLERS: Final[dict[int, _Handler]] = {
        functions.READ: _read,
        functions.READ_FOLLOW: _read_follow,
        functions.READ_AGAIN: _read_again,
        functions.WRITE: _write,
        functions.BROADCAST_TIME: _take_broadcast_time,
        functions.CHANGE_PASSWORD: _change_password,
        functions.CLEAR_DEMAND: _clear_demand,
        functions.WRITE_ADDRESS: _write_address,
        functions.CHANGE_BAUD: _change_baud,
    }


_Handler = Callable[[SimulatedMeter1997, Frame, datetime], Frame | None]


def _is_as_wide(value: bytes, *identifiers: str) -> bool:
    widths = [known.record.width for known in map(meaning, identifiers) if known]
    return widths == [len(value)] * len(identifiers)


def _name(data: bytes) -> str:
    """Digits as they are printed: the bytes come low byte first."""
    return data[::-1].hex().upper()
