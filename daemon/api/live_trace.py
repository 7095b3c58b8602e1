"""The pieces of a line's wire trace on their way to one reader, who may be slow."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from daemon.acquisition.wire_trace import WireTrace

MOST_UNREAD: Final = 1000
"""Maximum number of pieces that wait for a slow reader; those after them are dropped and
counted."""


class LiveTrace:
    """Takes pieces while it `watches`. The line does not wait for it."""

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._pieces: asyncio.Queue[dict[str, Any]] = asyncio.Queue(MOST_UNREAD)
        self._dropped = 0

    @contextmanager
    def watches(self, trace: WireTrace) -> Iterator[None]:
        """Pieces come while the block runs."""
        trace.watchers.add(self._take)
        try:
            yield
        finally:
            trace.watchers.discard(self._take)

    async def next(self, within_s: float) -> list[dict[str, Any]]:
        """The next piece, as a list; empty when none comes in time.

        `at`, `direction`, `bytes`; behind it `dropped` when pieces were lost before the reader
        caught up."""
        try:
            async with asyncio.timeout(within_s):
                piece = await self._pieces.get()
        except TimeoutError:
            return []
        if not self._dropped or not self._pieces.empty():
            return [piece]
        dropped = {"dropped": self._dropped}
        self._dropped = 0
        return [piece, dropped]

    def _take(self, direction: str, shown: str) -> None:
        if self._pieces.full():
            self._dropped += 1
            return
        # Stamped here, not when it is read: a slow reader is late, the piece was not.
        at = datetime.now(self._zone).isoformat(timespec="milliseconds")
        self._pieces.put_nowait(
            {
                "at": at,
                "direction": direction,
                "bytes": shown,
            }
        )
