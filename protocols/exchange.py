"""An exchange is a generator: it yields the frame to send and receives the frame that came.

The same exchange runs on a serial line, in a test and in a tool; waiting, retries and time-outs are
the runner's."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

F = TypeVar("F")
T = TypeVar("T")

Exchange = Generator[F, F, T]
"""Yields a request, receives its answer, returns what was asked for. A request that has no answer
(broadcast) receives itself back as soon as it is sent."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A stretch of bytes that is no frame. `reason`: noise, bad_checksum, truncated, bad_length or
    bad_end."""

    data: bytes
    reason: str


class StreamDecoder(Protocol[F]):
    """Cuts a stream of bytes into frames; keeps what is incomplete."""

    @property
    def pending(self) -> bool:
        """True while bytes are kept that `flush` would report, or that more bytes may complete to a
        frame."""

    def feed(self, data: bytes) -> list[F | Skipped]:
        """What became certain with these bytes, in order of appearance."""

    def flush(self) -> list[F | Skipped]:
        """The line fell silent: nothing more belongs to what was kept. A frame hidden behind noise
        comes out now."""

    def reset(self) -> None:
        """Forget what was kept."""


@dataclass(frozen=True, slots=True)
class Codec(Generic[F]):
    """What a runner must know of a protocol to carry its exchanges."""

    encode: Callable[[F], bytes]
    """A request as it goes on the line, wake-up included."""
    new_decoder: Callable[[], StreamDecoder[F]]
    addressee: Callable[[F], str]
    """Whom a request is for, in words for a message."""
    is_answer: Callable[[F, F], bool]
    """(request, frame that came): address, function and identifier are those asked for."""
    has_answer: Callable[[F], bool]
    """False for a broadcast: nobody answers it."""
    is_control: Callable[[F], bool]
    """True for a frame that can move a relay; it may not leave a process in shadow mode and is
    never sent twice."""
    has_secret: Callable[[F], bool] = lambda request: False
    """True for a frame that carries a password: it is kept out of the wire trace. Control frames
    always are."""


def run_on_script(exchange: Exchange[F, T], script: list[tuple[F, F]]) -> T:
    """Play an exchange on (expected request, answer) pairs; AssertionError on another request or an
    unread answer."""
    unread = iter(script)
    try:
        request = next(exchange)
        for expected, answer in unread:
            if request != expected:
                raise AssertionError(f"sent {request}, expected {expected}")
            request = exchange.send(answer)
    except StopIteration as stop:
        if left := list(unread):
            raise AssertionError(f"the exchange ended before the script: {left}") from None
        result: T = stop.value
        return result
    raise AssertionError(f"the exchange wants more: {request}")
