"""When a line looks for what it has to do next, and that nothing is done without the database."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from datetime import datetime
from math import inf
from typing import Any, Generic, TypeVar

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from daemon.control.authority import Authority
from daemon.control.sources import FarEnd
from protocols.errors import LineDown
from storage import supply
from storage.blame import is_of_the_whole
from storage.supply import DatabaseClock

log = structlog.get_logger("control")
S = TypeVar("S")
DATABASE_RETRY_S = 5.0
MIN_WAIT_S = 0.01
"""What is due and could not be served yet does not make its line spin."""


class LineSteps(ABC, Generic[S]):
    """A line gets its steps from here, one at a time.

    `wake` when one may be waiting, also at the start: thousands of lines do not look by
    themselves."""

    __slots__ = ("_authority", "_clock", "_line", "_look_at_s", "_monotonic", "_pool")

    def __init__(
        self,
        line: str,
        pool: AsyncConnectionPool[Any],
        authority: Authority,
        monotonic: Callable[[], float] = time.monotonic,
        clock: DatabaseClock = supply.database_clock,
    ) -> None:
        """`clock`: what steps are dated and judged by."""
        self._line = line
        self._pool = pool
        self._authority = authority
        self._clock = clock
        self._monotonic = monotonic
        self._look_at_s = inf
        """A monotonic second: a step of the wall clock must not keep a customer dark (A11)."""

    @abstractmethod
    async def _step(
        self, connection: AsyncConnection[Any], now: datetime, far_end: FarEnd | None
    ) -> S | None:
        """The next step that is due."""

    @abstractmethod
    async def _next_due(self, connection: AsyncConnection[Any]) -> datetime | None:
        """When the next one will be; None when nothing is known of."""

    def wake(self) -> None:
        """Look at once."""
        self._look_at_s = self._monotonic()

    def due_in_s(self) -> float:
        """Seconds until there is something to look at; infinite when nothing is known of."""
        return max(MIN_WAIT_S, self._look_at_s - self._monotonic())

    def is_due(self) -> bool:
        """True if `serve` would look now."""
        return self._look_at_s <= self._monotonic()

    async def serve(
        self,
        execute: Callable[[S], Awaitable[None]],
        far_end: FarEnd | None = None,
    ) -> bool:
        """Execute the next step if one is due; True if there was one.

        Without the database control stops. `far_end`: who is at the other end of the line."""
        if not self.is_due():
            return False
        now_s = self._monotonic()
        retry_at_s = now_s + DATABASE_RETRY_S
        self._look_at_s = inf  # a wake from here on sets it again
        if self._is_hold_lost():
            # Nobody would release anything, and a database that hangs would keep the line waiting.
            self._look_no_later(retry_at_s)
            return False
        try:
            step = await self._take(far_end)
            if step is None:
                return False
            # There may be a further one behind it.
            self._look_no_later(now_s)
            await execute(step)
        except psycopg.Error as error:
            if not is_of_the_whole(error):
                self._look_at_s = retry_at_s
                raise
            log.error(
                "control stopped, database away",
                line=self._line,
                error=str(error).strip(),
            )
            self._look_no_later(retry_at_s)
            return False
        except (LineDown, asyncio.CancelledError):
            self._look_no_later(now_s)  # the next session of this line finds what was left
            raise
        except Exception:
            self._look_at_s = retry_at_s  # one step must not keep the line from the rest
            raise
        return True

    def _is_hold_lost(self) -> bool:
        hold = self._authority.hold
        return hold is not None and not hold.token

    async def _take(self, far_end: FarEnd | None) -> S | None:
        async with self._pool.connection() as connection:
            now = await self._clock(connection)
            step = await self._step(connection, now, far_end)
            if step is not None:
                return step
            next_due = await self._next_due(connection)
        if next_due is not None:
            left_s = (next_due - now).total_seconds()
            # What is due and was not released (shadow mode, hold on the site lost) is looked at
            # later.
            wait_s = left_s if left_s > 0 else DATABASE_RETRY_S
            self._look_no_later(self._monotonic() + wait_s)
        return None

    def _look_no_later(self, at_s: float) -> None:
        self._look_at_s = min(self._look_at_s, at_s)
