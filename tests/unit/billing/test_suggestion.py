"""Suggested top-up, days left and warning threshold: money, section 13; R53."""

from dataclasses import replace
from datetime import date
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.billing.suggestion import (
    SuggestionTerms,
    average_fen,
    days_left,
    suggested_fen,
    usual_day_fen,
    warning_threshold_fen,
)

TERMS = SuggestionTerms(cycle_days=30, margin=Fraction(1, 10), round_up_to_fen=1_000, min_fen=1_000)


def test_the_average_is_exact_and_leaves_out_days_that_do_not_count() -> None:
    assert average_fen([100, None, 101, None]) == Fraction(201, 2)


def test_the_average_is_that_of_the_last_thirty_days_that_count() -> None:
    assert average_fen([9_999, *[None] * 3, *[100] * 29, 130]) == 101


def test_the_same_month_last_year_counts_where_it_was_more() -> None:
    assert average_fen([100], Fraction(250)) == 250
    assert average_fen([100], Fraction(50)) == 100
    assert average_fen([], Fraction(50)) == 50


def test_of_no_day_the_average_is_nothing() -> None:
    assert average_fen([]) == average_fen([None, None]) == 0


@pytest.mark.parametrize(
    ("since", "through", "cost"),
    [
        (date(2026, 2, 27), date(2026, 3, 2), Fraction(1_000, 3)),
        (date(2026, 3, 1), date(2026, 3, 2), 1_000),
        (date(2026, 3, 2), date(2026, 3, 2), 0),
        (date(2026, 3, 3), date(2026, 3, 2), 0),
        (None, date(2026, 3, 2), 0),
        (date(2026, 3, 1), None, 0),
        (None, None, 0),
    ],
)
def test_what_a_usual_day_costs_is_by_the_days_that_were_billed(
    since: date | None, through: date | None, cost: Fraction
) -> None:
    assert usual_day_fen(1_000, since, through) == cost


def test_a_fen_a_day_is_use() -> None:
    assert days_left(Fraction(1), 100, 0) == 100
    assert days_left(Fraction(1, 2), 100, 0) == 200
    assert days_left(Fraction(0), 100, 0) is None


def test_a_balance_that_suffices_suggests_nothing() -> None:
    assert suggested_fen(Fraction(100), 3_300, TERMS) == 0
    assert suggested_fen(Fraction(100), 3_299, TERMS) == 1_000


def test_a_suggestion_is_rounded_up_to_the_step_and_at_least_the_minimum() -> None:
    assert suggested_fen(Fraction(100), 300, TERMS) == 3_000
    assert suggested_fen(Fraction(100), 299, TERMS) == 4_000
    assert suggested_fen(Fraction(100), 3_000, replace(TERMS, min_fen=5_000)) == 5_000


def test_debt_without_use_is_suggested_to_be_paid() -> None:
    assert suggested_fen(Fraction(0), -1_500, TERMS) == 2_000


@pytest.mark.parametrize(("balance", "left"), [(399, 0), (400, 1), (999, 2), (100, 0), (99, -1)])
def test_days_left_are_whole_days_down_to_the_trip_threshold(balance: int, left: int) -> None:
    assert days_left(Fraction(300), balance, 100) == left


def test_without_use_the_money_lasts_for_ever() -> None:
    assert days_left(Fraction(0), 100, 0) is None


def test_the_warning_threshold_follows_use_above_its_minimum() -> None:
    assert warning_threshold_fen(Fraction(429), 2_000, 7) == 3_003
    assert warning_threshold_fen(Fraction(100), 2_000, 7) == 2_000
    assert warning_threshold_fen(Fraction(601, 2), 0, 1) == 301


@given(
    st.fractions(0, 10_000, max_denominator=30), st.integers(-9_000, 99_000), st.integers(1, 5_000)
)
def test_what_is_suggested_suffices_for_the_cycle_and_is_the_least_step_that_does(
    average: Fraction, balance: int, step: int
) -> None:
    told = suggested_fen(average, balance, replace(TERMS, round_up_to_fen=step, min_fen=0))
    need = average * 33 - balance
    assert told >= need
    assert told % step == 0
    assert told == 0 or told - step < need
