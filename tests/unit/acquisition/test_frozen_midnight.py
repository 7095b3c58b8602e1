"""Of which midnight a host's read is the freeze, if of one (V04)."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest

from daemon.acquisition.planning.midnight import frozen_midnight

MIDNIGHT = datetime(2026, 3, 2)
LONG_AGO = date(2020, 1, 1)


def frozen(device_s: float, now_s: float, installed_on: date = LONG_AGO) -> float | None:
    """The distance in seconds from MIDNIGHT that is kept; None if it is no freeze of that one."""
    device, now = (MIDNIGHT + timedelta(seconds=s) for s in (device_s, now_s))
    found = frozen_midnight(device, now, installed_on)
    if found is None:
        return None
    midnight, offset = found
    assert midnight == MIDNIGHT
    return offset.total_seconds()


@pytest.mark.parametrize(
    ("device_s", "now_s", "kept_s"), [(3, 5, 5), (5, 3, 5), (-8, 2, -8), (1, -20, -20), (60, 1, 60)]
)
def test_the_worse_distance_of_the_two_clocks_is_kept(
    device_s: float, now_s: float, kept_s: float
) -> None:
    assert frozen(device_s, now_s) == kept_s


@pytest.mark.parametrize(("device_s", "now_s"), [(61, 1), (1, 61), (-61, -1), (31, -30)])
def test_by_either_clock_it_must_be_near_and_both_must_agree(device_s: float, now_s: float) -> None:
    assert frozen(device_s, now_s) is None


def test_a_midnight_before_the_meter_was_there_is_not_its_own() -> None:
    assert frozen(1, 1, MIDNIGHT.date()) == 1
    assert frozen(1, 1, MIDNIGHT.date() + timedelta(days=1)) is None
