"""What control writes is dated by the database's clock, whatever the host's shows (amendment 4)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg import AsyncConnection

from daemon.control.clocks import Clocks
from daemon.transactions.line_commands import LineCommands, LineCommandStep
from daemon.transactions.supply import request_trips
from storage import ledger, supply
from storage.database import Pool
from tests.database.small_site import ARMED, SHADOW, connect, on, rows
from tests.database.transactions.test_supply import exhausted

AHEAD = timedelta(hours=3)
TIMES = (
    "SELECT created_at, sent_at, next_at - interval '5 seconds' FROM command",
    "SELECT at, at, at FROM command_event",
)


async def times_of(connection: AsyncConnection[Any]) -> list[datetime]:
    return [at for query in TIMES for row in await rows(connection, query) for at in row]


async def owes(connection: AsyncConnection[Any]) -> None:
    """Its trip is asked for now, by the database's clock."""
    await exhausted(connection, authority=SHADOW)
    (account,) = await rows(connection, "SELECT id FROM account")
    async with connection.transaction():
        await ledger.lock_accounts(connection, [account])
        await request_trips(connection, ARMED, [account], await supply.database_clock(connection))


async def carried(step: LineCommandStep) -> None:
    await step.answered("acked", "accepted")


def test_a_command_is_dated_by_the_database_on_a_host_that_is_three_hours_ahead(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        begun = await supply.database_clock(connection)
        await owes(connection)
        async with await connect(database_url) as other, Pool(database_url, most=1) as pool:
            line = LineCommands("line", pool, ARMED, lambda: datetime.now(UTC) + AHEAD)
            line.wake()
            assert await line.serve(carried)
            ended = await supply.database_clock(other)
            for at in await times_of(other):
                assert begun <= at <= ended

    on(database_url, story)


@pytest.mark.parametrize("ahead", [timedelta(0), AHEAD, -AHEAD])
def test_the_host_beside_the_database_still_speaks_against_a_trip(
    database_url: str, ahead: timedelta
) -> None:
    careful = replace(
        ARMED,
        policy=replace(ARMED.policy, max_clocks_apart=timedelta(minutes=5)),
        clocks=Clocks(),
    )

    async def story(connection: AsyncConnection[Any]) -> None:
        await owes(connection)
        async with Pool(database_url, most=1) as pool:
            line = LineCommands("line", pool, careful, lambda: datetime.now(UTC) + ahead)
            line.wake()
            assert await line.serve(carried) is not bool(ahead)
        (told,) = await rows(connection, "SELECT detail FROM command")
        assert ("CLOCK_UNSURE" in told) is bool(ahead)

    on(database_url, story)
