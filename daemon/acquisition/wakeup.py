"""What wakes a line: an event with one waiter.

asyncio.Event keeps a queue of waiters, most of a kilobyte a line."""

from __future__ import annotations

import asyncio


class Signal:
    """Set until it is cleared. One task at a time may wait for it."""

    __slots__ = ("_is_set", "_waiter")

    def __init__(self) -> None:
        self._is_set = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Wake the task that waits, or will."""
        self._is_set = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def clear(self) -> None:
        """The next wait lasts until it is set again."""
        self._is_set = False

    async def wait(self) -> None:
        """Until it is set."""
        if self._is_set:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
