"""The conversations over the open channel of one line, one for each protocol its meters speak."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeVar

from daemon.acquisition.wakeup import Signal
from protocols.channels import Channel
from protocols.channels.conversation import Conversation, Timing
from protocols.channels.streams import StreamChannel
from protocols.errors import LineDown
from protocols.exchange import Codec, Exchange

F = TypeVar("F")
T = TypeVar("T")


class Preempted(Exception):
    """Something more urgent came between two exchanges; what was begun is begun again later."""


def giving_way(
    exchange: Exchange[F, T],
    give_way: Callable[[], None],
) -> Exchange[F, T]:
    """The same exchange; `give_way`, which may raise Preempted, is called before each request."""
    answer: Any = None
    while True:
        try:
            request = exchange.send(answer)
        except StopIteration as stop:
            result: T = stop.value
            return result
        give_way()
        answer = yield request


class Conversations:
    """What one conversation leaves behind on the line, the next drains before it sends.

    `how`: the keywords of `Conversation`, the same for each protocol.
    """

    __slots__ = ("_by_codec", "_how", "_last", "channel", "dirty")

    def __init__(self, channel: Channel, **how: Any) -> None:
        self.channel = channel
        self.dirty = False
        """Something that no conversation knows of was left on the line."""
        self._how = how
        self._by_codec: dict[int, Conversation[Any]] = {}
        self._last: Conversation[Any] | None = None

    async def run(
        self,
        codec: Codec[Any],
        exchange: Exchange[Any, T],
        *,
        retries: int | None = None,
    ) -> T:
        """What the exchange returns; see Conversation.run."""
        conversation = self._by_codec.get(id(codec))
        if conversation is None:
            conversation = Conversation(self.channel, codec, **self._how)
            self._by_codec[id(codec)] = conversation
        # What the one before left is listened to by this one, whose decoder knows other frames.
        if not self.is_clean:
            conversation.dirty = True
        self.dirty = False
        if self._last is not None:
            conversation.busy_at = max(conversation.busy_at, self._last.busy_at)
        self._last = conversation
        return await conversation.run(exchange, retries=retries)

    @property
    def is_clean(self) -> bool:
        """True if nothing may still be under way on the line."""
        return not self.dirty and (self._last is None or not self._last.dirty)

    async def drain(self, timing: Timing) -> None:
        """Listen until the line is quiet, a reply time at the most."""
        ends_at = time.monotonic() + timing.reply_timeout_s
        while time.monotonic() < ends_at:
            try:
                async with asyncio.timeout(timing.quiet_s):
                    await self.channel.receive()
            except TimeoutError:
                break
        self.dirty = False
        if self._last is not None:
            self._last.dirty = False

    async def listen(self, woken: Signal, timeout_s: float) -> None:
        """Listen to the idle line until woken or the time is over.

        A carrier that goes away is noticed (LineDown), and an unasked frame is dropped before the
        next request instead of being taken for its answer.
        """
        if isinstance(self.channel, StreamChannel):
            await self._listen_in_place(self.channel, woken, timeout_s)
            return
        receiving = asyncio.create_task(self.channel.receive())
        waking = asyncio.create_task(woken.wait())
        tasks = {receiving, waking}
        try:
            await asyncio.wait(
                tasks,
                timeout=timeout_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        # What was received here is dropped; its rest may still be under way.
        if not receiving.cancelled() and (data := receiving.result()):
            self.dirty = True
            self._overhear(data)

    async def _listen_in_place(
        self,
        channel: StreamChannel,
        woken: Signal,
        timeout_s: float,
    ) -> None:
        """The same without a task: thousands of lines are idle at a time."""
        stray = _StrayListener(woken, self._overhear)
        try:
            channel.listen(stray)
            async with asyncio.timeout(timeout_s):
                await woken.wait()
        except TimeoutError:
            pass
        finally:
            channel.listen(None)
        self.dirty = self.dirty or stray.was_heard
        if stray.error is not None:
            raise stray.error

    def _overhear(self, data: bytes) -> None:
        """Each knows the frames of its own protocol alone."""
        for conversation in self._by_codec.values():
            conversation.overhear(data)


class _StrayListener:
    """Listens to an idle line."""

    __slots__ = ("_overhear", "_woken", "error", "was_heard")

    def __init__(self, woken: Signal, overhear: Callable[[bytes], None]) -> None:
        self._woken = woken
        self._overhear = overhear
        self.was_heard = False
        self.error: LineDown | None = None

    def heard(self, data: bytes) -> None:
        self.was_heard = True
        self._overhear(data)

    def lost(self, error: LineDown) -> None:
        self.error = error
        self._woken.set()
