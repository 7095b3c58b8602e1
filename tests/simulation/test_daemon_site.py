"""Seeded sites through the daemon's transactions: `make simulate-daemon` has ten, the suite one."""

import asyncio
import os

import pytest

from tests.database.small_site import connect
from tests.simulation.daemon_site import simulate_through_daemon

SEEDS = range(int(os.environ.get("SIMULATED_SEEDS", "1")))
POINTS = int(os.environ.get("SIMULATED_POINTS", "8"))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_database_shows_what_the_judge_says_every_evening_and_bills_what_was_used(
    database_url: str, owner_url: str, seed: int
) -> None:
    async def run() -> list[str]:
        async with await connect(database_url) as connection, await connect(owner_url) as arrange:
            return await simulate_through_daemon(connection, arrange, seed, POINTS)

    assert asyncio.run(run()) == []
