"""The supply commands of one line, and how their answers are stored."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import structlog
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from daemon.control.authority import Authority
from daemon.control.observation import Answer
from daemon.control.sources import FarEnd
from daemon.transactions.line_steps import LineSteps
from daemon.transactions.observe import take_answer, take_observation
from daemon.transactions.release import abandon_trip, is_still_released, take_step
from protocols.reading import RelayState
from storage import supply
from storage.supply import Command, DatabaseClock

log = structlog.get_logger("control")


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


class LineCommands(LineSteps[LineCommandStep]):
    """A line gets its commands from here, one step at a time."""

    __slots__ = ("_host_now",)

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
        super().__init__(line, pool, authority, monotonic, clock)
        self._host_now = host_now

    async def _step(
        self, connection: AsyncConnection[Any], now: datetime, far_end: FarEnd | None
    ) -> LineCommandStep | None:
        due = await take_step(
            connection,
            self._authority,
            self._line,
            now,
            far_end,
            self._host_now,
        )
        if due is None:
            return None
        return LineCommandStep(due.kind, due.command, self._pool, self._clock)

    async def _next_due(self, connection: AsyncConnection[Any]) -> datetime | None:
        return await supply.next_due(connection, self._line)
