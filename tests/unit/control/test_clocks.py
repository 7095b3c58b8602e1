"""When the host's clock is believed."""

from datetime import UTC, datetime, timedelta

import pytest

from daemon.control.clocks import Clocks

NOW = datetime(2026, 3, 11, 2, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("apart_s", "host_s", "found_s"), [(0, 7, 7), (0, -7, -7), (3, 1, 3), (-3, 1, -3), (3, -4, -4)]
)
def test_at_a_release_the_worse_of_two_comparisons_counts(
    apart_s: int, host_s: int, found_s: int
) -> None:
    clocks = Clocks(apart=timedelta(seconds=apart_s))
    found = clocks.beside(NOW + timedelta(seconds=host_s), NOW)
    assert found.apart == timedelta(seconds=found_s)
    assert clocks.apart == timedelta(seconds=apart_s)


def test_a_host_that_is_ahead_is_told_so_and_nothing_else_speaks_against_it() -> None:
    clocks = Clocks()
    assert (clocks.apart, clocks.doubt()) == (timedelta(0), "")
    clocks.see(NOW + timedelta(seconds=7), NOW)
    assert clocks.apart == timedelta(seconds=7)
