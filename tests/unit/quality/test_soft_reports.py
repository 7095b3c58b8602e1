"""Soft rules of quality.md section 3: V09, V12, V14, V15, V25, V26, V28."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.quality.duplicates import duplicates
from daemon.quality.month_end import fits_month_end, settled_at
from daemon.quality.parameters import differs_rates, differs_ratio
from daemon.quality.use_checks import (
    Thresholds,
    daily_uses,
    has_stopped,
    is_out_of_season,
    is_unusual,
    takes_one_rate,
)
from tests.unit.quality.point import Point, day, kwh

LAST = date(2026, 3, 31)


def uses(*lately: str | int, before: str | int = 8, days: int = 35) -> dict[date, Decimal]:
    """`days` days up to the last of March; the last ones are `lately`."""
    told = [before] * (days - len(lately)) + list(lately)
    return {
        LAST - timedelta(days=number): Decimal(use) for number, use in enumerate(reversed(told))
    }


# --- uses of days ---------------------------------------------------------------------------------


def test_the_use_of_a_longer_link_is_spread_in_equal_parts() -> None:
    point = Point().values(100, 104, None, 110)
    assert daily_uses(point.verdict.links, ZoneInfo(point.zone)) == {
        day(1): 4,
        day(2): 3,
        day(3): 3,
    }


def test_both_parts_of_a_day_of_exchange_belong_to_it() -> None:
    point = Point().values(100, 105)
    point.exchange(point.midnight(2, hour=14), initial=kwh(0), final=kwh(108)).value(3, 2)
    assert daily_uses(point.verdict.links, ZoneInfo(point.zone)) == {day(1): 5, day(2): 5}


def test_use_that_no_register_shows_is_none() -> None:
    point = Point().values(100, 105)
    point.exchange(point.midnight(3), initial=kwh(0)).value(4, 2)
    assert day(2) not in daily_uses(point.verdict.links, ZoneInfo(point.zone))


# --- V09 ------------------------------------------------------------------------------------------


def test_seven_days_without_use_are_a_stop() -> None:
    # R21
    assert has_stopped(uses(*[0] * 7), LAST)
    assert not has_stopped(uses(*[0] * 6), LAST)


def test_a_point_that_never_used_more_than_1_kwh_a_day_has_not_stopped() -> None:
    assert not has_stopped(uses(*[0] * 7, before=1), LAST)
    assert has_stopped(uses(*[0] * 7, before="1.01"), LAST)


def test_unknown_days_are_no_stop() -> None:
    known = uses(*[0] * 7)
    del known[LAST - timedelta(days=3)]
    assert not has_stopped(known, LAST)


def test_with_a_load_a_register_that_stands_still_has_stopped() -> None:
    still = uses(*[0] * 7, before=0)
    assert has_stopped(still, LAST, load=Decimal("0.051"))
    assert not has_stopped(still, LAST, load=Decimal("0.05"))


@pytest.mark.parametrize("days", [2, 7, 12, 31])
def test_a_site_says_how_many_days_are_a_stop(days: int) -> None:
    than = Thresholds(stopped_days=days)
    looked_back = than.looked_back.days
    # Less than the mean, were a day of the stop in it.
    assert has_stopped(uses(*[0] * days, before="1.01", days=looked_back), LAST, than)
    assert not has_stopped(uses(*[0] * (days - 1), days=looked_back), LAST, than)


def test_a_site_says_from_which_use_on_a_stop_counts() -> None:
    than = Thresholds(stopped_mean_kwh=10)
    assert not has_stopped(uses(*[0] * 7, before=10), LAST, than)
    assert has_stopped(uses(*[0] * 7, before="10.01"), LAST, than)


# --- V12 ------------------------------------------------------------------------------------------


def test_one_rate_that_takes_all_for_three_days_while_others_were_used_is_told() -> None:
    assert takes_one_rate([27, 0], earlier=[252, 252])
    assert not takes_one_rate([27, 1], earlier=[252, 252])


def test_a_rate_that_was_never_used_is_no_news() -> None:
    assert not takes_one_rate([27, 0], earlier=[252, 0])


def test_no_use_at_all_is_no_share() -> None:
    assert not takes_one_rate([0, 0], earlier=[252, 252])


# --- V14, V15 -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mean", "today", "is_told"),
    [
        (8, 27, True),  # R23
        (8, 12, False),
        (8, 24, False),
        (1, "5.9", False),
        (2, "7.01", True),
        (8, "1.9", True),
        (8, 2, False),
        (5, 0, False),
        ("5.1", 0, True),
    ],
)
def test_use_is_unusual_by_a_factor_and_by_5_kwh(
    mean: int | str, today: int | str, is_told: bool
) -> None:
    assert is_unusual(uses(today, before=mean), LAST) is is_told


def test_the_mean_is_that_of_the_same_weekday() -> None:
    # every other day is 100, this weekday 8
    known = {on: Decimal(8 if (LAST - on).days % 7 == 0 else 100) for on in uses(0)}
    assert not is_unusual(known, LAST)


def test_of_a_single_week_no_mean_is_made() -> None:
    assert not is_unusual(uses(100, days=8), LAST)
    assert is_unusual(uses(100, days=15), LAST)


@pytest.mark.parametrize(
    ("now", "last", "is_told"),
    [(301, 100, True), (300, 100, False), (33, 100, True), (34, 100, False), (5, 0, False)],
)
def test_a_month_is_out_of_season_by_a_factor_of_three(now: int, last: int, is_told: bool) -> None:
    assert is_out_of_season(Decimal(now), Decimal(last)) is is_told


@given(
    st.builds(
        Thresholds,
        high_factor=st.integers(2, 20),
        low_factor=st.integers(2, 20),
        difference_kwh=st.integers(0, 50),
        season_factor=st.integers(2, 20),
    ),
    st.decimals("0", "1000", places=2),
    st.lists(st.decimals("0", "100", places=2), min_size=2, max_size=4),
)
def test_what_a_site_sets_holds_as_exact_numbers_say(
    than: Thresholds, use: Decimal, weeks: list[Decimal]
) -> None:
    known = {LAST - timedelta(weeks=n): kwh for n, kwh in enumerate([use, *weeks])}
    mean = sum(map(Fraction, weeks), Fraction(0)) / len(weeks)
    apart = abs(Fraction(use) - mean)
    times = Fraction(use) > than.high_factor * mean or than.low_factor * Fraction(use) < mean
    # Means of Decimal have 28 digits.
    if abs(apart - than.difference_kwh) > Fraction(1, 10**20):
        assert is_unusual(known, LAST, than) is (times and apart > than.difference_kwh)
    month, last_year = use, weeks[0]
    ratio = Fraction(month) / Fraction(last_year) if last_year else Fraction(1)
    out = ratio > than.season_factor or ratio * than.season_factor < 1
    assert is_out_of_season(month, last_year, than) is out


# --- V25, V28 -------------------------------------------------------------------------------------


def shown(*totals: str) -> dict[str, Decimal]:
    return {serial: Decimal(it) for serial, it in zip("ABC", totals, strict=False)}


def test_equal_registers_under_two_serials_for_three_days_are_crossed() -> None:
    # R17
    days = [shown("100.01", "100.01", "7.00"), shown("105.20", "105.20"), shown("106.11", "106.11")]
    assert duplicates(days) == [["A", "B"]]
    assert duplicates(days[1:]) == []


def test_a_day_on_which_they_differ_clears_them() -> None:
    days = [shown("100.01", "100.01"), shown("105.20", "105.21"), shown("106.11", "106.11")]
    assert duplicates(days) == []


def test_short_registers_are_equal_by_chance() -> None:
    assert duplicates([shown("1.00", "1.00")] * 3) == []
    assert duplicates([shown("10.00", "10.00")] * 3) == [["A", "B"]]


def test_only_the_last_three_days_count() -> None:
    days = [shown("100.01", "9.00")] + [shown("105.20", "105.20")] * 3
    assert duplicates(days) == [["A", "B"]]


@pytest.mark.parametrize(
    ("told", "ratio", "differs"),
    [(80, "80", False), (80, "80.0", False), (80, "60", True), (40, "1", True), (1, "80", False)],
)
def test_a_ratio_in_the_meter_is_compared_where_one_was_set(
    told: int, ratio: str, differs: bool
) -> None:
    assert differs_ratio(told, Decimal(ratio)) is differs


@pytest.mark.parametrize(
    ("told", "priced", "differs"),
    [(4, 4, False), (2, 4, True), (8, 4, True), (None, 4, False), (2, None, False)],
)
def test_the_number_of_rates_is_compared_where_both_are_known(
    told: int | None, priced: int | None, differs: bool
) -> None:
    assert differs_rates(told, priced) is differs


# --- V26 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("beside", "total", "fits"),
    [
        ((105, None, None), 105, True),
        ((105, None, None), 106, False),
        ((105, 100, 110), 106, False),
        ((None, 105, 110), 105, True),
        ((None, 105, 110), 110, True),
        ((None, 105, 110), 104, False),
        ((None, 105, 110), 111, False),
        ((None, 110, None), 120, True),
        ((None, 110, None), 109, False),
        ((None, None, 100), 99, True),
        ((None, None, 100), 101, False),
        ((None, None, None), 7, True),
    ],
)
def test_a_month_end_freeze_equals_its_day_or_lies_between_its_neighbours(
    beside: tuple[int | None, int | None, int | None], total: int, fits: bool
) -> None:
    same, before, behind = beside
    found = fits_month_end(total, 1_000_000, same=same, before=before, behind=behind)
    assert found is fits


def test_a_month_end_freeze_may_have_turned_over() -> None:
    for total, fits in ((3, True), (9995, True), (9, False)):
        found = fits_month_end(total, 10_000, same=None, before=9990, behind=8)
        assert found is fits


@pytest.mark.parametrize(
    ("settles_at", "now", "settled"),
    [
        ([(1, 0)], datetime(2026, 3, 11, 9), datetime(2026, 3, 1)),
        ([(25, 0)], datetime(2026, 3, 11, 9), datetime(2026, 2, 25)),
        ([(1, 0), (15, 0)], datetime(2026, 3, 16), datetime(2026, 3, 15)),
        ([(15, 6)], datetime(2026, 3, 15, 5, 59), datetime(2026, 2, 15, 6)),
        ([(1, 0)], datetime(2026, 3, 1, 0, 9), None),
        ([(1, 0)], datetime(2026, 1, 1, 0, 10), datetime(2026, 1, 1)),
        ([(1, 0)], datetime(2026, 1, 1), None),
        ([(20, 0)], datetime(2026, 1, 5), datetime(2025, 12, 20)),
        ([(31, 0)], datetime(2026, 3, 11), None),
        ([(0, 0)], datetime(2026, 3, 11), None),
        ([(1, 24)], datetime(2026, 3, 11), None),
        ([], datetime(2026, 3, 11), None),
    ],
)
def test_a_settlement_is_dated_by_the_days_that_are_set_in_the_meter(
    settles_at: list[tuple[int, int]], now: datetime, settled: datetime | None
) -> None:
    assert settled_at(settles_at, now) == settled
