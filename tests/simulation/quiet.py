"""The way of most values: arrays prove that they follow what is published, as in the daemon."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from daemon.quality.fleet import MISSING, Freezes, clean_points
from tests.simulation.life import LOOK_BACK_DAYS, Life
from tests.simulation.truth import rates_of

SHORTEST_DAY_S = 23 * 3600
"""Points of all zones lie in one array: what fits the shortest day fits every other."""


def proved_quiet(lives: Sequence[Life], now: int) -> dict[Life, set[int]]:
    """Of the points where nothing is open, those whose new values are clean too.

    With them the days on which the total has not moved for long (V10)."""
    if not lives:
        return {}
    days = range(now - LOOK_BACK_DAYS, now + 1)
    totals = np.array([life.steps_near(now) for life in lives], dtype=np.int64)
    with_rates = np.array([life.point.with_rates for life in lives])
    rates = np.where(with_rates[:, None] & (totals != MISSING), rates_of(totals), MISSING)
    every = np.ones(len(lives), dtype=np.int64)
    proved = clean_points(
        Freezes(
            totals=totals,
            modulus=np.array([life.point.modulus for life in lives]),
            max_daily=np.array([life.max_daily for life in lives]),
            wire_steps=every,
            midnight_s=np.arange(len(days)) * SHORTEST_DAY_S,
            plain=np.ones(len(lives), dtype=bool),
            confirmed=np.array([life.is_known for life in lives]),
            unchanged_days=0 * every,
            rates=rates,
        )
    )
    return {
        life: {days[column] for column in np.flatnonzero(proved.unchanged[row])}
        for row, life in enumerate(lives)
        if proved.clean[row] and not proved.waits[row]
    }
