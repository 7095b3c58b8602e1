"""The supply commands of one route: when to look for them, and how what became of them is written
down."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool

from daemon.control.authority import Authority
from daemon.control.commands import CommandStep
from daemon.transactions.observe import take_answer, take_observation
from daemon.transactions.release import abandon_trip, is_still_released, take_step
from protocols.errors import LineDown
from protocols.reading import RelayState
from storage import supply
from storage.supply import Command

log = structlog.get_logger("control")
DATABASE_RETRY_S = 5.0


class LineCommands:
    """A line or gateway takes its orders from here, one at a time. `wake` when a command may be
    waiting, also at the start: thousands of lines do not ask for themselves."""

    def __init__(
        self,
        route: str,
        pool: AsyncConnectionPool[Any],
        authority: Authority,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._route, self._pool, self._authority, self._now = route, pool, authority, now
        self._look_at: datetime | None = None

    def wake(self) -> None:
        """Look at once."""
        self._look_at = self._now()

    def due_in_s(self) -> float:
        """Seconds until there is something to look at; infinite when nothing is known of."""
        return (
            float("inf")
            if self._look_at is None
            else max(0.01, (self._look_at - self._now()).total_seconds())
        )

    def is_due(self) -> bool:
        """True if `serve` would look now."""
        return self._look_at is not None and self._look_at <= self._now()

    async def serve(self, do: Callable[[CommandStep], Awaitable[None]]) -> bool:
        """Do the next order if one is due; True if there was one. Without the database control
        stops."""
        if not self.is_due():
            return False
        now = self._now()
        self._look_at = None  # whoever wakes us from here on sets it again
        try:
            async with self._pool.connection() as connection:
                order = await take_step(connection, self._authority, self._route, now)
                if order is None:
                    next_due = await supply.next_due(connection, self._route)
                    # What is due and was not released (shadow mode, hold on the site lost) is
                    # looked at later.
                    self._look_no_later(
                        next_due and max(next_due, now + timedelta(seconds=DATABASE_RETRY_S))
                    )
                    return False
            self._look_no_later(now)
            await do(order)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            log.error("control stopped, database away", line=self._route, error=str(error).strip())
            self._look_no_later(now + timedelta(seconds=DATABASE_RETRY_S))
            return False
        except (LineDown, asyncio.CancelledError):
            self._look_no_later(now)  # whoever goes on with this route finds what was left
            raise
        except Exception:
            self._look_at = now + timedelta(
                seconds=DATABASE_RETRY_S
            )  # one order must not keep the line from the rest
            raise
        return True

    async def is_still_released(self, command: Command) -> bool:
        """Right before its frame leaves: nobody superseded it since it was released."""
        async with self._pool.connection() as connection:
            if await is_still_released(connection, command):
                return True
        log.info("not sent, superseded", command=str(command.id), point=command.point_id)
        return False

    async def answered(self, command: Command, state: str, detail: str) -> None:
        """What came back for the command: acked, refused or unknown."""
        async with self._pool.connection() as connection:
            await take_answer(
                connection,
                command,
                state,
                detail,
                self._now(),
            )

    async def abandon(self, command: Command, reason: str) -> None:
        """A trip that was released and not sent."""
        async with self._pool.connection() as connection:
            await abandon_trip(connection, command, reason, self._now())

    async def observed(self, command: Command, relay: RelayState | None) -> None:
        """The relay as its meter told it; None when it told nothing."""
        async with self._pool.connection() as connection:
            await take_observation(connection, command, relay, self._now())

    async def disown(self, order: CommandStep) -> None:
        """Its meter was taken out of the archive while the command was open: a person has to
        act."""
        command = order.command
        log.error(
            "command for a meter that is not in the archive",
            meter=command.address,
            command=str(command.id),
        )
        if order.kind == "send":
            await self.answered(command, "unknown", "the meter is not in the archive any more")
        else:
            await self.observed(command, None)

    def _look_no_later(self, at: datetime | None) -> None:
        if at is not None and (self._look_at is None or at < self._look_at):
            self._look_at = at
