"""What the channels over a byte stream have in common: bytes in and out, failures as LineDown.

They are asyncio protocols, not readers and writers: what comes is handed to the listener in the
same call, and only without a listener it is kept for `receive`."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from math import inf
from types import TracebackType
from typing import Final, Protocol, Self, cast

from protocols.errors import LineDown
from protocols.peer import Peer

SEND_TIMEOUT_S: Final = 10.0
"""A carrier that takes no byte of a frame for so long is gone; a frame of 267 bytes needs 9.8 s at
300 Bd."""
MOST_KEPT: Final = 64 * 1024
"""Maximum of bytes kept while there is no listener; then the older ones are dropped, because no
answer is so long."""

MOST_AT_ONCE: Final = 32 * 1024
MOST_A_SECOND: Final = 4 * 2**20
"""Bytes from a carrier; no meters tell so much, sixty thousand answers, and who pours without end
would leave no time for the others."""


class Listener(Protocol):
    """Takes what comes on a channel while it listens.

    Both are called from the event loop and must not wait.
    """

    def heard(self, data: bytes) -> None:
        """Bytes came, at least one."""

    def lost(self, error: LineDown) -> None:
        """The carrier is gone; nothing comes after this."""


class StreamChannel(asyncio.Protocol, ABC):
    """A channel over a transport of asyncio. `name` is what error texts call it.

    `byte_s`: seconds that one byte takes on the wire, 0 where that does not matter.
    """

    __slots__ = (
        "_closed",
        "_counted",
        "_counted_from",
        "_down",
        "_is_clogged",
        "_kept",
        "_listener",
        "_receiver",
        "_sender",
        "_transport",
        "byte_s",
        "name",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.byte_s = 0.0
        self._transport: asyncio.Transport | None = None
        self._listener: Listener | None = None
        self._kept = bytearray()
        self._counted_from = -inf
        self._counted = 0
        """Bytes of the second that began then."""
        self._receiver: asyncio.Future[None] | None = None
        self._sender: asyncio.Future[None] | None = None
        self._is_clogged = False
        """True while the carrier takes no more."""
        self._down: LineDown | None = LineDown(f"{name}: not open")
        """Why nothing can be sent or received."""
        self._closed: asyncio.Future[None] | None = None

    @property
    def peer(self) -> Peer:
        """See Channel: what we opened is where the site's files say."""
        return Peer(self.name)

    @property
    def question(self) -> str:
        """See Channel."""
        return ""

    @abstractmethod
    async def _connect(self) -> None:
        """Open the carrier with this object as its protocol. LineDown when that fails."""

    # --- using it

    def write(self, data: bytes) -> None:
        """Hand the bytes to the carrier without waiting. LineDown when it is gone."""
        if self._down is not None:
            raise self._down
        assert self._transport is not None
        self._transport.write(data)

    def writer(self) -> Callable[[bytes], None]:
        """What writes without a look whether the carrier is there: a listener is told of its loss.

        LineDown when it is gone already: what came before may have lain unread until now."""
        if self._down is not None:
            raise self._down
        assert self._transport is not None
        return self._transport.write

    def rest(self, for_s: float) -> None:
        """Nothing that matters comes earlier; a slow carrier need not be looked at until then."""

    def unread(self) -> int:
        """Bytes that came while the channel rested."""
        return 0

    async def send(self, data: bytes) -> None:
        """LineDown when the carrier is gone or takes nothing for SEND_TIMEOUT_S."""
        self.write(data)
        # The transport has taken the bytes; only their backlog is waited for.
        if not self._is_clogged:
            return
        self._sender = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._sender
        except TimeoutError:
            raise LineDown(f"{self.name}: nothing could be sent for {SEND_TIMEOUT_S:g} s") from None
        finally:
            self._sender = None

    async def receive(self) -> bytes:
        """At least one byte.

        LineDown when the other side closed. A cancelled call loses nothing.
        """
        if not self._kept:
            if self._down is not None:
                raise self._down
            self._receiver = asyncio.get_running_loop().create_future()
            try:
                await self._receiver
            finally:
                self._receiver = None
        data = bytes(self._kept)
        self._kept.clear()
        return data

    def listen(self, listener: Listener | None) -> None:
        """From now on everything that comes goes to `listener`, first what is kept; None ends that.

        LineDown when the carrier is gone already.
        """
        if listener is not None and self._down is not None and not self._kept:
            raise self._down
        self._listener = listener
        if listener is not None and self._kept:
            data = bytes(self._kept)
            self._kept.clear()
            listener.heard(data)

    # --- what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The carrier is open."""
        # uvloop's transports are transports in all but their class.
        self._transport = cast(asyncio.Transport, transport)
        self._closed = asyncio.get_running_loop().create_future()
        self._kept.clear()
        self._is_clogged = False
        self._down = None

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._pours(len(data)):
            self.lose(f"{self.name}: sends more than any meters tell")
            if self._transport is not None:
                self._transport.abort()
            return
        if self._listener is not None:
            self._listener.heard(data)
            return
        if len(self._kept) > MOST_KEPT:
            self._kept.clear()
        self._kept += data
        self._wake(self._receiver)

    def _pours(self, size: int) -> bool:
        now = asyncio.get_running_loop().time()
        if now >= self._counted_from + 1.0:
            self._counted_from, self._counted = now, 0
        self._counted += size
        return size > MOST_AT_ONCE or self._counted > MOST_A_SECOND

    def connection_lost(self, error: Exception | None) -> None:
        """The carrier is gone: those who wait get a LineDown."""
        why = "closed by the other side"
        if isinstance(error, OSError):
            why = f"failed: {reason(error)}"
        self.lose(f"{self.name}: {why}")
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)

    def pause_writing(self) -> None:
        """The carrier takes no more for the moment."""
        self._is_clogged = True

    def resume_writing(self) -> None:
        """The carrier takes again."""
        self._is_clogged = False
        self._wake(self._sender)

    def lose(self, why: str) -> None:
        """End this connection for everyone who uses it, with these words."""
        if self._down is not None:
            return
        self._down = LineDown(why)
        for future in (self._receiver, self._sender):
            if future is not None and not future.done():
                future.set_exception(self._down)
        if self._listener is not None:
            self._listener.lost(self._down)

    @staticmethod
    def _wake(future: asyncio.Future[None] | None) -> None:
        if future is not None and not future.done():
            future.set_result(None)

    # --- opening and closing

    async def __aenter__(self) -> Self:
        await self._connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        transport = self._transport
        self._transport = None
        self._listener = None
        self._down = self._down or LineDown(f"{self.name}: not open")
        if transport is None:
            return
        # What was written still leaves, unless the carrier is clogged.
        transport.close()
        assert self._closed is not None
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._closed
        except TimeoutError:
            transport.abort()


def reason(error: OSError) -> str:
    """The words of an operating system error without its number."""
    return error.strerror or str(error) or type(error).__name__
