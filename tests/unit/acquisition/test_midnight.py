"""Which meter without memory is read when, around local midnight."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from daemon.acquisition.planning.midnight import Midnights, near_midnight, nearest_midnight
from daemon.quality.freeze import freeze_day

MIDNIGHT = datetime(2026, 3, 2)


def at(seconds: float) -> datetime:
    return MIDNIGHT + timedelta(seconds=seconds)


def midnights(*meters: int) -> Midnights:
    """Of meters that were installed long ago."""
    return Midnights(dict.fromkeys(meters, date(2020, 1, 1)))


@pytest.mark.parametrize(
    ("seconds", "is_open"), [(-1, False), (-0.2, True), (0, True), (60, True), (60.1, False)]
)
def test_the_window_is_open_from_half_a_round_before_midnight_to_a_minute_after(
    seconds: float, is_open: bool
) -> None:
    two_meters = midnights(4, 7)
    assert (two_meters.next(at(seconds)) is not None) == is_open


def test_a_meter_that_fails_is_asked_ever_more_rarely() -> None:
    """Whatever came back: a gateway that refuses at once would be asked thousands of times."""
    one = midnights(1)
    asked = [second for second in range(61) if one.next(at(second)) is not None]
    assert asked == [0, 1, 3, 7, 15, 31]


def test_that_a_meter_was_read_in_vain_is_told_once_a_midnight() -> None:
    meters, tomorrow = midnights(1, 2), MIDNIGHT + timedelta(days=1)
    nights = [(1, MIDNIGHT), (1, MIDNIGHT), (2, MIDNIGHT), (1, tomorrow), (1, tomorrow)]
    told = [meters.failed(meter, midnight) for meter, midnight in nights]
    assert told == [True, False, True, True, False]


def test_many_meters_begin_at_most_thirty_seconds_early() -> None:
    crowd = midnights(*range(10_000))
    assert crowd.next(at(-30.1)) is None
    assert crowd.next(at(-30)) == (0, MIDNIGHT)


def test_each_meter_is_read_once_and_the_silent_one_again_after_the_others() -> None:
    meters = midnights(1, 2, 3)
    assert meters.next(at(0)) == (1, MIDNIGHT)
    assert meters.next(at(1)) == (2, MIDNIGHT)
    meters.done(2, MIDNIGHT)
    assert meters.next(at(2)) == (3, MIDNIGHT)
    meters.done(3, MIDNIGHT)
    assert meters.next(at(3)) == (1, MIDNIGHT)
    meters.done(1, MIDNIGHT)
    assert meters.next(at(4)) is None
    tomorrow = MIDNIGHT + timedelta(days=1)
    assert meters.next(tomorrow) == (1, tomorrow)


def test_the_line_sleeps_until_the_next_window_and_for_ever_without_such_meters() -> None:
    assert midnights().due_in_s(at(0)) == float("inf")
    assert midnights().next(at(0)) is None
    assert midnights(1).due_in_s(at(-3600)) == pytest.approx(3600 - 0.1)
    assert midnights(1).due_in_s(at(61)) == pytest.approx(86_400 - 61.1)


def test_the_nearest_midnight_is_less_than_twelve_hours_away() -> None:
    assert nearest_midnight(datetime(2026, 3, 1, 12)) == MIDNIGHT
    assert nearest_midnight(datetime(2026, 3, 2, 11, 59, 59)) == MIDNIGHT
    assert nearest_midnight(datetime(2026, 12, 31, 23)) == datetime(2027, 1, 1)


@pytest.mark.parametrize(
    ("offset_s", "day"), [(-60, date(2026, 3, 2)), (60, date(2026, 3, 2)), (60.001, None)]
)
def test_a_value_read_by_the_host_is_a_freeze_within_a_minute_of_midnight(
    offset_s: float, day: date | None
) -> None:
    assert freeze_day(MIDNIGHT, timedelta(seconds=offset_s)) == day


def test_whoever_was_dead_last_night_is_asked_after_the_living() -> None:
    meters = midnights(1, 2, 3)
    for second in range(3):
        found = meters.next(at(second))
        assert found is not None
        if found[0] != 1:
            meters.done(*found)
    tomorrow = MIDNIGHT + timedelta(days=1)
    asked = []
    for second in range(3):
        found = meters.next(tomorrow + timedelta(seconds=second))
        assert found is not None
        asked.append(found[0])
        meters.done(*found)
    assert asked == [2, 3, 1]


def first_moment(day: date, place: ZoneInfo) -> datetime:
    """By looking at the clock every five minutes."""
    long_before = datetime.combine(day, time(), UTC) - timedelta(hours=26)
    looks = (long_before + timedelta(minutes=5 * n) for n in range(52 * 12))
    return next(at for at in looks if at.astimezone(place).date() == day)


@pytest.mark.parametrize(
    ("zone", "midnight"),
    [
        ("Asia/Beirut", datetime(2026, 3, 29)),  # 24:00 becomes 01:00
        ("Africa/Cairo", datetime(2026, 4, 24)),
        ("America/Havana", datetime(2026, 3, 8)),
        ("America/Havana", datetime(2026, 11, 1)),  # 01:00 becomes 00:00: that hour comes twice
        ("Asia/Shanghai", datetime(2026, 3, 2)),
    ],
)
def test_a_midnight_that_is_skipped_or_comes_twice_is_frozen_once(
    zone: str, midnight: datetime
) -> None:
    place = ZoneInfo(zone)
    begins = first_moment(midnight.date(), place)
    meters = midnights(3)
    read = []
    for second in range(-7200, 7200):
        due = meters.next(near_midnight(begins + timedelta(seconds=second), place))
        if due is not None:
            read.append((second, due))
            meters.done(*due)
    assert read == [(0, (3, midnight))]
    assert near_midnight(begins + timedelta(seconds=7), place) == midnight + timedelta(seconds=7)


def test_a_freeze_that_nobody_read_in_time_is_told_once() -> None:
    meters = midnights(1, 2)
    assert meters.missed(at(-3600)) is None  # nothing is known of nights before the first
    assert meters.next(at(0)) == (1, MIDNIGHT)
    meters.done(1, MIDNIGHT)
    assert meters.missed(at(59)) is None
    assert meters.missed(at(61)) == [2]
    assert meters.missed(at(62)) is None
    tomorrow = timedelta(days=1)
    assert meters.missed(at(61) + tomorrow) == [1, 2]


def test_a_meter_is_asked_again_after_a_pause_and_the_line_sleeps_so_long() -> None:
    meters = midnights(1)
    assert meters.next(at(0)) is not None
    assert meters.next(at(0.9)) is None
    assert meters.due_in_s(at(0.25)) == pytest.approx(0.75)
    assert meters.due_in_s(at(1)) < 0.1
    assert meters.next(at(1)) is not None


def test_a_clock_that_is_set_back_does_not_make_the_pause_longer() -> None:
    meters = midnights(1)
    assert meters.next(at(50)) is not None
    assert meters.next(at(10)) is not None


def test_after_the_round_the_next_window_is_tomorrows() -> None:
    meters = midnights(1)
    assert meters.due_in_s(at(0)) < 0.1
    meters.done(1, MIDNIGHT)
    assert meters.due_in_s(at(-0.05)) == pytest.approx(86_400 - 0.05)
    assert meters.due_in_s(at(0)) == pytest.approx(86_400 - 0.1)


def test_a_meter_is_read_from_the_midnight_of_its_installation_on() -> None:
    meters = Midnights({1: MIDNIGHT.date() + timedelta(days=1), 2: MIDNIGHT.date()})
    assert meters.next(at(0)) == (2, MIDNIGHT)
    assert meters.next(at(0)) is None
    assert meters.missed(at(61)) == [2]
    tomorrow = timedelta(days=1)
    assert meters.next(at(0) + tomorrow) == (1, MIDNIGHT + tomorrow)
