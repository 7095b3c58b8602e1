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
