"""What of a link is kept by month and version, and which rates its price needs."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.tariff_version import TariffVersion, Versions
from daemon.billing.links import Link, Piece, midnight
from daemon.billing.month_use import (
    MonthUse,
    PointRegisters,
    VersionUse,
    add,
    is_whole,
    rates_needed,
    uses_of_link,
    uses_of_month,
)
from daemon.billing.use import NoPrice, Use

ZONE = ZoneInfo("Asia/Shanghai")
MARCH = date(2026, 3, 1)
KWH = 10**8
PEAK_AND_VALLEY = PointRegisters(("peak", "valley"))
VALLEY_IS_LEFT = PointRegisters(("peak", "valley"), residual_rate="valley")


def version(start: date, *rates: str) -> TariffVersion:
    return TariffVersion(str(start), start, {name: Decimal(1) for name in rates or ("total",)})


FLAT = Versions((version(date(2026, 1, 1)), version(date(2026, 3, 20))))
BY_RATE = Versions((version(date(2026, 1, 1), "peak", "valley"),))


def link(first: date, last: date, begins: tuple[int, ...], ends: tuple[int, ...]) -> Link:
    return Link(1, first, last, 7, begins, ends, 10_000, 1, Decimal(2))


def of_day(begins: tuple[int, ...], ends: tuple[int, ...]) -> Link:
    return link(MARCH, date(2026, 3, 2), begins, ends)


def told(kwh: int, days: int = 1) -> Link:
    """Somebody told the use; no register shows it."""
    end = MARCH + timedelta(days=days)
    return Link(1, MARCH, end, 7, (0,), (kwh,), 0, 0, Decimal(1))


def test_a_day_has_the_use_of_its_registers_from_its_midnight_on() -> None:
    # A step is 0.1 kWh x 2; the peak register rolled over.
    day = of_day((100, 9_990, 0), (130, 5, 15))
    (use,) = uses_of_link(day, BY_RATE, ZONE, PEAK_AND_VALLEY)
    registers = {"total": 6 * KWH, "peak": 3 * KWH, "valley": 3 * KWH}
    assert use == Use(MARCH, 0, registers, midnight(MARCH, ZONE), is_estimated=False)


def test_a_day_in_the_middle_of_a_month_is_kept_with_that_month() -> None:
    day = link(date(2026, 3, 20), date(2026, 3, 21), (100,), (105,))
    (use,) = uses_of_link(day, FLAT, ZONE, PointRegisters())
    start = midnight(date(2026, 3, 20), ZONE)
    assert use == Use(MARCH, 1, {"total": KWH}, start, is_estimated=False)


@given(
    st.integers(0, 70),
    st.lists(st.tuples(st.integers(0, 9_999), st.integers(0, 9_999)), min_size=3, max_size=3),
    st.sampled_from([PEAK_AND_VALLEY, VALLEY_IS_LEFT]),
    st.booleans(),
)
def test_a_day_is_the_same_with_and_without_pieces(
    number: int, registers: list[tuple[int, int]], point: PointRegisters, has_version: bool
) -> None:
    first = date(2026, 1, 20) + timedelta(days=number)
    begins, ends = zip(*registers, strict=True)
    day = link(first, first + timedelta(days=1), begins, ends)
    pieced = day._replace(pieces=day.in_pieces(ZONE))
    starts = [date(2026, 1, 1), *([date(2026, 2, 11)] if has_version else [])]
    versions = Versions(tuple(version(it, "peak", "valley") for it in starts))
    found = uses_of_link(day, versions, ZONE, point)
    assert found == uses_of_link(pieced, versions, ZONE, point)


def test_several_days_are_cut_where_a_version_starts() -> None:
    days = link(date(2026, 3, 18), date(2026, 3, 22), (100,), (120,))
    uses = uses_of_link(days, FLAT, ZONE, PointRegisters())
    assert [(use.version, use.total, use.is_estimated) for use in uses] == [
        (0, 2 * KWH, True),
        (1, 2 * KWH, True),
    ]


def test_two_days_are_cut_as_well() -> None:
    days = link(date(2026, 3, 19), date(2026, 3, 21), (100,), (110,))
    uses = uses_of_link(days, FLAT, ZONE, PointRegisters())
    assert [(use.version, use.total) for use in uses] == [(0, KWH), (1, KWH)]


def test_each_piece_counts_by_its_own_register_and_ratio() -> None:
    noon = midnight(MARCH, ZONE) + timedelta(hours=12)
    night = midnight(date(2026, 3, 2), ZONE)
    pieces = (
        Piece(midnight(MARCH, ZONE), noon, 7, (9_990, 0), (10, 20), 10_000, 1, Decimal(2)),
        Piece(noon, night, 8, (0, 0), (500, 100), 10_000, 2, Decimal(10)),
    )
    exchanged = of_day((9_990, 0), (500, 100))._replace(pieces=pieces)
    uses = uses_of_link(exchanged, FLAT, ZONE, PointRegisters(("peak",)))
    assert [(use.total, use.start) for use in uses] == [
        (4 * KWH, midnight(MARCH, ZONE)),
        (50 * KWH, noon),
    ]
    by_rate = uses_of_link(exchanged, BY_RATE, ZONE, VALLEY_IS_LEFT)
    assert [use.registers for use in by_rate] == [
        {"total": 4 * KWH, "peak": 4 * KWH, "valley": 0},
        {"total": 50 * KWH, "peak": 10 * KWH, "valley": 40 * KWH},
    ]


def test_the_residual_rate_is_what_the_others_leave() -> None:
    (use,) = uses_of_link(of_day((0, 0, 0), (50, 15, 1)), BY_RATE, ZONE, VALLEY_IS_LEFT)
    assert use.registers == {"total": 10 * KWH, "peak": 3 * KWH, "valley": 7 * KWH}


@pytest.mark.parametrize("days", [1, 3])
def test_use_that_was_told_without_rates_is_of_the_residual_one(days: int) -> None:
    (use,) = uses_of_link(told(10, days), BY_RATE, ZONE, VALLEY_IS_LEFT)
    assert use.registers == {"total": 10 * KWH, "peak": 0, "valley": 10 * KWH}


@pytest.mark.parametrize("days", [1, 3])
def test_rates_that_nobody_told_have_no_price_without_a_residual_one(days: int) -> None:
    with pytest.raises(NoPrice, match="no register tells the rate peak of 2026-01-01"):
        uses_of_link(told(10, days), BY_RATE, ZONE, PEAK_AND_VALLEY)


def test_use_that_is_held_is_nobodys() -> None:
    held = of_day((0,), (5,))._replace(hold="ratio")
    assert uses_of_link(held, FLAT, ZONE, PointRegisters()) == []


def test_a_day_before_every_version_has_no_price() -> None:
    early = link(date(2025, 12, 31), date(2026, 1, 1), (0,), (1,))
    with pytest.raises(NoPrice, match=r"^no version of the tariff is in force on 2025-12-31$"):
        uses_of_link(early, FLAT, ZONE, PointRegisters())


@pytest.mark.parametrize(
    ("rates", "residual", "days", "needed"),
    [
        (("peak", "flat", "valley"), None, (1, 5), 0),
        (("peak", "flat", "valley"), None, (1, 20), 0),
        (("peak", "flat", "valley"), None, (1, 21), 3),
        (("peak", "flat", "valley"), None, (20, 21), 3),
        (("peak", "flat", "valley"), None, (26, 27), 1),
        (("peak", "flat", "valley"), None, (19, 27), 3),
        (("valley", "peak", "flat"), None, (20, 21), 2),
        # The residual one is known from the others.
        (("peak", "flat", "valley"), "valley", (20, 21), 1),
        (("valley", "peak"), "peak", (26, 27), 0),
        ((), None, (20, 21), 0),
    ],
)
def test_rates_are_needed_of_days_whose_versions_price_them(
    rates: tuple[str, ...], residual: str | None, days: tuple[int, int], needed: int
) -> None:
    versions = Versions(
        (
            version(date(2026, 1, 1)),
            version(date(2026, 3, 20), "peak", "valley"),
            version(date(2026, 3, 26), "peak"),
        )
    )
    first, last = (date(2026, 3, day) for day in days)
    assert rates_needed(versions, PointRegisters(rates, residual), first, last) == needed


def test_days_before_every_version_need_what_the_first_one_prices() -> None:
    early = date(2025, 12, 1)
    assert rates_needed(BY_RATE, PEAK_AND_VALLEY, early, date(2026, 1, 2)) == 2
    assert rates_needed(BY_RATE, PEAK_AND_VALLEY, early, date(2026, 1, 1)) == 0


def use_of(total: int, *, is_estimated: bool = False) -> Use:
    registers = {"valley": total - 1, "total": total, "peak": 1}
    return Use(MARCH, 0, registers, datetime(2026, 3, 1, tzinfo=UTC), is_estimated)


def test_what_is_kept_counts_links_estimates_and_each_register() -> None:
    month: MonthUse = {}
    add(month, use_of(5), 1, BY_RATE)
    add(month, use_of(7, is_estimated=True), 1, BY_RATE)
    assert month == {0: VersionUse(2, 1, (12, 2, 10))}
    add(month, use_of(7, is_estimated=True), -1, BY_RATE)
    assert month == {0: VersionUse(1, 0, (5, 1, 4))}
    add(month, use_of(5), -1, BY_RATE)
    assert month == {}
    # The first to come is taken out: it is told as less than nothing, not as nothing.
    add(month, use_of(5), -1, BY_RATE)
    assert month == {0: VersionUse(-1, 0, (-5, -1, -4))}


def test_registers_that_are_left_without_a_link_are_kept_and_tell_that_something_is_wrong() -> None:
    month: MonthUse = {}
    add(month, use_of(5), 1, BY_RATE)
    assert is_whole(month)
    add(month, use_of(4), -1, BY_RATE)
    assert month == {0: VersionUse(0, 0, (1, 0, 1))}
    assert not is_whole(month)
    assert not is_whole({0: VersionUse(1, 0, (1,)), 1: VersionUse(-1, 0, (1,))})
    assert is_whole({})


def test_links_without_use_are_kept() -> None:
    month: MonthUse = {}
    nothing = Use(MARCH, 0, {"total": 0}, datetime(2026, 3, 1, tzinfo=UTC))
    add(month, nothing, 1, FLAT)
    assert month == {0: VersionUse(1, 0, (0,))}
    add(month, nothing, -1, FLAT)
    assert month == {}


def test_rules_get_what_is_kept_as_one_use_of_each_version() -> None:
    versions = Versions((*BY_RATE.all, version(date(2026, 3, 20))))
    kept = {0: VersionUse(2, 1, (12, 2, 10)), 1: VersionUse(3, 0, (4,))}
    start = midnight(MARCH, ZONE)
    assert list(uses_of_month(MARCH, kept, versions, ZONE)) == [
        Use(MARCH, 0, {"total": 12, "peak": 2, "valley": 10}, start, is_estimated=True),
        Use(MARCH, 1, {"total": 4}, start, is_estimated=False),
    ]
