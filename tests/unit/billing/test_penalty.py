"""Penalties day by day: money, section 10, sentence by sentence; R61 and R62."""

from dataclasses import replace
from datetime import date, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.billing.penalty import (
    Arrears,
    Deferral,
    DeferralMode,
    Payment,
    PenaltyTerms,
    Rates,
    Taken,
    penalty,
)
from daemon.billing.rounding import nearest_fen

DUE = date(2026, 4, 25)
HOME = Arrears(principal_fen=10_000, due_on=DUE, is_residential=True, year=2026)
FIRM = replace(HOME, is_residential=False)
TERMS = PenaltyTerms()


def day(number: int) -> date:
    """That many days behind the due date."""
    return DUE + timedelta(days=number)


def test_the_due_date_is_free_and_the_day_behind_it_is_the_first_that_costs() -> None:
    assert penalty(HOME, TERMS, DUE).total_fen == 0
    assert penalty(HOME, TERMS, DUE).starts_on is None
    late = penalty(HOME, TERMS, day(3))
    assert (late.total_fen, late.starts_on) == (30, date(2026, 4, 26))


def test_the_paying_day_counts_with_the_principal_of_its_start() -> None:
    half = [Payment(day(4), 5_040)]
    paid = penalty(HOME, TERMS, day(6), half)
    # Four days of 10,000 (40 fen, taken first), two of the 5,000 that were left.
    assert paid.taken == (Taken(day(4), 5_000, 40, 0),)
    assert (paid.total_fen, paid.collectible_fen) == (50, 10)


def test_a_penalty_bears_no_penalty() -> None:
    assert penalty(HOME, TERMS, day(200)).total_fen == 2_000


def test_others_pay_more_from_the_first_of_january_behind_the_year_of_the_arrears() -> None:
    december = replace(FIRM, due_on=date(2026, 12, 29))
    assert penalty(december, TERMS, date(2026, 12, 31)).total_fen == 40
    assert penalty(december, TERMS, date(2027, 1, 1)).total_fen == 70
    assert penalty(replace(december, is_residential=True), TERMS, date(2027, 1, 1)).total_fen == 30


def test_the_usual_rates_are_one_two_and_three_per_mille() -> None:
    assert Rates() == Rates(Fraction("0.001"), Fraction("0.002"), Fraction("0.003"))


def test_the_minimum_is_owed_as_soon_as_anything_accrued_and_not_before() -> None:
    terms = replace(TERMS, min_fen=100)
    assert penalty(HOME, terms, DUE).total_fen == 0
    assert penalty(HOME, terms, day(1)).total_fen == 100
    assert penalty(replace(HOME, principal_fen=300), terms, day(1)).total_fen == 100
    assert penalty(HOME, terms, day(11)).total_fen == 110


def test_the_penalty_is_at_most_the_share_of_the_principal_that_caps_it() -> None:
    assert penalty(HOME, TERMS, day(2_000)).total_fen == 10_000
    assert penalty(HOME, replace(TERMS, cap_ratio=Fraction(1, 4)), day(2_000)).total_fen == 2_500
    # The cap is the law's, the minimum only a convenience.
    assert (
        penalty(replace(HOME, principal_fen=40), replace(TERMS, min_fen=100), day(1)).total_fen
        == 40
    )


def test_each_allocation_takes_its_part_first() -> None:
    payment = [Payment(day(10), 10_050)]
    first = penalty(HOME, TERMS, day(10), payment)
    assert first.taken == (Taken(day(10), 50, 100, 0),)
    last = penalty(HOME, replace(TERMS, allocation="principal_first"), day(10), payment)
    assert last.taken == (Taken(day(10), 0, 50, 0),)
    assert last.collectible_fen == 50


def test_what_is_left_of_a_payment_goes_to_the_balance() -> None:
    assert penalty(HOME, TERMS, day(1), [Payment(day(1), 10_500)]).taken[0].to_balance_fen == 490


def test_a_paid_principal_accrues_no_further() -> None:
    paid = penalty(HOME, TERMS, day(90), [Payment(day(5), 10_050)])
    assert (paid.total_fen, paid.collectible_fen, paid.principal_left_fen) == (50, 0, 0)


def test_a_payment_in_time_costs_nothing() -> None:
    assert penalty(HOME, TERMS, day(9), [Payment(DUE, 10_000)]).total_fen == 0


def test_a_payment_behind_the_day_asked_about_is_not_made_yet() -> None:
    assert penalty(HOME, TERMS, day(9), [Payment(day(10), 10_000)]).taken == ()


def test_payments_of_one_day_are_taken_in_their_order_and_all_at_the_penalty_of_that_day() -> None:
    two = penalty(HOME, TERMS, day(10), [Payment(day(10), 60), Payment(day(10), 60)])
    assert two.taken == (Taken(day(10), 10_000, 60, 0), Taken(day(10), 9_980, 100, 0))


def test_a_collection_deferred_until_the_fifth_is_due_again_on_the_sixth() -> None:
    """R62: payment on the 3rd takes principal only; on the 6th the penalty is due again."""
    until = [Deferral(day(1), day(5), "defer_collection")]
    third = [Payment(day(3), 4_000)]
    fifth = penalty(HOME, TERMS, day(5), third, until)
    assert fifth.taken == (Taken(day(3), 6_000, 0, 0),)
    assert (fifth.collectible_fen, fifth.deferred_fen) == (0, 42)
    sixth = penalty(HOME, TERMS, day(6), third, until)
    assert (sixth.total_fen, sixth.collectible_fen, sixth.deferred_fen) == (48, 48, 0)
    assert sixth.starts_on == day(1)


def test_what_was_paid_before_a_deferral_is_no_longer_owed() -> None:
    paid = [Payment(day(3), 30)]
    fifth = penalty(HOME, TERMS, day(5), paid, [Deferral(day(4), day(5), "defer_collection")])
    assert (fifth.paid_fen, fifth.deferred_fen, fifth.collectible_fen) == (30, 20, 0)


@pytest.mark.parametrize("mode", ["freeze_accrual", "waive"])
def test_what_accrued_before_days_that_cost_nothing_is_demanded_on_them(mode: DeferralMode) -> None:
    fifth = penalty(HOME, TERMS, day(5), (), [Deferral(day(4), day(5), mode)])
    assert (fifth.total_fen, fifth.collectible_fen, fifth.deferred_fen) == (30, 30, 0)


def test_a_deferral_of_an_amount_leaves_the_rest_to_be_demanded() -> None:
    some = penalty(HOME, TERMS, day(5), (), [Deferral(day(1), day(9), "defer_collection", 20)])
    assert (some.collectible_fen, some.deferred_fen) == (30, 20)


def test_frozen_days_do_not_accrue_both_ends_included() -> None:
    assert (
        penalty(HOME, TERMS, day(10), (), [Deferral(day(3), day(5), "freeze_accrual")]).total_fen
        == 70
    )


def test_a_penalty_starts_on_the_first_day_that_cost_something() -> None:
    late = penalty(HOME, TERMS, day(10), (), [Deferral(day(1), day(3), "freeze_accrual")])
    assert late.starts_on == day(4)


def test_a_waiver_gives_back_what_its_days_cost_or_the_amount_granted() -> None:
    assert penalty(HOME, TERMS, day(10), (), [Deferral(day(1), day(4), "waive")]).total_fen == 60
    assert (
        penalty(HOME, TERMS, day(10), (), [Deferral(day(1), day(4), "waive", 25)]).total_fen == 75
    )
    assert penalty(HOME, TERMS, day(10), (), [Deferral(day(1), day(10), "waive")]).total_fen == 0


def test_of_all_that_was_waived_no_minimum_is_owed() -> None:
    whole = [Deferral(day(1), day(10), "waive")]
    assert penalty(HOME, replace(TERMS, min_fen=100), day(10), (), whole).total_fen == 0


MODES: list[DeferralMode] = ["defer_collection", "freeze_accrual", "waive"]
DAYS = st.integers(-5, 60)
PAYMENTS = st.lists(st.builds(Payment, DAYS.map(day), st.integers(1, 9_000)), max_size=5)
DEFERRALS = st.lists(
    st.builds(
        Deferral,
        DAYS.map(day),
        DAYS.map(day),
        st.sampled_from(MODES),
        st.none() | st.integers(0, 200),
    ),
    max_size=3,
)
ANY_TERMS = st.builds(
    PenaltyTerms,
    allocation=st.sampled_from(["penalty_first", "principal_first"]),
    min_fen=st.sampled_from([0, 100]),
    cap_ratio=st.sampled_from([Fraction(1), Fraction(1, 50)]),
)


@given(st.integers(1, 30_000), st.booleans(), ANY_TERMS, DAYS, PAYMENTS, DEFERRALS)
def test_every_fen_of_the_payments_is_accounted_for(
    principal: int,
    home: bool,
    terms: PenaltyTerms,
    end: int,
    payments: list[Payment],
    deferrals: list[Deferral],
) -> None:
    arrears = Arrears(principal, DUE, home, 2026)
    told = penalty(arrears, terms, day(end), payments, deferrals)
    came = sum(payment.amount_fen for payment in payments if payment.on <= day(end))
    over = sum(taken.to_balance_fen for taken in told.taken)
    assert came == principal - told.principal_left_fen + told.paid_fen + over
    assert 0 <= told.paid_fen <= told.total_fen <= nearest_fen(terms.cap_ratio * principal)
    assert told.collectible_fen >= 0
    assert told.deferred_fen >= 0


@given(st.integers(1, 30_000), ANY_TERMS, DAYS, PAYMENTS, DEFERRALS)
def test_the_total_never_falls_from_day_to_day_and_what_was_taken_stays(
    principal: int,
    terms: PenaltyTerms,
    end: int,
    payments: list[Payment],
    deferrals: list[Deferral],
) -> None:
    arrears = Arrears(principal, DUE, True, 2026)
    today = penalty(arrears, terms, day(end), payments, deferrals)
    tomorrow = penalty(arrears, terms, day(end + 1), payments, deferrals)
    assert today.total_fen <= tomorrow.total_fen
    assert today.taken == tomorrow.taken[: len(today.taken)]


@given(st.integers(1, 30_000), st.booleans(), DAYS, st.permutations([3, 9, 17]))
def test_the_total_is_the_rounded_sum_of_the_days(
    principal: int, home: bool, end: int, paid_on: list[int]
) -> None:
    """An exact model: principal_at_start_of(t) x rate(t), summed and rounded once."""
    terms = PenaltyTerms(allocation="principal_first")
    payments = [Payment(day(number), 1_000) for number in paid_on]
    left, owed = principal, Fraction(0)
    for number in range(1, end + 1):
        owed += left * Fraction(1 if home else 2, 1000)
        left -= min(left, 1_000) if number in paid_on else 0
    told = penalty(Arrears(principal, DUE, home, 2026), terms, day(end), payments)
    assert told.total_fen == min(nearest_fen(owed), principal)


@pytest.mark.parametrize("mode", MODES)
def test_a_deferral_of_other_days_changes_nothing(mode: DeferralMode) -> None:
    other = [Deferral(day(20), day(30), mode)]
    assert penalty(HOME, TERMS, day(10), (), other) == penalty(HOME, TERMS, day(10))
