"""What is made of the clocks of meters, also of those that keep standard time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import structlog

from daemon.acquisition.clocks import MeterClocks
from daemon.acquisition.site_clock import SiteClock
from tests.unit.acquisition.test_on_demand import a_meter

BERLIN = ZoneInfo("Europe/Berlin")
SUMMER, WINTER = datetime(2026, 7, 1, 12, tzinfo=UTC), datetime(2026, 1, 15, 12, tzinfo=UTC)
TODAY = date(2026, 7, 1).toordinal()
HOUR = timedelta(hours=1)


def clocks_at(now: datetime) -> MeterClocks:
    """Of one meter that keeps the zone's time, and one that keeps standard time."""
    meters = [a_meter(0, "1"), replace(a_meter(1, "1"), keeps_standard_time=True)]
    summer_time = SiteClock(BERLIN, lambda: now).summer_time
    return MeterClocks("1", meters, retry_s=0.0, sets_clocks=True, summer_time=summer_time)


@pytest.mark.parametrize(("now", "behind"), [(SUMMER, HOUR), (WINTER, timedelta())])
def test_standard_time_is_behind_the_zone_in_summer_alone(now: datetime, behind: timedelta) -> None:
    clocks = clocks_at(now)
    assert [clocks.behind(number) for number in (0, 1)] == [timedelta(), behind]


@pytest.mark.parametrize(("number", "is_wrong"), [(0, True), (1, False)])
def test_a_meter_that_is_said_to_keep_standard_time_is_right_when_it_is_an_hour_behind(
    number: int, is_wrong: bool
) -> None:
    clocks = clocks_at(SUMMER)
    with structlog.testing.capture_logs() as logged:
        clocks.record(number, -HOUR, TODAY)
    assert [it["event"] for it in logged] == ["meter clock is wrong"] * is_wrong
    assert clocks.needs_reading(number, TODAY) == is_wrong
    # The judge counts from the zone's time.
    assert clocks.skew(number) == -HOUR


def test_it_says_nothing_against_the_host_and_is_not_given_the_time_of_the_zone() -> None:
    clocks = clocks_at(SUMMER)
    clocks.record(1, -HOUR - timedelta(seconds=40), TODAY)
    assert clocks.skews_s().tolist() == [-40]
    assert clocks.next_to_set(date.fromordinal(TODAY)) is None
