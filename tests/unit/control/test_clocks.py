"""When the host's clock is believed."""

from datetime import UTC, datetime, timedelta

import pytest

from daemon.control.clocks import Clocks

NOW = datetime(2026, 3, 11, 2, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("passed_s", "monotonic_s", "has_stepped"),
    [(600, 600, False), (660, 600, False), (661, 600, True), (-61, 0, True), (-60, 0, False)],
)
def test_a_clock_that_goes_otherwise_than_time_has_stepped(
    passed_s: float, monotonic_s: float, has_stepped: bool
) -> None:
    clocks = Clocks()
    clocks.see(NOW, 100.0, NOW)
    assert clocks.stepped_at is None
    later = NOW + timedelta(seconds=passed_s)
    clocks.see(later, 100.0 + monotonic_s, later - timedelta(seconds=3))
    assert clocks.stepped_at == (later if has_stepped else None)
    assert clocks.apart == timedelta(seconds=3)
    clocks.see(later, 100.0 + monotonic_s, later)
    assert clocks.apart == timedelta(0)
    assert clocks.stepped_at == (later if has_stepped else None)


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
