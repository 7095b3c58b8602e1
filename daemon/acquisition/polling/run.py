"""One run of the poll of a line over an open channel."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from daemon.acquisition.polling.client import SingleLine
from daemon.acquisition.polling.in_flight import InFlightRequest
from protocols.channels.streams import StreamChannel


@dataclass(slots=True, eq=False)
class Run:
    """What it was begun with, and how it ends."""

    channel: StreamChannel
    today: int
    """The day number from which the plan counts its ages."""
    depth: int
    """Requests that are in flight at once, each to another meter."""
    ends_at: float
    """No slot is begun after this second of the monotonic clock."""
    done: asyncio.Future[None]
    is_stopped: bool = False
    """Nothing more is asked; what is in flight is waited for."""
    odd: tuple[int, int] | None = None
    """The slot (number of the meter, day number) that has to take the general way."""

    def leave_to_the_general_way(self, request: InFlightRequest) -> None:
        """The first of such slots ends the run."""
        self.odd = self.odd or (request.number, self.today - request.age)
        self.is_stopped = True

    def finish(self) -> None:
        """Nothing is left to be read."""
        if not self.done.done():
            self.done.set_result(None)

    def fail(self, error: Exception) -> None:
        """It ends with this error."""
        self.is_stopped = True
        if not self.done.done():
            self.done.set_exception(error)


class Outbox:
    """Requests that follow from one segment go out in one: what costs is to call the kernel."""

    __slots__ = ("_channel", "_gathered", "_line")

    def __init__(self, channel: StreamChannel, line: SingleLine) -> None:
        self._channel = channel
        self._line = line
        self._gathered = b""

    def add(self, request: bytes) -> None:
        """It goes out with the others, and is shown now."""
        if self._line.trace is not None:
            self._line.trace("tx", request)
        self._gathered += request

    def send(self) -> None:
        """They go out now."""
        if self._gathered:
            requests = self._gathered
            self._gathered = b""
            self._channel.write(requests)
