"""Who comes with a payment goes before the next accounts that are settled."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

LONGEST_S: Final = 0.1
"""Settlement gives way for so long before each transaction: payments without end do not stop it."""


class RightOfWay:
    """Payments take it, settlement gives it for at most `longest_s`; both run in one event loop."""

    def __init__(self, longest_s: float = LONGEST_S) -> None:
        self._longest_s = longest_s
        self._claims = 0
        self._free = asyncio.Event()
        self._free.set()

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Meanwhile settlement begins no transaction, for a while."""
        self._claims += 1
        self._free.clear()
        try:
            yield
        finally:
            self._claims -= 1
            if not self._claims:
                self._free.set()

    @property
    def is_free(self) -> bool:
        """True while nobody claims it."""
        return self._free.is_set()

    async def given(self) -> None:
        """Until nobody claims it, or for as long as it is given at most."""
        if self.is_free:
            return
        try:
            async with asyncio.timeout(self._longest_s):
                await self._free.wait()
        except TimeoutError:
            pass
