"""Whether the host's clock can be believed: steps, and what speaks against it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
import structlog
from prometheus_client import REGISTRY

from daemon.runtime import host_clock
from daemon.runtime.host_clock import DOUBTED_FOR_S, HostClock
from daemon.runtime.kernel_clock import is_synchronised

NOON = datetime(2026, 3, 16, 4, tzinfo=UTC)


class Host:
    """A machine with a wall clock that can be set, and a monotonic one that cannot."""

    def __init__(self, **how: Any) -> None:
        self.wall_s = NOON.timestamp()
        self.monotonic_s = 1000.0
        self.clock = HostClock(wall=lambda: self.wall_s, monotonic=lambda: self.monotonic_s, **how)

    def passes(self, seconds: float, *, wall_s: float | None = None) -> float:
        """So much time; what the clock makes of it."""
        self.monotonic_s += seconds
        self.wall_s += seconds if wall_s is None else wall_s
        return self.clock.look()


@pytest.mark.parametrize("by_s", [-3600.0, -1.5, 1.5, 3600.0])
def test_a_step_forward_or_back_is_noticed_once(by_s: float) -> None:
    host = Host()
    assert host.passes(1) == 0
    assert host.passes(1, wall_s=1 + by_s) == pytest.approx(by_s)
    assert host.passes(1) == 0
    assert host.clock.steps == 1


def test_a_clock_that_is_kept_right_in_small_steps_is_no_step() -> None:
    host = Host()
    assert [host.passes(60, wall_s=60.03) for _ in range(100)] == [0] * 100
    assert host.clock.doubt == ""


def test_after_a_large_step_it_is_doubted_for_an_hour_and_after_a_small_one_not() -> None:
    host = Host()
    host.passes(1, wall_s=6)
    assert host.clock.doubt == ""
    host.passes(1, wall_s=61)
    assert "stepped by +60 s" in host.clock.doubt
    host.passes(DOUBTED_FOR_S - 1)
    assert host.clock.doubt
    host.passes(1)
    assert host.clock.doubt == ""


def test_a_clock_behind_what_is_stored_is_doubted_until_it_is_past_it() -> None:
    host = Host()
    host.clock.arrived(NOON + timedelta(hours=2))
    host.clock.arrived(None)
    host.clock.arrived(NOON)
    host.passes(1)
    assert "behind a reading" in host.clock.doubt
    host.passes(2 * 3600 - 60)
    assert host.clock.doubt == ""


@pytest.mark.parametrize(
    ("skews_s", "is_doubted"),
    [
        ([], False),
        ([3600], False),
        ([3600, 3600], False),
        ([3600, 3601, 3500], True),
        ([-400, -420, -380, 0], True),
        ([0, 2, 3600, -5], False),
        ([3600, -7200, 9000, 86_400], False),
        ([300, 299, 300], False),
    ],
)
def test_most_meters_whose_clocks_agree_say_more_than_the_host(
    skews_s: list[int], is_doubted: bool
) -> None:
    host = Host()
    host.clock.compare(np.array(skews_s, dtype=np.int32))
    host.passes(1)
    assert ("meters' clocks" in host.clock.doubt) == is_doubted
    host.clock.compare(np.zeros(3, dtype=np.int32))
    host.passes(1)
    assert host.clock.doubt == ""


@pytest.mark.parametrize("must", [True, False])
def test_what_the_kernel_says_counts_where_the_site_says_so(
    must: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(must_be_synchronised=must)
    said: dict[bool | None, bool] = {}
    for says in (True, None, False):
        monkeypatch.setattr(host_clock, "is_synchronised", lambda says=says: says)
        host.passes(1)
        said[says] = bool(host.clock.doubt)
    assert said == {True: False, None: False, False: must}


def test_the_kernel_can_be_asked() -> None:
    assert is_synchronised() in (True, False, None)


def test_a_doubt_is_told_once_and_that_it_is_over_once() -> None:
    host = Host()
    with structlog.testing.capture_logs() as logged:
        host.passes(1, wall_s=-500)
        shown = REGISTRY.get_sample_value("meterd_host_clock_doubted")
        for _ in range(80):
            host.passes(60)
    assert shown == 1
    assert REGISTRY.get_sample_value("meterd_host_clock_doubted") == 0
    assert [it["event"].split(":")[0] for it in logged] == [
        "host clock doubted",
        "host clock is believed again",
    ]
