"""The same stories told to a real server beside the model: a few here, `make simulate-control-real` all."""

from __future__ import annotations

import os

import pytest

from tests.simulation.control.lives import live_beside

SEEDS = int(os.environ.get("REAL_CONTROL_SEEDS", "1"))
HOURS = 1.5 if SEEDS > 1 else 0.3


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("seed", range(5, 5 + SEEDS))
def test_the_server_does_what_the_model_does(owner_url: str, seed: int) -> None:
    life, differences = live_beside(owner_url, seed, HOURS)
    print(f"seed {seed}: {life.steps} steps")
    assert differences == []
    assert life.mistakes == []
    assert life.steps > 500
