"""The connection breaks at each statement of a line that executes commands: no frame is sent twice,
and what is believed of a relay is where it is."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import pytest
from psycopg import AsyncConnection

from daemon.transactions.collect import process
from daemon.transactions.line_commands import LineCommands, LineCommandStep
from storage.database import Pool
from tests.conftest import new_database
from tests.database.site_with_a_past import what_comes_then
from tests.database.small_site import ARMED, NOW, connect, meters, rows
from tests.database.transactions.test_fault_points import Stage, past, places
from tests.database.transactions.test_supply import CLOSED, OPENED, READY
from tests.servers.breaking_wire import Break, Wire

__all__ = ["past"]

FIRST: Final = {"trip": CLOSED, "allow_close": OPENED}
"""Where a relay is before the command's frame, and behind it."""
LAST: Final = {"trip": OPENED, "allow_close": READY}
LOOK: Final = timedelta(seconds=6)
MOST_LOOKS: Final = 60
STEP: Final = 24
"""Places inside transactions at which the wire breaks, besides all their ends."""
OPEN_COMMANDS: Final = (
    "SELECT FROM command WHERE state IN ('persisted', 'sent', 'acked', 'unknown', 'verifying')"
)
OUTCOME: Final = """
    SELECT p.number, c.action, c.state, v.supply_state FROM command c JOIN point p ON p.id = point_id
    JOIN point_supply v USING (point_id) WHERE c.created_at > %s ORDER BY 1, 2"""


@dataclass
class Relays:
    """Relays behind one line, and each frame that reached them."""

    now: datetime = NOW
    frames: Counter[UUID] = field(default_factory=Counter)

    async def clock(self, _: AsyncConnection[Any]) -> datetime:
        return self.now

    async def execute(self, step: LineCommandStep) -> None:
        """As a line does it: the last look, the frame, its answer; or the relay read back."""
        command = step.command
        if step.kind == "verify":
            is_there = self.frames[command.id] > 0
            await step.observed((LAST if is_there else FIRST)[command.action])
        elif await step.is_still_released():
            self.frames[command.id] += 1
            await step.answered("acked", "accepted")


@dataclass(frozen=True)
class Told:
    """What became of commands: how often each was sent, and rows of OUTCOME."""

    frames: list[int]
    outcome: list[Any]


@pytest.fixture(scope="module")
def commanded(past: Stage) -> Iterator[Stage]:
    """A trip and a reconnect wait for their line."""

    async def prepare(name: str) -> None:
        async with await connect(past.server.url(name)) as connection:
            await process(connection, what_comes_then(await meters(connection)), ARMED, NOW)
            waiting = await rows(connection, "SELECT action FROM command WHERE state = 'persisted'")
            assert sorted(waiting) == ["allow_close", "trip"]

    with new_database(past.server, past.template) as name:
        asyncio.run(prepare(name))
        yield replace(past, template=name)


def told(stage: Stage, at: int | None, how: Break) -> Told:
    """What becomes of the commands when the line's wire is disturbed at this statement."""

    async def story(wire: Wire, name: str) -> Told:
        async with await connect(wire.server.url(name)) as watching:
            return await executed(wire, name, watching)

    with new_database(stage.server, stage.template) as name:
        stage.wire.listen(at, how)
        return asyncio.run(story(stage.wire, name))


async def executed(wire: Wire, name: str, watching: AsyncConnection[Any]) -> Told:
    relays = Relays()
    async with Pool(wire.url(name), most=1) as pool:
        line = LineCommands("line", pool, ARMED, clock=relays.clock)
        for _ in range(MOST_LOOKS):
            if not await rows(watching, OPEN_COMMANDS):
                break
            relays.now += LOOK
            line.wake()
            await line.serve(relays.execute)
    outcome = await rows(watching, OUTCOME, NOW - timedelta(minutes=1))
    return Told(sorted(relays.frames.values()), outcome)


@pytest.mark.timeout(600)
def test_a_command_is_sent_once_and_ends_where_its_relay_is_wherever_the_connection_breaks(
    commanded: Stage,
) -> None:
    how = Break.AFTER  # a break before a statement is one after the statement before it
    truth = told(commanded, None, how)
    statements = list(commanded.wire.statements)
    assert truth.frames == [1, 1]
    for at in places(statements, STEP):
        found = told(commanded, at, how)
        assert commanded.wire.has_broken
        assert found == truth, (
            f"broken {how.value}, at {at} of {len(statements)}: {statements[at - 1][:200]}"
        )
