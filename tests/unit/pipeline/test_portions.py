"""How much of what waits on disk is stored at once."""

from __future__ import annotations

from daemon.pipeline.portions import LEAST_DRAINED, MOST_DRAINED, PORTION_S, next_portion


def test_what_is_drained_at_once_is_what_the_database_stores_in_the_time_of_a_portion() -> None:
    assert next_portion(1000, 1000, PORTION_S / 4) == 4000
    assert next_portion(1000, 1000, PORTION_S) == 1000
    assert next_portion(1000, 1000, PORTION_S * 2) == 500


def test_a_small_rest_says_nothing_unless_it_is_slow() -> None:
    assert next_portion(1000, 300, PORTION_S / 2) == 1000
    assert next_portion(1000, 300, PORTION_S * 2) == 150


def test_a_portion_is_never_too_small_and_never_too_large() -> None:
    assert next_portion(LEAST_DRAINED, LEAST_DRAINED, 60.0) == LEAST_DRAINED
    assert next_portion(MOST_DRAINED, MOST_DRAINED, PORTION_S / 9) == MOST_DRAINED
    assert next_portion(1000, 1000, 0.0) == 1000, "a clock that did not move says nothing"
