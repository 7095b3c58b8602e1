"""A simulated meter that speaks DL/T 645: what both versions of the standard have in common.

No I/O, no task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

from protocols.dlt645.frame import BROADCAST, Frame
from simulators.dlt645 import event_records
from simulators.dlt645.access import Access, AccessSpec
from simulators.dlt645.clock_writing import BroadcastTime
from simulators.state.meter import MeterState
from simulators.state.relay import Move

FRAME_LIMIT: Final = 200
"""Greatest L of an answer to a read (DL/T 645-2007: C8H)."""
WAKE_UP: Final = 4
"""FE bytes before an answer; meters send 0 to 4."""
ADDRESS_WIDTH: Final = 6
# DL/T 645, control code: D7 direction, D6 abnormal, D5 a follow-up frame exists.
_ANSWER: Final = 0x80
_ABNORMAL: Final = 0x40
_HAS_MORE: Final = 0x20


class SimulatedMeter(ABC):
    """A meter with its state, its protection, and an answer to each frame.

    `frame_limit` is the greatest L of an answer: longer blocks come in follow-up frames. `wake_up`
    FE bytes come before it."""

    def __init__(
        self,
        state: MeterState,
        access: AccessSpec | None = None,
        *,
        frame_limit: int = FRAME_LIMIT,
        wake_up: int = WAKE_UP,
    ) -> None:
        self.state = state
        self.access = Access(access or AccessSpec(), state.address)
        self.frame_limit = frame_limit
        self.wake_up = wake_up
        self.hears_others = False
        """Set for a meter that may answer requests for other addresses."""
        self._broadcast_time = BroadcastTime(state)
        # The state does not know event records: they need energies in the form of the wire.
        state.on_relay_moved = self._record_move

    @property
    def address(self) -> str:
        """12 digits, as printed on the meter."""
        return self.state.address

    @abstractmethod
    def answer(self, request: Frame) -> Frame | None:
        """The answer, None for silence.

        It is silent for another meter, a broadcast, and a function that it does not know."""

    def _reply(
        self,
        request: Frame,
        data: bytes = b"",
        *,
        has_more: bool = False,
    ) -> Frame:
        control = request.function | _ANSWER
        return Frame(self.address, control | _HAS_MORE if has_more else control, data)

    def _refuse(self, request: Frame, error: int) -> Frame:
        return self._refuse_with(request, bytes((error,)))

    def _refuse_with(self, request: Frame, word: bytes) -> Frame:
        return Frame(self.address, request.function | _ANSWER | _ABNORMAL, word)

    def _record_move(self, move: Move) -> None:
        event_records.record_move(self.state, move)


def parts_of(data: bytes, size: int) -> tuple[bytes, ...]:
    """The data in parts of `size` bytes; the last one may be shorter."""
    starts = range(0, len(data), size)
    return tuple(data[start : start + size] for start in starts)


def is_address(data: bytes) -> bool:
    """True for six bytes of BCD that are not the broadcast."""
    digits = data.hex()
    return len(data) == ADDRESS_WIDTH and digits.isdigit() and digits != BROADCAST
