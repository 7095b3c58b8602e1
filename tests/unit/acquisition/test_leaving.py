"""Freezes that can be had no more are told before, and counted when they are."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import structlog

from daemon import metrics
from daemon.acquisition.jobs import Jobs
from daemon.acquisition.rounds import begin_round
from tests.line_parts import line_parts
from tests.wire.acquisition.test_wire_line import _meter

NIGHT = datetime(2026, 5, 19, 16, 10, tzinfo=UTC)
"""00:10 of 20 May in Shanghai."""
TODAY = date(2026, 5, 20)


class Night:
    """Jobs of two meters that remember ten days, and the time, which a test moves."""

    def __init__(self, line: str, taken_in_on: date | None = None) -> None:
        self.now = NIGHT
        meters = [replace(_meter(number), taken_in_on=taken_in_on) for number in (0, 1)]
        parts = line_parts(line, meters, now=lambda: self.now, backfill_days=10)
        self.jobs = Jobs(parts, has_memory=[True, True], longest_wait_s=1.0)

    def passes(self, days: int) -> list[dict[str, Any]]:
        """What is logged in the first round of that later day."""
        self.now += timedelta(days=days)
        with structlog.testing.capture_logs() as logged:
            begin_round(self.jobs)
        return [dict(entry) for entry in logged]

    def has(self, *ages: int) -> None:
        """The first meter lacks nothing, the second has these alone."""
        bits = sum(1 << age for age in ages)
        self.jobs.wanted.rebuild([(1 << 10) - 1, bits], TODAY)


def lost(line: str) -> float:
    return float(metrics.SLOTS_LOST.labels(line)._value.get())


def test_what_is_about_to_be_lost_is_told_once_a_day() -> None:
    night = Night("leaving")
    night.has(0, 1, 2, 3, 4, 5, 6, 8, 9)
    (told,) = night.passes(1)
    assert (told["event"], told["log_level"]) == ("about to be lost", "error")
    assert (told["slots"], told["first"]) == (1, "000000000002")
    assert night.passes(0) == []
    assert len(night.jobs.leaving()) == 1


def test_what_is_lost_is_told_and_counted() -> None:
    night = Night("losing")
    night.has(0, 1, 2, 3, 4, 5, 6, 7)
    (told,) = night.passes(2)
    assert (told["event"], told["slots"], told["first"]) == ("freezes lost", 2, "000000000002")
    assert lost("losing") == 2


def test_of_meters_that_were_just_taken_in_nothing_is_about_to_be_lost() -> None:
    assert Night("taken in", taken_in_on=TODAY).passes(1) == []


def test_of_a_line_that_has_everything_nothing_is_told() -> None:
    night = Night("complete")
    night.has(*range(10))
    assert night.passes(1) == []
    assert lost("complete") == 0
