"""A few seeds of `make simulate-control` and a small utility; with `--all-servers` all of them."""

from __future__ import annotations

import pytest

from tests.simulation.control.lives import live
from tests.simulation.control.simulate import live_all, told
from tests.simulation.control.utility import cut_by_mood, month

SEEDS = 16
ALL_SEEDS = 1_000
ALL_STEPS = 1_000_000
SEEN = {
    "became disconnected",
    "became wait_customer_button",
    "became energised",
    "frames trip",
    "frames close",
    "frames allow_close",
}


@pytest.mark.timeout(1_800)
def test_nobody_is_cut_wrongly_and_who_paid_is_lit(request: pytest.FixtureRequest) -> None:
    is_all = request.config.getoption("--all-servers")
    lives = live_all(ALL_SEEDS if is_all else SEEDS, processes=2 if is_all else 1)
    assert [(life.seed, it) for life in lives for it in life.mistakes] == []
    assert told(lives).keys() >= SEEN
    assert sum(life.steps for life in lives) >= (ALL_STEPS if is_all else 0)


def test_a_seed_is_one_life() -> None:
    assert live(3) == live(3)


def test_eleven_days_of_a_small_utility() -> None:
    utility = month(customers=400, days=11)
    assert utility.world.watch.mistakes == []
    assert cut_by_mood(utility)["never"]
    assert cut_by_mood(utility)["depends on supply"] == 0
