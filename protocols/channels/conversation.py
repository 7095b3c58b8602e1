"""One talker on one line: carries exchanges, and is the only place that waits for a meter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any, Generic, Protocol, TypeVar

from protocols.channels import Channel
from protocols.errors import ControlForbidden, FrameError, MeterRefused, NoReply, SecretWithheld
from protocols.exchange import AnswerMatcher, Codec, Exchange, Meaning, Received

F = TypeVar("F")
T = TypeVar("T")

OUTCOMES = {
    Meaning.LATE: "late",
    Meaning.FOREIGN: "foreign",
    Meaning.DAMAGED: "bad_frame",
}
"""How what came without being an answer is counted; noise and our echo are not."""


class Wire(Protocol):
    """Where bytes are shown: a logger, or what stands for one."""

    def info(self, event: str, **fields: Any) -> Any:
        """`line`, `direction` (tx or rx) and `bytes` as hex digits."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a line may be silent."""

    reply_timeout_s: float = 1.0
    """Before an answer begins."""
    byte_gap_s: float = 0.5
    """Inside an answer."""
    longest_answer_s: float = 3.0
    """For a whole answer once it began: 267 bytes of 11 bits need 2.4 s at 1200 Bd, and a line
    that babbles on is cut."""
    pause_s: float = 0.0
    """Silence before each question, for meters and converters that need it to turn round."""
    quiet_s: float = 0.05
    """Silence after which a dirty line counts as clean."""
    retries: int = 1
    """Repetitions of a request that stayed without its answer."""


class Conversation(Generic[F]):
    """Runs exchanges over an open channel, one at a time.

    An answer is taken only if the codec says that it answers the question asked. After silence, an
    unexpected frame or a cancelled exchange the line is dirty: it is listened to until quiet before
    the next question. A control frame is sent once: silence after it means *unknown*, and only
    reading the state back can tell."""

    def __init__(
        self,
        channel: Channel,
        codec: Codec[F],
        *,
        line: str,
        timing: Timing = Timing(),
        may_control: bool = False,
        wire: Wire | None = None,
        on_outcome: Callable[[str], None] = lambda outcome: None,
        on_foreign_write: Callable[[str], None] = lambda addressee: None,
    ) -> None:
        self.line = line
        self.timing = timing
        self.may_control = may_control
        self.wire = wire
        """The wire trace; None while it is off for this line."""
        self.on_outcome = on_outcome
        """Called with ok, no_reply, refused, bad_frame, late or foreign, once for each such
        event."""
        self.on_foreign_write = on_foreign_write
        """Called with whom it is for when somebody else controls a meter or writes to it."""
        self.dirty = False
        """Something may still be under way on the line; it is listened to before the next
        question."""
        self._channel = channel
        self._codec = codec
        self._matcher = AnswerMatcher(codec)
        self._sent_secret = b""
        """The last frame sent, if it carries a password."""
        self._sent_write: F | None = None
        """The last of ours that changed a meter: its answers are no one else's."""
        self.busy_at = -inf
        """When a byte went over the line last."""
        self._surplus_until = 0.0
        """Until when a second answer to the unanswered question is waited for, because it was
        answered by its repetition."""

    async def run(self, exchange: Exchange[F, T], *, retries: int | None = None) -> T:
        """What the exchange returns.

        NoReply when a question stayed without its answer; whatever the exchange raises.
        ControlForbidden, before anything is sent, for a control frame in a conversation that may
        not control; SecretWithheld while it is open who would get a password."""
        tries = 1 + (self.timing.retries if retries is None else retries)
        try:
            request = next(exchange)
            while True:
                answer = await self._ask(request, tries)
                try:
                    request = exchange.send(answer)
                except MeterRefused:
                    self.on_outcome("refused")
                    raise
                except FrameError:
                    self.on_outcome("bad_frame")
                    raise
                except StopIteration:
                    self.on_outcome("ok")
                    raise
                self.on_outcome("ok")
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            exchange.close()

    async def _ask(self, request: F, tries: int) -> F:
        codec = self._codec
        is_control = codec.is_control(request)
        if is_control:
            if not self.may_control:
                raise ControlForbidden(
                    f"control frame for {codec.addressee(request)} on {self.line} held back: "
                    "this line may not control"
                )
            tries = 1
        frame = codec.encode(request)
        is_secret = is_control or codec.has_secret(request)
        self._sent_secret = frame if is_secret else b""
        if codec.is_write(request):
            self._sent_write = request
        heard = _Heard()
        for attempt in range(tries):
            await self._pause()
            await self._settle(request)
            if is_secret and (question := self._channel.question):
                raise SecretWithheld(f"not sent to {self.line}: {question}")
            self.dirty = True
            self._trace("tx", frame)
            await self._channel.send(frame)
            self.busy_at = asyncio.get_running_loop().time()
            if not codec.has_answer(request):
                return request
            begins_by = asyncio.get_running_loop().time() + self.timing.reply_timeout_s
            answer = await self._listen(request, begins_by, heard)
            if answer is not None:
                if attempt > 0:
                    # Both tries may be answered, and the second answer is still to come.
                    self.dirty = True
                    self._surplus_until = begins_by
                return answer
            self._matcher.unanswered = request
        self.on_outcome("no_reply")
        raise NoReply(
            f"no reply from {codec.addressee(request)} on {self.line} "
            f"after {tries} x {self.timing.reply_timeout_s:.1f} s{heard.in_words()}"
        )

    async def _listen(self, request: F, begins_by: float, heard: _Heard) -> F | None:
        """The answer, or None when the line stayed silent or only other things came."""
        clock = asyncio.get_running_loop().time
        ends_by = begins_by + self.timing.longest_answer_s
        damaged_before = heard.damaged
        until = begins_by
        while True:
            data = await self._receive(until)
            requests = (request,)
            received = self._matcher.feed(data, requests) if data else self._matcher.flush(requests)
            answer = self._answer(received, heard)
            if answer is not None:
                return answer
            is_over = heard.damaged > damaged_before or clock() >= begins_by
            if not data and is_over:
                return None
            has_begun = bool(received) and received[-1].meaning is Meaning.PART
            until = min(clock() + self.timing.byte_gap_s, ends_by) if has_begun else begins_by

    def _answer(self, received: list[Received[F]], heard: _Heard) -> F | None:
        """The answer among what came; everything else is counted.

        The line is clean if nothing but an echo follows it."""
        answer: F | None = None
        for item in received:
            if item.meaning is Meaning.ANSWER:
                answer = item.frame
                self.dirty = False
            elif item.meaning is not Meaning.ECHO:
                self.dirty = True
                self._count(item)
                heard.count(item.meaning)
        return answer

    def overhear(self, data: bytes) -> None:
        """Bytes that came while nothing was asked."""
        for item in self._matcher.feed(data, ()):
            self._heed(item)

    def _count(self, item: Received[F]) -> None:
        if item.meaning in OUTCOMES:
            self.on_outcome(OUTCOMES[item.meaning])
        self._heed(item)

    def _heed(self, item: Received[F]) -> None:
        """Notice that somebody else changes a meter."""
        frame = item.frame
        if item.meaning is not Meaning.FOREIGN or frame is None or not self._codec.is_write(frame):
            return
        ours = self._sent_write
        if ours is None or not (frame == ours or self._codec.is_answer(ours, frame)):
            self.on_foreign_write(self._codec.addressee(frame))

    async def _pause(self) -> None:
        """Keep the silence that the line needs between two frames."""
        wait_s = self.busy_at + self.timing.pause_s - asyncio.get_running_loop().time()
        if wait_s > 0:
            await asyncio.sleep(wait_s)

    async def _settle(self, request: F) -> None:
        """Listen to a dirty line until it is quiet; a line that never is, is left after one reply
        time.

        When the same question was answered only by its repetition, a second answer to it may be
        under way, and could not be told from a new one: that one is waited for."""
        clock = asyncio.get_running_loop().time
        give_up_at = clock() + self.timing.reply_timeout_s
        while self.dirty and clock() < give_up_at:
            until = clock() + self.timing.quiet_s
            if self._matcher.unanswered == request:
                until = max(until, self._surplus_until)
            data = await self._receive(until)
            for item in self._matcher.feed(data, ()) if data else self._matcher.flush(()):
                # What is damaged here was counted with its question, or is nobody's.
                if item.meaning is not Meaning.DAMAGED:
                    self._count(item)
            if not data:
                break
        self._matcher.reset()

    async def _receive(self, until: float) -> bytes:
        """What comes next, or nothing when the time is over."""
        try:
            async with asyncio.timeout_at(until):
                data = await self._channel.receive()
        except TimeoutError:
            return b""
        self.busy_at = asyncio.get_running_loop().time()
        self._trace("rx", data)
        return data

    def _trace(self, direction: str, data: bytes) -> None:
        """A frame with the meter's password is never shown, nor what an adapter echoes of it."""
        if self.wire is None:
            return
        shown = data.hex(" ").upper()
        secret = self._sent_secret
        if secret and (direction == "tx" or data in secret or secret in data):
            shown = f"({len(data)} bytes with a password, not shown)"
        self.wire.info(
            "wire",
            line=self.line,
            direction=direction,
            bytes=shown,
        )


@dataclass(slots=True)
class _Heard:
    """What came instead of an answer, for the text of a NoReply."""

    damaged: int = 0
    strangers: int = 0

    def count(self, meaning: Meaning) -> None:
        self.damaged += meaning is Meaning.DAMAGED
        self.strangers += meaning in (Meaning.LATE, Meaning.FOREIGN)

    def in_words(self) -> str:
        words = []
        if self.damaged:
            words.append(
                f"{self.damaged} damaged (checksum, length or end wrong: speed, parity, cable?)"
            )
        if self.strangers:
            words.append(f"{self.strangers} frames that answer something else")
        return f"; heard {' and '.join(words)}" if words else ""
