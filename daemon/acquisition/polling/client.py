"""What the two pollers need of the line that they poll."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Protocol

from daemon.acquisition.planning.reply_times import ReplyTimeouts
from daemon.acquisition.polling.in_flight import InFlightRequest


class PolledLine(Protocol):
    """The meters of a line, what is to be read of them, and where that goes."""

    plan: array[int]
    """Slots to be read, taken from the end (see packed_slots)."""
    polled: list[tuple[int, int, tuple[int | None, ...]]]
    """(number of the meter, day number, registers in 0.01 kWh) as they came."""
    addresses: bytes
    """Of its meters, as they are sent, one after the other."""
    reply_timeouts: ReplyTimeouts
    counts: dict[str, int]
    """Grows by outcome, as a Conversation tells them."""

    def clock(self, number: int, seconds: int) -> bool:
        """A meter tells its seconds since 00:00; False when that must be looked at more closely."""

    def next_slot(self, now: float) -> int | None:
        """Takes the next slot out of the plan whose meter may be asked now; None when there is
        none."""

    def heard_from(self, number: int, is_told: bool) -> None:
        """A meter answered, while `reply_timeouts` is troubled.

        `is_told`: with the energies of a slot, which are what was asked for."""


class SingleLine(PolledLine, Protocol):
    """A line as the poller needs it that polls it alone."""

    silence: Callable[[int], None]
    """Called with the number of a meter that did not answer."""
    trace: Callable[[str, bytes], None] | None
    dirty: bool
    """Something was left on the line, which must be listened to before it is used."""

    def pass_over(self, number: int) -> None:
        """No further slot of this meter in this run."""


class Client(PolledLine, Protocol):
    """A line as the batch poller needs it.

    A mistake (an exception) in `clock`, `heard_from` or the writing of its requests ends this poll
    alone; any other, whose author is not known, ends all that were served in the same turn. When
    `clock` is False, the client gets the answer back and asks once more."""

    def take_back(
        self,
        requests: Sequence[InFlightRequest],
        idle: int,
        data: bytes,
    ) -> None:
        """It has no row any more and goes on by itself: with the requests in flight, of which
        these bytes came, and with so many rows that asked nothing yet."""

    def is_through(self) -> None:
        """It has no row any more, because nothing is left to be read or it was stopped."""

    def fail(self, error: Exception) -> None:
        """It has no row any more, because of this."""
