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
