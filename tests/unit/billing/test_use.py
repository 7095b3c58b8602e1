from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.tariff_form import read_version
from config.tariff_version import Versions
from daemon.billing.use import NoPrice, Span, Use, gathered, uses_of

ZONE = ZoneInfo("Asia/Shanghai")
NEW_YORK = ZoneInfo("America/New_York")


def versions(*starts: str, **more: object) -> Versions:
    found = []
    for start in starts:
        version, mistakes = read_version({"effective_from": start, "price": "0.5", **more}, "T")
        assert version is not None, mistakes
        found.append(version)
    return Versions(tuple(found))


def span(
    first: datetime,
    last: datetime,
    steps: int,
    *,
    decimals: int = 2,
    ratio: Decimal = Decimal(1),
) -> Span:
    return Span(first, last, {"total": steps}, decimals=decimals, ratio=ratio)


def test_use_is_steps_times_ratio_in_parts_of_ten_to_the_eighth_of_a_kwh() -> None:
    day = span(datetime(2026, 3, 1, tzinfo=ZONE), datetime(2026, 3, 2, tzinfo=ZONE), 123, decimals=1, ratio=Decimal("1.5"))  # fmt: skip
    (use,) = uses_of(day, versions("2026-01-01"), ZONE)
    assert (use.month, use.version, use.registers) == (
        date(2026, 3, 1),
        0,
        {"total": 1845_000_000},
    )
    assert not use.is_estimated


def test_a_register_has_two_decimals_and_no_transformer_unless_it_is_said() -> None:
    first, last = datetime(2026, 3, 1, tzinfo=ZONE), datetime(2026, 3, 2, tzinfo=ZONE)
    (use,) = uses_of(Span(first, last, {"total": 7}), versions("2026-01-01"), ZONE)
    assert use.total == 7_000_000
    assert not Use(use.month, 0, use.registers, first).is_estimated


def test_instants_of_the_zone_are_instants() -> None:
    first, last = datetime(2026, 3, 7, tzinfo=NEW_YORK), datetime(2026, 3, 10, tzinfo=NEW_YORK)
    parts = uses_of(span(first, last, 7100), versions("2026-01-01", "2026-03-09"), NEW_YORK)
    assert [use.total // 10**6 for use in parts] == [4700, 2400]
    assert all(use.is_estimated for use in parts)


def test_all_of_a_span_without_time_is_used_at_once() -> None:
    now = datetime(2026, 3, 1, tzinfo=ZONE)
    (use,) = uses_of(span(now, now, 93), versions("2026-01-01"), ZONE)
    assert use.total == 93 * 10**6


def test_time_is_shared_out_by_the_microsecond() -> None:
    first = datetime(2026, 3, 31, 23, 59, 59, 999_999, tzinfo=ZONE)
    last = datetime(2026, 4, 1, microsecond=2, tzinfo=ZONE)
    parts = uses_of(span(first, last, 3), versions("2026-01-01"), ZONE)
    assert [use.total // 10**6 for use in parts] == [1, 2]


def test_a_residual_rate_means_nothing_to_a_version_without_rates() -> None:
    first, last = datetime(2026, 3, 1, tzinfo=ZONE), datetime(2026, 3, 2, tzinfo=ZONE)
    told = Span(first, last, {"total": 5, "peak": 2}, residual_rate="valley")
    (use,) = uses_of(told, versions("2026-01-01"), ZONE)
    assert use.registers == {"total": 5_000_000}


@pytest.mark.parametrize("told", [{"peak": 2}, {"peak": 2, "valley": 3, "sharp": 0, "flat": 0}])
def test_without_a_residual_rate_every_register_has_one_price(told: dict[str, int]) -> None:
    first, last = datetime(2026, 3, 1, tzinfo=ZONE), datetime(2026, 3, 2, tzinfo=ZONE)
    prices = {"mode": "tou", "prices": {"peak": "1", "valley": "0.5"}}
    both = versions("2026-01-01", price=None, energy=prices)
    with pytest.raises(
        NoPrice, match=r"no register tells the rate valley|without a price: flat, sharp"
    ):
        uses_of(Span(first, last, {"total": 5, **told}), both, ZONE)
    (use,) = uses_of(Span(first, last, {"total": 5, **told}), versions("2026-01-01"), ZONE)
    assert use.registers == {"total": 5_000_000}


def test_what_is_kept_is_in_order_of_time_and_by_link_of_a_matrix_alone() -> None:
    rows = [{"peak": "1"}, {"peak": "2"}]
    matrix = {"cycle": "year", "method": "matrix", "bounds_kwh": ["10"], "matrix": rows}
    steps = {"cycle": "year", "method": "price", "bounds_kwh": ["10"], "prices": ["1", "2"]}
    of = Versions(
        (
            *versions("2026-01-01", ladder=steps).all,
            *versions("2026-03-01", ladder=matrix).all,
            *versions("2026-03-09").all,
        )
    )
    days = [(3, 0, 1), (3, 1, 4), (3, 1, 2), (3, 2, 9), (2, 0, 7), (2, 0, 3)]
    told = [
        Use(date(2026, month, 1), number, {"total": day}, datetime(2026, month, day, tzinfo=ZONE))
        for month, number, day in days
    ]
    kept = gathered(told, of)
    assert [(use.month.month, use.version, use.total) for use in kept] == [
        (2, 0, 10),
        (3, 0, 1),
        (3, 1, 2),
        (3, 1, 4),
        (3, 2, 9),
    ]
    assert kept[0].start == datetime(2026, 2, 3, tzinfo=ZONE)


def test_a_span_is_cut_at_months_and_versions_and_nowhere_else() -> None:
    long = span(
        datetime(2026, 1, 30, tzinfo=ZONE), datetime(2026, 3, 2, tzinfo=ZONE), 3100, decimals=2
    )
    uses = uses_of(long, versions("2026-01-01", "2026-01-30", "2026-02-11", "2026-03-02"), ZONE)
    assert [(use.month, use.version, use.total // 10**6) for use in uses] == [
        (date(2026, 1, 1), 1, 200),
        (date(2026, 2, 1), 1, 1000),
        (date(2026, 2, 1), 2, 1800),
        (date(2026, 3, 1), 2, 100),
    ]
    assert all(use.is_estimated for use in uses)


def test_a_part_of_a_day_is_cut_by_the_hours_that_it_has() -> None:
    hours = span(datetime(2026, 2, 28, 18, tzinfo=ZONE), datetime(2026, 3, 1, 2, tzinfo=ZONE), 800)
    parts = uses_of(hours, versions("2026-01-01"), ZONE)
    assert [use.total // 10**6 for use in parts] == [600, 200]


def test_days_of_23_hours_count_less() -> None:
    # 8 March 2026 has 23 hours; the version of the 9th starts after 47 of 71.
    week = span(
        datetime(2026, 3, 7, tzinfo=NEW_YORK).astimezone(UTC),
        datetime(2026, 3, 10, tzinfo=NEW_YORK).astimezone(UTC),
        7100,
    )
    parts = uses_of(week, versions("2026-01-01", "2026-03-09"), NEW_YORK)
    assert [use.total // 10**6 for use in parts] == [4700, 2400]


@given(st.integers(0, 10**9), st.integers(1, 60), st.integers(0, 4))
def test_parts_are_whole_steps_and_add_up_to_the_span(steps: int, days: int, decimals: int) -> None:
    first = datetime(2026, 1, 20, tzinfo=UTC)
    last = datetime.fromtimestamp(first.timestamp() + days * 86400, UTC)
    ratio = Decimal("12.5")
    uses = uses_of(
        span(first, last, steps, decimals=decimals, ratio=ratio),
        versions("2026-01-01", "2026-02-14"),
        ZoneInfo("UTC"),
    )
    step = int(ratio.scaleb(8 - decimals))
    assert sum(use.total for use in uses) == steps * step
    assert all(use.total >= 0 and use.total % step == 0 for use in uses)


def test_a_ratio_that_eight_decimals_do_not_hold_is_refused() -> None:
    day = span(
        datetime(2026, 3, 1, tzinfo=ZONE),
        datetime(2026, 3, 2, tzinfo=ZONE),
        1,
        decimals=4,
        ratio=Decimal("0.33333"),
    )
    with pytest.raises(NoPrice, match=r"ratio 0\.33333 has too many decimals"):
        uses_of(day, versions("2026-01-01"), ZONE)


def test_what_is_kept_remembers_that_a_part_was_estimated() -> None:
    of = versions("2026-01-01")
    start = datetime(2026, 3, 1, tzinfo=ZONE)
    march = date(2026, 3, 1)
    uses = [Use(march, 0, {"total": 1}, start), Use(march, 0, {"total": 2}, start, True)]
    assert gathered(uses, of) == [Use(march, 0, {"total": 3}, start, True)]


def test_a_span_that_ends_in_the_last_hours_of_a_month_is_not_cut() -> None:
    evening = span(datetime(2026, 2, 27, tzinfo=ZONE), datetime(2026, 2, 28, 20, tzinfo=ZONE), 800)
    (use,) = uses_of(evening, versions("2026-01-01", "2026-03-01"), ZONE)
    assert (use.month, use.total, use.is_estimated) == (date(2026, 2, 1), 8 * 10**8, False)


def test_parts_of_a_span_begin_where_it_is_cut() -> None:
    first, last = datetime(2026, 1, 30, 6, tzinfo=ZONE), datetime(2026, 3, 2, tzinfo=ZONE)
    parts = uses_of(span(first, last, 31_000), versions("2026-01-01", "2026-02-11"), ZONE)
    begins = [first, *(datetime(2026, *day, tzinfo=ZONE) for day in ((2, 1), (2, 11), (3, 1)))]
    assert [use.start for use in parts] == begins
    assert [(use.month.month, use.version) for use in parts] == [(1, 0), (2, 0), (2, 1), (3, 1)]


def test_a_span_of_a_year_is_cut_at_every_month() -> None:
    first, last = datetime(2027, 12, 31, tzinfo=ZONE), datetime(2029, 1, 2, tzinfo=ZONE)
    parts = uses_of(span(first, last, 36_800), versions("2026-01-01"), ZONE)
    assert len(parts) == 14
    assert [use.month.month for use in parts] == [12, *range(1, 13), 1]
