"""Channels carry bytes and know no frames: the only I/O below `daemon`."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from protocols.peer import Peer


class Channel(Protocol):
    """An open way to one line.

    Opening and closing is `async with`; LineDown when it cannot be opened.

    `receive` may be cancelled (a time-out) without losing bytes. One task at a time uses a
    channel.
    """

    @property
    def peer(self) -> Peer:
        """Who is at the far end; of an open channel."""

    @property
    def question(self) -> str:
        """Why it is open who is at the far end; empty when it is not."""

    async def send(self, data: bytes) -> None:
        """Hand the bytes to the carrier. LineDown when it is gone or takes nothing any more."""

    async def receive(self) -> bytes:
        """Some bytes, at least one, as soon as they come. LineDown at the end."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
