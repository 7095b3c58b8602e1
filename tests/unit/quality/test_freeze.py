"""Which freezes count, and which of them a clock's offset judges."""

from datetime import date, timedelta

import pytest

from daemon.quality.freeze import UNTRUSTED_DATES, is_in_service, skew_at_freeze

TODAY = date(2026, 5, 2)
DAY = timedelta(days=1)
OFF = timedelta(minutes=7)
ASTRAY = UNTRUSTED_DATES + timedelta(seconds=1)


def test_a_freeze_counts_from_the_day_of_installation_on() -> None:
    days = [TODAY - DAY, TODAY, TODAY + DAY]
    assert [is_in_service(day, TODAY) for day in days] == [False, True, True]


@pytest.mark.parametrize(
    ("skew", "frozen_on", "measured_on", "expected"),
    [
        (OFF, TODAY, TODAY, OFF),
        (OFF, TODAY + DAY, TODAY, OFF),  # a clock that is ahead
        (OFF, TODAY - DAY, TODAY, None),
        (OFF, TODAY, None, None),
        (UNTRUSTED_DATES, TODAY - DAY, TODAY, None),
        (ASTRAY, TODAY - DAY, TODAY, ASTRAY),
        (-ASTRAY, TODAY, None, -ASTRAY),
        (None, TODAY, TODAY, None),
    ],
)
def test_an_offset_judges_the_freezes_of_its_day(
    skew: timedelta | None, frozen_on: date, measured_on: date | None, expected: timedelta | None
) -> None:
    assert skew_at_freeze(skew, frozen_on, measured_on) == expected
