"""An exchange is a generator: it yields the frame to send and receives the frame that came.

The same exchange runs on a serial line, in a test and in a tool; waiting, retries and time-outs are
the runner's. What the bytes that come mean for the requests under way is decided here, once for all
runners."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from enum import Enum
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
    is_write: Callable[[F], bool] = lambda frame: False
    """True for a frame by which somebody moves a relay or changes a meter, or that answers one."""


class Meaning(Enum):
    """What something that came means for the requests under way."""

    ANSWER = "answer"
    """Of one of them, which is answered with it."""
    LATE = "late"
    """The answer to the request that was given up last."""
    FOREIGN = "foreign"
    """A good frame that concerns none of ours: another meter's answer, a second answer, another
    master's request."""
    ECHO = "echo"
    """A request of ours, which some adapters send back."""
    DAMAGED = "damaged"
    """The beginning of a frame whose rest is wrong or did not come."""
    NOISE = "noise"
    """Bytes in which no frame began."""
    PART = "part"
    """Bytes are kept that more of them may complete to a frame. Always the last of what came."""


@dataclass(frozen=True, slots=True)
class Received(Generic[F]):
    """One thing that came. `frame`: None unless it is a good one; `request`: what an ANSWER
    answers."""

    meaning: Meaning
    frame: F | None = None
    request: F | None = None


class AnswerMatcher(Generic[F]):
    """Tells what the bytes that come on a line mean for the requests that are under way there.

    It waits for nothing and counts nothing: when a request is given up, and what a damaged frame
    leads to, is for the runner that reads the line to say."""

    __slots__ = ("_codec", "_decoder", "unanswered")

    def __init__(self, codec: Codec[F]) -> None:
        self._codec = codec
        self._decoder = codec.new_decoder()
        self.unanswered: F | None = None
        """The request that was given up last; an answer to it may still come, once."""

    def feed(self, data: bytes, requests: Iterable[F]) -> list[Received[F]]:
        """What became certain with these bytes, in order of appearance. `requests`: those under
        way; each is answered once at the most."""
        received = self._meanings(self._decoder.feed(data), requests)
        if self._decoder.pending:
            received.append(Received(Meaning.PART))
        return received

    def flush(self, requests: Iterable[F]) -> list[Received[F]]:
        """The line fell silent: what the bytes that were kept are, taken for all there is."""
        return self._meanings(self._decoder.flush(), requests)

    def reset(self) -> None:
        """Forget the bytes that were kept. A late answer is still waited for."""
        self._decoder.reset()

    def _meanings(self, found: list[F | Skipped], requests: Iterable[F]) -> list[Received[F]]:
        asked = list(requests)
        still_open = list(asked)
        received: list[Received[F]] = []
        for item in found:
            if isinstance(item, Skipped):
                is_noise = item.reason == "noise"
                received.append(Received(Meaning.NOISE if is_noise else Meaning.DAMAGED))
            elif item in asked or item == self.unanswered:
                received.append(Received(Meaning.ECHO, item))
            else:
                received.append(self._meaning(item, still_open))
        return received

    def _meaning(self, frame: F, still_open: list[F]) -> Received[F]:
        """An answer takes its request out of the open ones: a second answer to it is foreign."""
        for request in still_open:
            if self._codec.is_answer(request, frame):
                still_open.remove(request)
                return Received(Meaning.ANSWER, frame, request)
        if self.unanswered is not None and self._codec.is_answer(self.unanswered, frame):
            self.unanswered = None
            return Received(Meaning.LATE, frame)
        return Received(Meaning.FOREIGN, frame)


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
