"""Neighbouring days of which the same is to be said are one run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

from daemon.quality.tasks import Doubtful


def runs_of(days: Iterable[Doubtful]) -> list[Doubtful]:
    """`days` in order of points and days; a run keeps the register of its first day.

    Held use is never drawn together: each span is released by itself."""
    runs: list[Doubtful] = []
    for day in days:
        if runs and _continues(runs[-1], day):
            runs[-1] = replace(runs[-1], last_day=day.last_day)
        else:
            runs.append(day)
    return runs


def _continues(run: Doubtful, day: Doubtful) -> bool:
    return (
        run.hold is None
        and day.hold is None
        and run.last_day + timedelta(days=1) == day.first_day
        and (run.point, run.state, run.codes, run.next_step)
        == (day.point, day.state, day.codes, day.next_step)
    )
