"""A top-up runs down the waterfall: money, section 13; R64."""

from dataclasses import replace
from datetime import date, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.billing.waterfall import Allocation, Recovery, allocate, is_restored

MONDAY = date(2026, 3, 2)
PLAN = Recovery(
    balance_fen=0,
    week_of=MONDAY,
    payment_debt_fen=5_000,
    payment_debt_share=Fraction(1, 10),
    payment_debt_weekly_cap_fen=500,
)


def parts(state: Recovery, amount_fen: int, on: date = MONDAY) -> tuple[int, ...]:
    allocation, _ = allocate(state, on, amount_fen)
    return (
        allocation.payment_debt_fen,
        allocation.accumulated_debt_fen,
        allocation.to_threshold_fen,
        allocation.emergency_repaid_fen,
        allocation.to_balance_fen,
    )


def test_the_order_is_debt_share_debt_threshold_emergency_balance() -> None:
    deep = replace(PLAN, balance_fen=-300, accumulated_debt_fen=200, emergency_used_fen=400)
    assert parts(deep, 100) == (10, 90, 0, 0, 0)
    assert parts(deep, 400) == (40, 200, 160, 0, 0)
    assert parts(deep, 800) == (80, 200, 300, 220, 0)
    assert parts(deep, 2_000) == (200, 200, 300, 400, 900)


def test_the_balance_is_lifted_to_a_threshold_that_is_not_zero() -> None:
    assert parts(replace(PLAN, balance_fen=100, disconnect_threshold_fen=250), 1_000) == (
        100,
        0,
        150,
        0,
        750,
    )


def test_the_share_is_capped_from_monday_to_sunday() -> None:
    taken = replace(PLAN, taken_this_week_fen=450)
    sunday = MONDAY + timedelta(days=6)
    assert parts(taken, 2_000, sunday)[0] == 50
    assert parts(taken, 2_000, sunday + timedelta(days=1))[0] == 200


def test_what_a_week_has_taken_is_remembered_in_it_and_forgotten_behind_it() -> None:
    _, behind = allocate(PLAN, MONDAY + timedelta(days=2), 4_000)
    assert behind.taken_this_week_fen == 400
    assert parts(behind, 4_000, MONDAY + timedelta(days=3))[0] == 100
    _, next_week = allocate(behind, MONDAY + timedelta(days=9), 1_000)
    assert (next_week.taken_this_week_fen, next_week.week_of) == (100, MONDAY + timedelta(days=7))


def test_a_week_is_known_by_any_of_its_days() -> None:
    taken = replace(PLAN, week_of=MONDAY + timedelta(days=5), taken_this_week_fen=450)
    assert parts(taken, 2_000, MONDAY + timedelta(days=1))[0] == 50


def test_never_more_than_the_debt_nor_without_a_share() -> None:
    assert parts(replace(PLAN, payment_debt_fen=30), 1_000)[0] == 30
    assert parts(replace(PLAN, payment_debt_share=Fraction(0)), 1_000)[0] == 0


def test_a_cap_that_was_passed_already_takes_nothing() -> None:
    assert parts(replace(PLAN, taken_this_week_fen=700), 1_000)[0] == 0


def test_without_a_cap_the_share_is_taken_of_every_payment() -> None:
    assert parts(replace(PLAN, payment_debt_weekly_cap_fen=None), 20_000)[0] == 2_000


def test_a_share_is_rounded_to_the_fen_ties_away_from_zero() -> None:
    assert parts(PLAN, 1_005)[0] == 101
    assert parts(PLAN, 1_004)[0] == 100


def test_a_debt_without_a_share_is_not_taken_from_payments() -> None:
    state = Recovery(balance_fen=0, week_of=MONDAY, payment_debt_fen=5_000)
    assert parts(state, 1_000) == (0, 0, 0, 0, 1_000)


def test_without_debts_everything_goes_to_the_balance() -> None:
    assert allocate(Recovery(700, MONDAY), MONDAY, 1_000) == (
        Allocation(0, 0, 0, 0, 1_000),
        Recovery(1_700, MONDAY, payment_debt_fen=0),
    )


@pytest.mark.parametrize(("balance_fen", "restored"), [(499, False), (500, True)])
def test_supply_comes_back_at_the_reconnect_threshold(balance_fen: int, restored: bool) -> None:
    state = Recovery(balance_fen, MONDAY, emergency_used_fen=100)
    assert is_restored(state, 500) is restored
    assert not is_restored(state, 500, needs_full_repayment=True)
    assert (
        is_restored(replace(state, emergency_used_fen=0), 500, needs_full_repayment=True)
        is restored
    )


FEN = st.integers(0, 5_000)


@given(
    st.builds(
        Recovery,
        balance_fen=st.integers(-5_000, 5_000),
        week_of=st.just(MONDAY),
        emergency_used_fen=FEN,
        accumulated_debt_fen=FEN,
        payment_debt_fen=FEN,
        payment_debt_share=st.fractions(0, 1, max_denominator=100),
        payment_debt_weekly_cap_fen=st.none() | FEN,
        taken_this_week_fen=FEN,
        disconnect_threshold_fen=st.integers(-500, 500),
    ),
    st.integers(0, 20),
    st.integers(1, 9_000),
)
def test_the_parts_add_up_and_nothing_is_taken_twice(
    state: Recovery, later: int, amount: int
) -> None:
    allocation, behind = allocate(state, MONDAY + timedelta(days=later), amount)
    taken = parts(state, amount, MONDAY + timedelta(days=later))
    assert sum(taken) == amount
    assert min(taken) >= 0
    assert behind.payment_debt_fen == state.payment_debt_fen - allocation.payment_debt_fen >= 0
    assert behind.accumulated_debt_fen == state.accumulated_debt_fen - taken[1] >= 0
    assert behind.emergency_used_fen == state.emergency_used_fen - taken[3] >= 0
    assert behind.balance_fen == state.balance_fen + taken[2] + taken[4]
    # A step is entered only when those before it are done.
    if taken[2] or taken[3] or taken[4]:
        assert behind.accumulated_debt_fen == 0
    if taken[3] or taken[4]:
        assert behind.balance_fen >= behind.disconnect_threshold_fen
    if taken[4]:
        assert behind.emergency_used_fen == 0
