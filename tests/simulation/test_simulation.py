"""A few seeds of `make simulate`; the others run as a command."""

import pytest

from tests.simulation.lives import simulate
from tests.simulation.stories import STORIES


@pytest.mark.parametrize("seed", range(3))
def test_a_wrong_value_that_can_be_told_is_outvoted_and_every_hour_all_is_billed_or_named(
    seed: int,
) -> None:
    """Three honest days outvote one or two wrong ones, n + 1 honest days n of them,
    counted behind the last of those that stand together."""
    told = simulate(seed, points=40)
    assert told.mistakes == []
    assert told.counts["days published"] > 40 * 80


def test_every_story_is_told() -> None:
    counts = simulate(1_000, points=250).counts
    assert {story for story in STORIES if not counts[f"points {story}"]} == set()
    assert counts["points swap_addresses"]
