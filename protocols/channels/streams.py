"""What the channels over asyncio streams have in common: bytes in and out, every failure told as LineDown."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Final, Self

from protocols.errors import LineDown

MOST_AT_ONCE: Final = 4096
SEND_TIMEOUT_S: Final = 10.0
"""A carrier that takes no byte of a frame for so long is gone; a frame of 267 bytes needs 9.8 s at 300 Bd."""


class StreamChannel(ABC):
    """A channel over a reader and a writer. `name` is what error texts call it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    @abstractmethod
    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open the carrier. LineDown when that fails."""

    async def send(self, data: bytes) -> None:
        """LineDown when the carrier is gone or takes nothing for SEND_TIMEOUT_S."""
        if self._writer is None:
            raise LineDown(f"{self.name}: not open")
        self._writer.write(data)
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._writer.drain()
        except TimeoutError:
            raise LineDown(f"{self.name}: nothing could be sent for {SEND_TIMEOUT_S:g} s") from None
        except OSError as error:
            raise LineDown(f"{self.name}: sending failed: {reason(error)}") from error

    async def receive(self) -> bytes:
        """At least one byte. LineDown when the other side closed."""
        if self._reader is None:
            raise LineDown(f"{self.name}: not open")
        try:
            data = await self._reader.read(MOST_AT_ONCE)
        except OSError as error:
            raise LineDown(f"{self.name}: receiving failed: {reason(error)}") from error
        if not data:
            raise LineDown(f"{self.name}: closed by the other side")
        return data

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await self._connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        writer, self._reader, self._writer = self._writer, None, None
        if writer is None:
            return
        writer.close()
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await writer.wait_closed()
        except OSError:  # TimeoutError is one: the carrier is gone already, which is what closing wants
            return


def reason(error: OSError) -> str:
    """The words of an operating system error without its number."""
    return error.strerror or str(error) or type(error).__name__
