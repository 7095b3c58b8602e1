"""How a meter is reached over a cable: a channel that is opened for one conversation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from protocols.channels.conversation import Conversation, Timing, Wire
from protocols.channels.streams import StreamChannel
from protocols.exchange import Codec

F = TypeVar("F")


@dataclass(frozen=True, slots=True)
class Speed:
    """How a serial port is opened; None for a connection that has no speed of its own."""

    baud: int | None = None
    parity: str | None = None
    data_bits: int = 8
    stop_bits: int = 1

    def __str__(self) -> str:
        return f"{self.baud} {self.data_bits}{self.parity}{self.stop_bits}" if self.baud else ""


@dataclass(frozen=True, slots=True)
class Connection:
    """A line that is not open yet. `wire`: where its bytes are shown; None shows them nowhere."""

    channel: StreamChannel
    timing: Timing
    wire: Wire | None = None
    speed: Speed = Speed()

    @asynccontextmanager
    async def conversation(self, codec: Codec[F]) -> AsyncIterator[Conversation[F]]:
        """The line, open as long as it is talked on. LineDown when it cannot be opened."""
        async with self.channel:
            yield Conversation(
                self.channel,
                codec,
                line=self.channel.name,
                timing=self.timing,
                wire=self.wire,
            )
