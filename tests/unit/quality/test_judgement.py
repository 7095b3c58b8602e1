"""Which freeze may be published: the hard rules, at their limits."""

from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.quality.freeze import freeze_day
from daemon.quality.judgement import failing_rules
from daemon.quality.register import ChainPoint, Register, register_delta

MODULUS = 100_000_000
REGISTER = Register(MODULUS, Decimal(38_000))
DAY = date(2026, 5, 2)
YESTERDAY, TOMORROW = ChainPoint(date(2026, 5, 1), 100_000), ChainPoint(date(2026, 5, 3), 103_000)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("before", "after", "days", "expected"),
    [
        (100, 100, 1, ("ok", 0)),
        (0, 38_000, 1, ("ok", 38_000)),
        (0, 38_001, 1, ("suspect:spike", None)),
        (
            0,
            3 * 38_000,
            3,
            ("ok", 3 * 38_000),
        ),  # the limit grows with a gap, else every catch-up would be suspect
        (0, 3 * 38_000 + 1, 3, ("suspect:spike", None)),
        (100, 99, 1, ("suspect:backward", None)),  # no tolerance: this step would be billed twice
        (MODULUS - 1, 0, 1, ("ok:rollover", 1)),
        (MODULUS - 38_000, 0, 1, ("ok:rollover", 38_000)),
        (MODULUS - 38_001, 0, 1, ("suspect:backward", None)),
        (
            0,
            38_000 // 24 + 1,
            Decimal(1) / 100,
            ("suspect:spike", None),
        ),  # never less than an hour's worth
        (0, 38_000 // 24, Decimal(1) / 100, ("ok", 38_000 // 24)),
    ],
)
def test_register_arithmetic_at_its_limits(
    before: int, after: int, days: Decimal | int, expected: tuple[int | str | None, ...]
) -> None:
    assert register_delta(before, after, Decimal(days), REGISTER) == expected


@pytest.mark.parametrize(
    ("stamp", "day"),
    [
        (datetime(2026, 5, 2), DAY),
        (datetime(2026, 5, 2, 0, 0, 1), None),
        (datetime(2026, 5, 1, 23, 59, 59), None),
        (datetime(2026, 5, 2, 0, 1), None),
        (datetime(2026, 5, 2, 1), None),
        (datetime(2026, 1, 1), date(2026, 1, 1)),
    ],
)
def test_only_a_stamp_of_midnight_names_a_day(stamp: datetime, day: date | None) -> None:
    assert freeze_day(stamp) == day


@pytest.mark.parametrize(
    ("total", "rates", "before", "after", "skew", "expected"),
    [
        (101_000, (), YESTERDAY, TOMORROW, None, []),
        (101_000, (), None, None, None, []),
        (101_000, (), YESTERDAY, None, 5 * MINUTE, []),
        (101_000, (), YESTERDAY, None, -5 * MINUTE, []),
        (101_000, (), YESTERDAY, None, 5 * MINUTE + timedelta(seconds=1), ["V05 clock"]),
        (101_000, (), YESTERDAY, None, -5 * MINUTE - timedelta(seconds=1), ["V05 clock"]),
        (MODULUS - 1, (), None, None, None, []),
        (MODULUS, (), None, None, None, ["V06 range"]),
        (-1, (), None, None, None, ["V06 range"]),
        (99_999, (), YESTERDAY, None, None, ["V07 backward"]),
        (138_001, (), YESTERDAY, None, None, ["V08 spike"]),
        (103_001, (), YESTERDAY, TOMORROW, None, ["V27 monotone"]),
        (64_999, (), None, TOMORROW, None, ["V08 spike"]),
        (50_000, (), YESTERDAY, TOMORROW, None, ["V07 backward", "V08 spike"]),
        (101_000, (50_000, 50_998), YESTERDAY, None, None, []),
        (101_000, (50_000, 50_997), YESTERDAY, None, None, ["V11 tou_sum"]),
        (101_000, (50_000, 51_003), YESTERDAY, None, None, ["V11 tou_sum"]),
        (
            99_999,
            (1,),
            YESTERDAY,
            None,
            timedelta(hours=1),
            ["V05 clock", "V07 backward", "V11 tou_sum"],
        ),
    ],
)
def test_every_broken_rule_is_named(
    total: int,
    rates: tuple[int, ...],
    before: ChainPoint | None,
    after: ChainPoint | None,
    skew: timedelta | None,
    expected: list[str],
) -> None:
    found = failing_rules(
        ChainPoint(DAY, total), rates, REGISTER, before=before, after=after, clock_skew=skew
    )
    assert found == expected


def test_the_rates_of_q4_are_a_mismatch() -> None:
    new = ChainPoint(DAY, 50_000)  # 500.00 kWh, rates sum to 499.93, four rates allow 0.04
    rates = (20_000, 10_000, 10_000, 9_993)
    assert failing_rules(new, rates, REGISTER, before=None, after=None, clock_skew=None) == [
        "V11 tou_sum"
    ]


@given(
    start=st.integers(0, MODULUS - 1),
    uses=st.lists(st.integers(0, 38_000), min_size=2, max_size=15),
    data=st.data(),
)
def test_a_true_register_is_published_in_whatever_order_its_days_arrive(
    start: int, uses: list[int], data: st.DataObject
) -> None:
    totals = [start]
    for use in uses:
        totals.append((totals[-1] + use) % MODULUS)
    truth = [ChainPoint(DAY + timedelta(days=n), total) for n, total in enumerate(totals)]
    published: list[ChainPoint] = []
    for new in data.draw(st.permutations(truth)):
        before = max((p for p in published if p.day < new.day), default=None, key=lambda p: p.day)
        after = min((p for p in published if p.day > new.day), default=None, key=lambda p: p.day)
        assert failing_rules(new, (), REGISTER, before=before, after=after, clock_skew=None) == []
        published.append(new)


@given(
    before=st.integers(0, MODULUS - 1), after=st.integers(0, MODULUS - 1), days=st.integers(1, 62)
)
def test_an_accepted_advance_leads_from_one_register_to_the_other_within_the_limit(
    before: int, after: int, days: int
) -> None:
    status, delta = register_delta(before, after, Decimal(days), REGISTER)
    if delta is None:
        assert (after - before) % MODULUS > 38_000 * days
        assert status == ("suspect:spike" if after > before else "suspect:backward")
    else:
        assert (before + delta) % MODULUS == after
        assert 0 <= delta <= 38_000 * days
        assert status == ("ok" if before + delta == after else "ok:rollover")
