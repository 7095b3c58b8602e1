"""SPAN_GRACE by sums: money, amendment 2; a large sum at once must not cut on the same day."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.billing.span_grace import GRACE, PastCharge, grace_until, is_old

ZONE = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 3, 20, 10, 0, tzinfo=ZONE)
USUAL = Fraction(400)
OLD = PastCharge(NOW, date(2026, 3, 17), 1_201)


def test_a_large_sum_for_old_days_protects_for_a_day() -> None:
    assert grace_until([OLD], USUAL, ZONE) == NOW + GRACE


@pytest.mark.parametrize(("first_day", "old"), [(17, True), (18, False), (19, False)])
def test_a_day_is_old_when_more_than_two_days_lie_between(first_day: int, old: bool) -> None:
    assert is_old(PastCharge(NOW, date(2026, 3, first_day), 1), ZONE) is old


def test_the_day_of_a_posting_is_the_sites() -> None:
    evening = PastCharge(datetime(2026, 3, 19, 23, 0, tzinfo=UTC), date(2026, 3, 17), 1)
    assert is_old(evening, ZONE)


def test_a_sum_counts_when_its_days_are_old_on_the_sites_day() -> None:
    # 03-19 16:30 UTC: in Shanghai it is 03-20 already, and 03-17 is old.
    after_midnight = replace(OLD, posted_at=datetime(2026, 3, 20, 0, 30, tzinfo=ZONE))
    assert grace_until([after_midnight], USUAL, ZONE) == after_midnight.posted_at + GRACE
    pacific = ZoneInfo("America/Los_Angeles")
    assert grace_until([after_midnight], USUAL, pacific) is None


@pytest.mark.parametrize(
    ("fen", "usual", "protects"),
    [(1_200, 400, False), (1_201, 400, True), (500, 10, False), (501, 10, True), (501, 0, True)],
)
def test_large_is_more_than_five_yuan_and_three_days_of_usual_cost(
    fen: int, usual: int, protects: bool
) -> None:
    assert (grace_until([replace(OLD, fen=fen)], Fraction(usual), ZONE) is not None) is protects


def test_twenty_late_days_of_a_day_each_count_as_their_sum() -> None:
    days = [
        PastCharge(NOW + timedelta(seconds=number), date(2026, 2, 20) + timedelta(number), 100)
        for number in range(20)
    ]
    assert grace_until(days, USUAL, ZONE) == NOW + timedelta(seconds=19) + GRACE


def test_sums_of_different_days_do_not_come_together() -> None:
    halves = [replace(OLD, fen=700), replace(OLD, fen=700, posted_at=NOW + GRACE)]
    assert grace_until(halves, USUAL, ZONE) is None


def test_a_window_and_a_grace_last_24_hours() -> None:
    almost = NOW + timedelta(hours=23, minutes=59)
    halves = [replace(OLD, fen=700), replace(OLD, fen=700, posted_at=almost)]
    assert grace_until(halves, USUAL, ZONE) == almost + timedelta(hours=24)
    a_day_later = [halves[0], replace(OLD, fen=700, posted_at=NOW + timedelta(hours=24))]
    assert grace_until(a_day_later, USUAL, ZONE) is None


def test_what_is_given_back_later_does_not_end_the_grace() -> None:
    back = replace(OLD, fen=-1_201, posted_at=NOW + timedelta(hours=1))
    assert grace_until([OLD, back], USUAL, ZONE) == NOW + GRACE


def test_what_replaces_days_for_the_same_money_protects_nobody() -> None:
    replaced = [replace(OLD, fen=-2_000), replace(OLD, fen=2_000)]
    assert grace_until(replaced, USUAL, ZONE) is None
    assert grace_until(reversed(replaced), USUAL, ZONE) is None


CHARGES = st.lists(
    st.builds(
        PastCharge,
        st.integers(0, 72 * 60).map(lambda minutes: NOW + timedelta(minutes=minutes)),
        st.integers(1, 25).map(lambda day: date(2026, 3, day)),
        st.integers(1, 900),
    ),
    max_size=12,
)


@given(CHARGES, st.integers(0, 400))
def test_it_is_what_a_look_at_every_window_says(charges: list[PastCharge], usual: int) -> None:
    """The model: some window of 24 hours that ends at an old posting holds more than the limit."""
    old = [charge for charge in charges if is_old(charge, ZONE)]
    ends = [
        end.posted_at + GRACE
        for end in old
        if sum(c.fen for c in old if end.posted_at - GRACE < c.posted_at <= end.posted_at)
        > max(500, 3 * usual)
    ]
    assert grace_until(charges, Fraction(usual), ZONE) == max(ends, default=None)


@given(CHARGES, st.integers(2, 5))
def test_cutting_charges_into_parts_changes_nothing(charges: list[PastCharge], parts: int) -> None:
    cut = [replace(charge, fen=charge.fen * parts) for charge in charges]
    many = [charge for charge in charges for _ in range(parts)]
    assert grace_until(cut, USUAL, ZONE) == grace_until(many, USUAL, ZONE)
