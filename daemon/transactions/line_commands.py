"""The supply commands of one line: when to look for them, and how their answers are stored."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf
from typing import Any, Literal

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool

from daemon.control.authority import Authority
from daemon.control.observation import Answer
from daemon.control.sources import FarEnd
from daemon.transactions.observe import take_answer, take_observation
from daemon.transactions.release import abandon_trip, is_still_released, take_step
from protocols.errors import LineDown
from protocols.reading import RelayState
from storage import supply
from storage.blame import is_of_the_whole
from storage.supply import Command, DatabaseClock

log = structlog.get_logger("control")
DATABASE_RETRY_S = 5.0
MIN_WAIT_S = 0.01
"""What is due and could not be served yet does not make its line spin."""


@dataclass(frozen=True, slots=True)
class LineCommandStep:
    """One step of a command, for the line that executes it.

    Each answer is a transaction of its own, committed before the call returns.
    """

    kind: Literal["send", "verify"]
    command: Command
    pool: AsyncConnectionPool[Any]
    clock: DatabaseClock

    async def is_still_released(self) -> bool:
        """True if nothing superseded the command since it was released.

        To be read right before the frame leaves."""
        command = self.command
        async with self.pool.connection() as connection:
            if await is_still_released(connection, command):
                return True
        log.info(
            "not sent, superseded",
            command=str(command.id),
            point=command.point,
        )
        return False

    async def answered(self, answer: Answer, detail: str) -> None:
        """What came back for the control frame."""
        async with self.pool.connection() as connection:
            await take_answer(
                connection,
                self.command,
                answer,
                detail,
                await self.clock(connection),
            )

    async def abandon(self, reason: str) -> None:
        """A trip that was released and not sent."""
        async with self.pool.connection() as connection:
            await abandon_trip(
                connection,
                self.command,
                reason,
                await self.clock(connection),
            )

    async def observed(self, relay: RelayState | None) -> None:
        """The relay as it was read; None when it could not be."""
        async with self.pool.connection() as connection:
            await take_observation(
                connection,
                self.command,
                relay,
                await self.clock(connection),
            )

    async def orphan(self) -> None:
        """The meter left the archive while the command was open: a person has to act."""
        log.error(
            "command for a meter that is not in the archive",
            meter=self.command.address,
            command=str(self.command.id),
        )
        if self.kind == "send":
            await self.answered("unknown", "the meter is not in the archive any more")
        else:
            await self.observed(None)


class LineCommands:
    """A line gets its commands from here, one step at a time.

    `wake` when one may be waiting, also at the start: thousands of lines do not look by
    themselves."""

    __slots__ = (
        "_authority",
        "_clock",
        "_host_now",
        "_line",
        "_look_at_s",
        "_monotonic",
        "_pool",
    )

    def __init__(
        self,
        line: str,
        pool: AsyncConnectionPool[Any],
        authority: Authority,
        host_now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        clock: DatabaseClock = supply.database_clock,
    ) -> None:
        """`clock`: what commands are dated and judged by; `host_now`: what is held against it."""
        self._line = line
        self._pool = pool
        self._authority = authority
        self._host_now = host_now
        self._clock = clock
        self._monotonic = monotonic
        self._look_at_s = inf
        """A monotonic second: a step of the wall clock must not keep a customer dark (A11)."""

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
        execute: Callable[[LineCommandStep], Awaitable[None]],
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

    async def _take(self, far_end: FarEnd | None) -> LineCommandStep | None:
        async with self._pool.connection() as connection:
            now = await self._clock(connection)
            due = await take_step(
                connection,
                self._authority,
                self._line,
                now,
                far_end,
                self._host_now,
            )
            if due is None:
                next_due = await supply.next_due(connection, self._line)
                if next_due is not None:
                    left_s = (next_due - now).total_seconds()
                    # What is due and was not released (shadow mode, hold on the site lost) is
                    # looked at later.
                    wait_s = left_s if left_s > 0 else DATABASE_RETRY_S
                    self._look_no_later(self._monotonic() + wait_s)
                return None
        return LineCommandStep(
            due.kind,
            due.command,
            self._pool,
            self._clock,
        )

    def _look_no_later(self, at_s: float) -> None:
        self._look_at_s = min(self._look_at_s, at_s)
