"""How much of what waits on disk is stored at once."""

from __future__ import annotations

from daemon.pipeline.portions import LEAST_DRAINED, MOST_DRAINED, QUICK_S, SLOW_S, next_portion


def test_what_is_drained_at_once_follows_the_database() -> None:
    assert next_portion(1000, 1000, QUICK_S / 2) == 2000
    assert next_portion(1000, 3, QUICK_S / 2) == 1000, "a small rest says nothing"
    assert next_portion(1000, 1000, (QUICK_S + SLOW_S) / 2) == 1000
    assert next_portion(1000, 1000, SLOW_S * 2) == 500
    assert next_portion(LEAST_DRAINED, LEAST_DRAINED, 60.0) == LEAST_DRAINED
    assert next_portion(MOST_DRAINED, MOST_DRAINED, 0.0) == MOST_DRAINED
