"""What wakes a route: an event with one waiter. asyncio.Event keeps a queue of waiters, most of a
kilobyte a line."""

from __future__ import annotations

import asyncio


class Signal:
    """Rings until it is cleared. One task at a time may wait for it."""

    __slots__ = ("_rings", "_waiter")

    def __init__(self) -> None:
        self._rings = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Wake whoever waits, or will."""
        self._rings = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def clear(self) -> None:
        """Ring no more."""
        self._rings = False

    async def wait(self) -> None:
        """Until it rings."""
        if self._rings:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
